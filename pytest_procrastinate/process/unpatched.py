"""Modules of the standard library as they were before any test ran.

A test may patch ``os.write``; pytest-socket forbids sockets, freezegun stops the clocks, pyfakefs puts
a false file system in their place. That is for what is tested, not for what runs it and tells of it:

    from pytest_procrastinate.process.unpatched import os, time

Namespaces, not modules: these tools look for modules and functions in every module there is.
"""

from __future__ import annotations

import _socket
import fcntl as _fcntl
import os as _os
import socket as _socket_module
import time as _time
from types import SimpleNamespace
from typing import TYPE_CHECKING

_Socket = _socket_module.socket


def _socketpair() -> tuple[_Socket, _Socket]:
    """Return two connected sockets, of the class that was there.

    ``socket.socketpair`` looks that up in its own module, where pytest-socket has put another one.
    """
    kind = _socket.AF_UNIX, _socket.SOCK_STREAM, 0
    one, other = _socket.socketpair(*kind)
    return _Socket(*kind, one.detach()), _Socket(*kind, other.detach())


if TYPE_CHECKING:
    import fcntl as fcntl
    import os as os
    import socket as socket
    import time as time
else:
    fcntl = SimpleNamespace(**vars(_fcntl))
    os = SimpleNamespace(**vars(_os))
    socket = SimpleNamespace(**{**vars(_socket_module), "socketpair": _socketpair})
    time = SimpleNamespace(**vars(_time))
