"""What the manager asks of its callers: a task runs in the child, its result hears of it here.

After Ruby procrastinate's ``Task::Callable`` and ``Task::Result``.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from pytest_procrastinate.process.ending import Ending
from pytest_procrastinate.process.frames import FrameError

T = TypeVar("T")

_VALUE, _ERROR = "value", "error"


class Endpoint(Protocol):
    """The child's way up to whoever made the task."""

    def __call__(self, message: object) -> None:
        """Send one message.

        :raises FrameError: It is not made of builtins, or too large; nothing was sent.
        :raises OSError: Nobody can hear it any more.
        """


class Result(Protocol):
    """Hears of a child, in the manager's process and thread."""

    def incoming_message(self, message: object) -> None:
        """Hear one message, in the order sent. It is builtins, and as wrong as the child.

        :raises FrameError: It is more than can be heard: the child is ended.
        """

    def process_died(self, ending: Ending) -> None:
        """Hear how the child ended: once, after its last message."""


class Task(Protocol):
    """Something to be done in a child."""

    @property
    def result(self) -> Result | None:
        """Who hears of the child. None: nobody, and there is no way up."""

    def run(self, endpoint: Endpoint | None) -> None:
        """Do it. In the child, which leaves when this returns or raises."""


class ChildError(Exception):
    """The function raised; the text is its traceback, as the child printed it."""


class ChildDeath(Exception):  # noqa: N818  # procrastinate's name for it
    """The child ended without a word of what became of the function."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(f"process {ending.pid} {ending.describe()}")
        self.ending = ending


class CallableTask(Generic[T]):
    """Calls a function in the child; its value, made of builtins, is told to :attr:`result`."""

    def __init__(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> None:
        self.result: CallableResult[T] = CallableResult()
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def run(self, endpoint: Endpoint | None) -> None:
        """Call the function and tell what came of it.

        SystemExit and KeyboardInterrupt are not caught: they end the child,
        and its ending tells of them.
        """
        try:
            value = self._function(*self._args, **self._kwargs)
        except Exception:
            self._tell_error(endpoint)
            return
        if endpoint is None:
            return
        try:
            endpoint((_VALUE, value))
        except FrameError:
            self._tell_error(endpoint)

    def _tell_error(self, endpoint: Endpoint | None) -> None:
        """Tell the traceback of the exception that is being handled."""
        if endpoint is not None:
            # A lone surrogate, in a file name for one, cannot be sent.
            text = traceback.format_exc().encode("utf-8", "backslashreplace").decode()
            endpoint((_ERROR, text))


class CallableResult(Generic[T]):
    """What came of a :class:`CallableTask`.

    :ivar ending: How the child ended; None while it runs.
    """

    def __init__(self) -> None:
        self.ending: Ending | None = None
        self._told: tuple[object, ...] | None = None

    @property
    def ready(self) -> bool:
        """Whether :attr:`value` is known: the child has ended."""
        return self.ending is not None

    @property
    def value(self) -> T:
        """What the function returned, also when the child crashed after it had told.

        :raises ChildError: The function raised, or its value is not made of builtins.
        :raises ChildDeath: The child ended before it told.
        :raises RuntimeError: The child has not ended yet: step the manager until :attr:`ready`.
        """
        if self.ending is None:
            raise RuntimeError("the child has not ended yet; step its manager until it is ready")
        match self._told:
            case ("value", value):
                return value  # type: ignore[return-value]  # the function's own, after a trip
            case ("error", str(text)):
                raise ChildError(text)
        raise ChildDeath(self.ending)

    def incoming_message(self, message: object) -> None:
        """Keep the first message, which is the only one of a sane child."""
        if self._told is None and isinstance(message, tuple):
            self._told = message

    def process_died(self, ending: Ending) -> None:
        """Keep how the child ended."""
        self.ending = ending
