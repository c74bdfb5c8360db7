import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    import pytest_html

    report.extras = [*getattr(report, "extras", []), pytest_html.extras.url("https://example.org/")]
    return report
