import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_json_runtest_metadata(item, call):
    return {f"{call.when}_of": item.name}


@pytest.hookimpl(optionalhook=True)
def pytest_json_modifyreport(json_report):
    json_report["modified"] = True
