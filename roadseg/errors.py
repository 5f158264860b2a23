"""Errors that users meet: one line each, which says what was expected, what was found and what to do.

Jupyter shows the line alone, without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_tb
from types import TracebackType


class RoadsegError(Exception):
    """Base of all errors of this package."""

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
    """The user has stopped what was going on; the message says what is kept."""

    _render_traceback_ = RoadsegError._render_traceback_


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Let Ctrl-C, or Jupyter's stop button, end the block with this one line."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(message) from None


@contextmanager
def explained(error_type: type[RoadsegError], path: Path, remedy: str) -> Iterator[None]:
    """Turn what the file system refuses in the block into an error that names the file and says what to do."""
    try:
        yield
    except OSError as error:
        found = error.strerror or one_line(error)
        raise error_type(f"{error.filename or path}: {found}; {remedy}") from error


def clock(seconds: float) -> str:
    """Minutes and whole seconds in messages, such as 3:05."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def printable(text: str) -> str:
    """The text in one line that every screen can show: file names may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(path: object) -> str:
    """A path as a command line takes it."""
    return f'"{path}"' if " " in str(path) else str(path)


def one_line(error: BaseException) -> str:
    """The message of an error, its line breaks replaced by spaces."""
    return " ".join(str(error).split())


def shorten_tracebacks() -> None:
    """Show a missing name in a notebook as one line that says which cells to run first, from now on.

    Outside of IPython there is nothing to do."""
    from IPython import get_ipython

    if shell := get_ipython():
        load_ipython_extension(shell)


def load_ipython_extension(shell) -> None:
    """The same as soon as a kernel starts: in JupyterLab, `roadseg.cli.start` loads this module as an extension."""
    shell.set_custom_exc((NameError,), _show_name_error)


def _show_name_error(shell, kind: type, error: NameError, trace: TracebackType, tb_offset: int | None = None):
    """Show one line where the cell itself lacks a name; a NameError in a function keeps its traceback."""
    *_, (frame, _) = walk_tb(trace)
    name, comprehensions = frame.f_code.co_name, ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
    if name in ("<module>", *comprehensions) and frame.f_globals.get("__name__") == "__main__":
        close = get_close_matches(str(error.name), shell.user_ns, 1)
        start = f"Did you mean '{close[0]}'? Else run" if close else "Run"
        above = "the cells above first (menu Run, Run All Above Selected Cell); a word needs quotes."
        lines = [f"{kind.__name__}: {error}. {start} {above}"]
    else:
        lines = shell.InteractiveTB.structured_traceback(kind, error, trace, tb_offset=tb_offset)
    shell._showtraceback(kind, error, lines)
    return lines
