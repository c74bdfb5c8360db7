"""What a random suite consists of: plain data that is rendered, and shrunk element by element.

Names are unique in a suite. A reference to what is not there (any more) is left out by the
renderer, so that anything may be removed.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Fixture:
    """A fixture; ``before`` and ``after`` are statements of its set-up and teardown."""

    name: str
    scope: str = "function"
    needs: list[str] = dataclasses.field(default_factory=list)
    asks_for: list[str] = dataclasses.field(default_factory=list)
    """Requested by ``request.getfixturevalue``."""
    params: list[str] = dataclasses.field(default_factory=list)
    autouse: bool = False
    scope_by_callable: bool = False
    teardown: str = ""
    """``yield``, ``finalizer`` (of the request), ``node`` (finalizer of its node) or none."""
    before: list[str] = dataclasses.field(default_factory=list)
    after: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Xunit:
    """A function such as ``setup_module``."""

    name: str
    takes_argument: bool = False
    body: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Parametrize:
    """A ``parametrize`` mark."""

    name: str
    values: list[str]
    indirect: bool = False
    scope: str = ""


@dataclasses.dataclass
class Test:
    """A test function or method."""

    __test__ = False

    name: str
    needs: list[str] = dataclasses.field(default_factory=list)
    uses: list[str] = dataclasses.field(default_factory=list)
    """Named by ``usefixtures``."""
    builtins: list[str] = dataclasses.field(default_factory=list)
    asks_for: list[str] = dataclasses.field(default_factory=list)
    parametrize: list[Parametrize] = dataclasses.field(default_factory=list)
    marks: list[str] = dataclasses.field(default_factory=list)
    body: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Class:
    """A test class, of plain pytest or of unittest."""

    name: str
    is_unittest: bool = False
    marks: list[str] = dataclasses.field(default_factory=list)
    uses: list[str] = dataclasses.field(default_factory=list)
    fixtures: list[Fixture] = dataclasses.field(default_factory=list)
    xunit: list[Xunit] = dataclasses.field(default_factory=list)
    classes: list[Class] = dataclasses.field(default_factory=list)
    tests: list[Test] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Doctest:
    """A function with a doctest."""

    name: str
    lines: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Module:
    """A test module."""

    name: str
    marks: list[str] = dataclasses.field(default_factory=list)
    uses: list[str] = dataclasses.field(default_factory=list)
    parametrize: list[Parametrize] = dataclasses.field(default_factory=list)
    fixtures: list[Fixture] = dataclasses.field(default_factory=list)
    xunit: list[Xunit] = dataclasses.field(default_factory=list)
    doctests: list[Doctest] = dataclasses.field(default_factory=list)
    classes: list[Class] = dataclasses.field(default_factory=list)
    tests: list[Test] = dataclasses.field(default_factory=list)
    classes_first: bool = False


@dataclasses.dataclass
class Folder:
    """A folder: with ``__init__.py`` it is a package."""

    name: str
    is_package: bool = False
    xunit: list[Xunit] = dataclasses.field(default_factory=list)
    """In ``__init__.py``."""
    fixtures: list[Fixture] = dataclasses.field(default_factory=list)
    hooks: list[str] = dataclasses.field(default_factory=list)
    """Names of :data:`.render.HOOKS`, in its conftest."""
    custom: list[str] = dataclasses.field(default_factory=list)
    """Lines of a file collected by the conftest: an item each."""
    modules: list[Module] = dataclasses.field(default_factory=list)
    folders: list[Folder] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Suite:
    """A whole suite with the options it is run with."""

    root: Folder
    options: list[str] = dataclasses.field(default_factory=list)
    mixed: bool = False
    """Marks say what is forked, not ``--forked`` alone."""
    forked_by_default: bool = True
