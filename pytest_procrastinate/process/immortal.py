"""Objects that are never freed: no child copies a page to count references to them.

CPython counts the references to an object inside the object. A child that calls a function writes to
it, and the kernel copies the page: nearly half of all that a test's child copies. Immortal objects (PEP
683, Python 3.12 and later, made for this very case) are not counted. What a module of pytest or of the
standard library defines, and what a fork server keeps for itself, lives until the process ends anyway,
and only that is made immortal: what tests and their modules make is freed, and counted, as ever.
"""

from __future__ import annotations

import ctypes
import gc
import re
import struct
import sys
import sysconfig
import types
from collections.abc import Callable, Collection, Iterable
from typing import Any

_LEAVES = {
    str,
    int,
    float,
    bytes,
    struct.Struct,
    re.Pattern,
    types.CellType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
}


def make_immortal(objects: Collection[object]) -> int:
    """Make objects immortal, and so all that they refer to: they must live until the process ends.

    To be called before a fork, once: this process writes to all of them.

    :returns: How many; 0 where this Python has no immortal objects that we know of.
    """
    if not has_immortal_objects():
        return 0
    count = _count_of(None)
    for each in objects:
        ctypes.c_uint32.from_address(id(each)).value = count
    return len(objects)


def has_immortal_objects() -> bool:
    """Whether None is immortal, and its count is where CPython 3.12 to 3.14 keep it: seen, not assumed."""
    if sys.implementation.name != "cpython" or sys.maxsize < 1 << 32 or sys.byteorder != "little":
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED") or hasattr(sys, "gettotalrefcount"):
        return False
    mortal: list[object] = []
    counts = _count_of(mortal), _count_of(None)
    more = [mortal, mortal, None, None]
    counted = _count_of(more[0]), _count_of(more[2])
    return counted == (counts[0] + 2, counts[1]) and counts[1] >= 1 << 31


def _count_of(value: object) -> int:
    """Return the lower half of ``ob_refcnt``, the first field of each object: the sign is in it."""
    return ctypes.c_uint32.from_address(id(value)).value


def definitions(packages: Collection[str]) -> list[object]:
    """Return what the loaded modules of some packages define, at their top and in classes: constants, too.

    :param packages: Names of top-level modules and packages.
    """
    packages = frozenset(packages)
    found: dict[int, object] = {}
    todo: list[object] = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in packages and type(module) is types.ModuleType:
            found[id(module)] = module
            found[id(module.__dict__)] = module.__dict__
            todo += module.__dict__.values()
    while todo:
        each = todo.pop()
        kind = type(each)
        if kind in _LEAVES:
            found[id(each)] = each
        elif kind in _PARTS:
            if id(each) not in found:
                found[id(each)] = each
                todo += _PARTS[kind](each)
        elif (
            isinstance(each, type)
            and id(each) not in found
            and each.__module__.partition(".")[0] in packages
        ):
            found[id(each)] = each
            found[id(each.__mro__)] = each.__mro__
            todo += vars(each).values()
    return list(found.values())


def kept_by(owner: object, package: str) -> list[object]:
    """Return an object of a package, and what it is made of: others of the package, and plain values.

    Of its lists, sets and the like only these themselves: what is in them comes and goes.
    """
    found: dict[int, object] = {}
    todo = [owner]
    while todo:
        each = todo.pop()
        if id(each) in found:
            continue
        found[id(each)] = each
        for part in gc.get_referents(each):
            kind = type(part)
            if kind.__module__.partition(".")[0] == package or (
                kind is dict and type(each) is not dict  # its attributes, or one of them
            ):
                todo.append(part)
            elif kind in _LEAVES or kind in _CONTAINERS:
                found[id(part)] = part
    return list(found.values())


_CONTAINERS = {dict, list, tuple, set, frozenset, types.MethodType}
_PARTS: dict[type, Callable[[Any], Iterable[object]]] = {
    types.FunctionType: lambda function: (
        *gc.get_referents(function),
        function.__dict__.get("__wrapped__"),
    ),
    types.CodeType: lambda code: (
        code.co_consts,
        code.co_names,
        code.co_name,
        getattr(code, "co_qualname", None),  # from 3.11 on
        code.co_filename,
    ),
    tuple: iter,
    frozenset: iter,
    staticmethod: lambda method: (method.__func__,),
    classmethod: lambda method: (method.__func__,),
    property: lambda each: (each.fget, each.fset, each.fdel),
}
