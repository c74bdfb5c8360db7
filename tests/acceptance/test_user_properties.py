"""What a test records of itself arrives, whatever it is made of."""

from __future__ import annotations

import pytest
from comparing import assert_same, compare_junitxml, forked

PROPERTIES = """
import decimal, enum, fractions, os, pathlib, datetime, pytest, sys

class Colour(enum.Enum): RED = 1
class Number(enum.IntEnum): ONE = 1
class Word(str, enum.Enum): A = "a"
class Flag(enum.Flag): UP = 1
class Text(str): pass
class Shout(str):
    def __str__(self): return "shouted"
class Ratio(float): pass
class Count(int): pass
class Mine:
    def __repr__(self): return "mine"
class Named(tuple): pass

VALUES = {
    "none": None, "bool": True, "int": 3, "negative": -3, "huge": 2 ** 200, "float": 1.5,
    "nan": float("nan"), "inf": float("inf"), "complex": 1 + 2j, "str": "\\u00e9\\u2603",
    "bytes": b"\\xff\\0", "bytearray": bytearray(b"ab"), "tuple": (1, (2, "x")),
    "list": [1, [2.5, None]], "dict": {"a": {1: b"x"}}, "set": {1}, "frozenset": frozenset([1]),
    "enum": Colour.RED, "int enum": Number.ONE, "str enum": Word.A, "flag": Flag.UP,
    "str subclass": Text("text"), "own str": Shout("x"), "float subclass": Ratio(0.5),
    "int subclass": Count(7), "path": pathlib.Path("/a/b"), "pure path": pathlib.PurePosixPath("x"),
    "object": Mine(), "type": int, "function": len, "exception": ValueError("v"),
    "decimal": decimal.Decimal("1.10"), "fraction": fractions.Fraction(1, 3),
    "date": datetime.date(2020, 1, 2), "surrogate": "a\\udc80b", "nul": "a\\0b",
    "tuple subclass": Named([1]), "enum in list": [Colour.RED, pathlib.Path("p")],
    "path as key": {pathlib.Path("k"): 1}, "surrogate in list": ["\\udcff"], "ellipsis": ...,
    "range": range(3), "memory": None,
}
try:
    import numpy
except ImportError:
    pass
else:
    VALUES |= {
        "numpy float": numpy.float64(1.5), "numpy half": numpy.float16(0.5),
        "numpy int": numpy.int64(3), "numpy bool": numpy.bool_(True),
        "numpy str": numpy.str_("s"), "numpy array": numpy.arange(3),
        "numpy in list": [numpy.float32(2.0)],
    }

@pytest.mark.parametrize("name", VALUES)
def test_property(name, record_property):
    record_property(name, VALUES[name])

def test_many(record_property):
    for name in VALUES: record_property(name, VALUES[name])
    record_property("enum", 1)
    record_property("enum", 2)
    assert 0

@pytest.fixture
def late(record_property):
    record_property("early", 1)
    yield
    record_property("late", pathlib.Path("late"))

def test_late(late): pass

def test_extended_by_hand(request):
    request.node.user_properties.append(("by hand", Colour.RED))
"""


@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_user_properties_reach_reports_and_junitxml_as_in_a_plain_run(pytester, family):
    pytester.makepyfile(test_properties=PROPERTIES)

    one, other = compare_junitxml(pytester, "-o", f"junit_family={family}")

    assert_same(one, other)
    values = {name: text for r in one.reports() for name, text in r["properties"]}
    assert values["surrogate"] == "a\udc80b", "the recorder does not see what it should"


def test_property_that_has_no_text_loses_no_test(pytester):
    pytester.makepyfile(
        """
        import pytest

        class Silent:
            def __str__(self): raise RuntimeError("no text")
            __repr__ = __str__

        class Rude:
            def __str__(self): raise SystemExit(5)
            __repr__ = __str__

        class Wrong:
            def __str__(self): return 3
            __repr__ = __str__

        class Forever:
            def __iter__(self): return iter(self, None)

        ring = []
        ring.append(ring)
        deep = []
        for _ in range(100_000):
            deep = [deep]
        values = {
            "silent": Silent(), "rude": Rude(), "wrong": Wrong(), "forever": Forever(),
            "ring": ring, "deep": deep, "beyond": 10 ** 5000, "in list": [Silent(), Rude()],
            "key": {Silent(): 1},
        }

        @pytest.mark.parametrize("name", values)
        def test_property(name, record_property):
            record_property("before", 1)
            record_property(name, values[name])
            record_property("after", 2)

        def test_name_is_no_text(record_property):
            record_property(Silent(), 1)
        """
    )

    told = forked(pytester)

    assert told.status == 0
    assert len(told.verdicts()) == 10
    for name, outcomes in told.verdicts().items():
        assert outcomes == ["setup passed", "call passed", "teardown passed"], name
    for report in told.reports("::test_property"):
        if report["when"] == "call":
            names = [name for name, _ in report["properties"]]
            assert names[0] == "before", report
            assert names[-1] == "after", report
            assert len(names) == 3, report
