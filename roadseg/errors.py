"""The errors that users meet: one line each, which says what was expected, what was found and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


def printable(text: str) -> str:
    """The text in one line that every screen can show: file names may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class RoadsegError(Exception):
    """Base of all of them. Jupyter shows the line alone, not a traceback."""

    def __str__(self) -> str:
        return printable(super().__str__())

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class DataError(RoadsegError, ValueError):
    """A file or folder of road images is missing, damaged or contradicts another."""


class OptionError(RoadsegError, ValueError):
    """An argument is out of its range or unknown."""


class RunError(RoadsegError):
    """The folder of a training run cannot be written, read or trusted."""


class Interrupted(KeyboardInterrupt):
    """Somebody has stopped what was going on; says what is kept. Jupyter shows the line alone, not a traceback."""

    _render_traceback_ = RoadsegError._render_traceback_


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Let Ctrl-C, or Jupyter's button, end the block with this one line."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(message) from None
