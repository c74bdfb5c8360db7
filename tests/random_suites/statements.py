"""The statements that fixtures, xunit functions and tests of a random suite are made of."""

from __future__ import annotations

import random

NOISE = [
    "print('out {n}')",
    "print('err {n}', file=sys.stderr)",
    "os.write(1, b'raw {n}\\n')",
    "logging.getLogger('random').warning('log {n}')",
    "warnings.warn('warning {n}')",
    "warnings.warn('deprecated {n}', DeprecationWarning)",
]
TROUBLE_IN_SET_UP = [
    "assert not 'trouble {n}'",
    "assert not 'trouble {n}'",
    "raise ValueError('trouble {n}')",
    "pytest.fail('trouble {n}', pytrace=False)",
    "pytest.skip('skip {n}')",
    "pytest.skip('skip {n}')",
    "pytest.xfail('xfail {n}')",
]
TROUBLE_IN_TEARDOWN = [
    "assert not 'trouble {n}'",
    "raise ValueError('trouble {n}')",
    "pytest.fail('trouble {n}', pytrace=False)",
    "pytest.skip('skip {n}')",
]
TROUBLE_IN_TEST = [
    *("assert {n} == 'trouble'", "assert not 'trouble {n}'", "raise ValueError('trouble {n}')"),
    *TROUBLE_IN_SET_UP,
    "raise SystemExit(3)",  # in a broader set-up, plain pytest loses count of what is set up
]
ENDS_THE_RUN = [
    "pytest.exit('exit {n}')",
    "pytest.exit('exit {n}', returncode=7)",
    "raise KeyboardInterrupt",
]
MARKS = [
    "@pytest.mark.skip(reason='marked')",
    "@pytest.mark.skipif(\"sys.platform != 'no such'\", reason='by string')",
    "@pytest.mark.skipif(\"len('') == 1\", reason='not so')",
    "@pytest.mark.skipif(True, reason='by value')",
    "@pytest.mark.xfail",
    "@pytest.mark.xfail(reason='expected')",
    "@pytest.mark.xfail(strict=True, reason='strict')",
    "@pytest.mark.xfail(run=False, reason='not run')",
    "@pytest.mark.xfail(raises=ValueError, reason='only that')",
    "@pytest.mark.xfail(\"len('') == 1\", reason='not so')",
    "@pytest.mark.filterwarnings('error:warning')",
    "@pytest.mark.filterwarnings('ignore')",
]
UNITTEST_MARKS = [
    "@unittest.expectedFailure",
    "@unittest.skip('by unittest')",
    "@pytest.mark.skip(reason='marked')",
    "@pytest.mark.xfail(reason='expected')",
]
UNITTEST_BODY = [
    "with self.subTest(i={n}): assert not 'trouble {n}'",
    "with self.subTest(i={n}): pass",
    "with self.subTest(i={n}): self.skipTest('sub {n}')",
    "self.skipTest('skip {n}')",
    "self.addCleanup(event, 'function', 'cleanup {n}')",
    "self.addCleanup(print, 'cleanup {n}')",
    "self.assertEqual({n}, 0)",
    "raise unittest.SkipTest('raised {n}')",
]
UNITTEST_CLASS_BODY = [
    "cls.addClassCleanup(event, 'class', 'class cleanup {n}')",
    "cls.addClassCleanup(int, 'no number {n}')",
    "raise unittest.SkipTest('class {n}')",
]


class Statements:
    """Draws statements; each has a number of its own.

    :param temper: How likely trouble is at one place.
    """

    def __init__(self, draw: random.Random, temper: float, end_of_run: float) -> None:
        self._draw = draw
        self._temper = temper
        self._end_of_run = end_of_run
        self._number = 0

    def one_of(self, lines: list[str]) -> str:
        """Return one of these."""
        self._number += 1
        return self._draw.choice(lines).replace("{n}", str(self._number))

    def some(self, trouble: list[str], extra: list[str] | None = None) -> list[str]:
        """Return a few statements, seldom with trouble at the end.

        :param extra: More that may be among them.
        """
        draw = self._draw
        lines = [self.one_of(NOISE) for _ in range(draw.choice([0, 0, 0, 1, 1, 2]))]
        if extra and draw.random() < 0.4:
            lines.append(self.one_of(extra))
        if trouble and draw.random() < self._temper:
            lines.append(self.one_of(trouble))
        elif draw.random() < self._end_of_run:
            lines.append(self.one_of(ENDS_THE_RUN))
        return lines
