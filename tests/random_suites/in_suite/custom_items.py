"""Items that are not Python: a line each of a ``.yaml`` file, "name outcome"."""

import pytest
from noting import event


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".yaml":
        return YamlFile.from_parent(parent, path=file_path)
    return None


class YamlFile(pytest.File):
    def collect(self):
        for line in self.path.read_text().splitlines():
            name, outcome = line.split()
            yield YamlItem.from_parent(self, name=name, outcome=outcome)

    def setup(self):
        event("module", "set up", self.nodeid)
        print("set up", self.nodeid)
        self.addfinalizer(lambda: event("module", "finalize", self.nodeid))
        if "broken" in self.path.name:
            raise ValueError("broken file")

    def teardown(self):
        event("module", "tear down", self.nodeid)
        print("tear down", self.nodeid)
        if "bad" in self.path.name:
            raise ValueError("bad file")


class YamlItem(pytest.Item):
    def __init__(self, *, outcome, **options):
        super().__init__(**options)
        self.outcome = outcome

    def setup(self):
        event("function", "set up", self.nodeid)
        if self.outcome == "setup-fail":
            raise ValueError("no set-up")

    def runtest(self):
        event("function", "run", self.nodeid)
        print("run", self.nodeid)
        self.add_report_section("call", "stdout", "added by the item")
        if self.outcome == "skip":
            pytest.skip("custom skip")
        if self.outcome == "fail":
            raise ValueError("custom failure")

    def teardown(self):
        event("function", "tear down", self.nodeid)
        if self.outcome == "teardown-fail":
            raise ValueError("no teardown")

    def repr_failure(self, excinfo):
        return f"custom: {excinfo.value}"

    def reportinfo(self):
        return self.path, 0, f"custom {self.name}"
