"""The suites here are run by benchmarks/ecosystem.py, plainly and forked; nobody collects them."""

collect_ignore = ["suites"]
