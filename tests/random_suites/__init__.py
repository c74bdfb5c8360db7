"""Random suites, run plainly and forked: both runs must do and tell the same.

``python -m tests.random_suites.compare --seeds 0:200`` compares many, ``python -m
tests.random_suites.show SEED`` writes one into a folder.
"""
