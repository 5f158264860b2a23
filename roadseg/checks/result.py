"""What a check found, as a card in the notebook, as text, and as data that stays in the notebook's file.

A check never raises because of what it looks at: it gives a `Result`. `attempt` and `limited` are how it runs the
reader's code: whatever that raises, and however long it takes, comes back as data.
"""

from __future__ import annotations

import _thread
import html
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

MIME = "application/vnd.roadseg.check+json"
SECONDS = 20.0  # what the reader's code may take before a check calls it endless
BUSY = 2.0  # of these seconds, what it may work; right code works for less than 0.5
NOT_WRITTEN = "not_written"

RIGHT, WRONG, OPEN = "#0072B2", "#D55E00", "#767676"  # blue and vermilion of Okabe and Ito; grey


@dataclass(frozen=True, eq=False)
class Result:
    """What a check found. The last line of a cell shows it as a card.

    name : what was checked, such as train_step or answer-3.
    title : the same for people, such as "Task 1, the training step".
    passed : whether it is right.
    cause : a short stable name of the mistake, such as gradients_not_applied; not_written for an untouched task; None
        when it passed.
    message : what is wrong and why that is likely, or what was found right, in one or two sentences.
    right : what works already, a phrase each.
    look : where to look.
    hints : each goes further than the one before.
    function : what the notebook goes on with: the reader's own where it passed, otherwise the package's; None where
        nothing goes on.
    """

    name: str
    title: str
    passed: bool
    cause: str | None
    message: str
    right: tuple[str, ...] = ()
    look: str = ""
    hints: tuple[str, ...] = ()
    function: Callable | None = None

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        lines = [f"{self.title}: {self.verdict}", f"  {self.message}"]
        lines += [f"  works: {phrase}" for phrase in self.right]
        if self.look:
            lines.append(f"  look at: {self.look}")
        if self.stands_in:
            lines.append(f"  {self.stands_in}")
        return "\n".join(lines)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        data = {"name": self.name, "passed": self.passed, "cause": self.cause}
        return {"text/plain": repr(self), "text/html": _card(self), MIME: data}

    @property
    def verdict(self) -> str:
        """One of: right, not written yet, not right yet."""
        if self.passed:
            return "right"
        return "not written yet" if self.cause == NOT_WRITTEN else "not right yet"

    @property
    def stands_in(self) -> str:
        """Says that the package's function stands in for the reader's; empty where it does not."""
        if self.passed or self.function is None:
            return ""
        return f"Until it is right, the workbook goes on with its own {self.function.__name__}."


class TimeUp(Exception):
    """The reader's code did not come to an end in time."""


def limited(call: Callable[[], Any], *, seconds: float = SECONDS, busy: float | None = None) -> Any:
    """Give what `call()` gives, or raise TimeUp when that takes too long; only in the main thread is there a limit.

    seconds : by the clock. busy : of work of this thread alone, where the system tells them: other programs do not
        shorten those, so that they may be few.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    over, fired = threading.Event(), []
    worked, end = _worked(), time.monotonic() + seconds
    end_of_work = worked() + (math.inf if busy is None else busy)

    def watch() -> None:
        while not over.wait(1.0 if fired else 0.02):  # again and again: `except:` in a loop catches an interrupt, too
            if worked() > end_of_work or time.monotonic() > end:
                fired.append(busy if worked() > end_of_work else seconds)
                _interrupt()

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        with _interruptible():
            watcher.start()
            try:
                return call()
            finally:
                over.set()
                watcher.join()  # an interrupt that is under way arrives here, not later
    except KeyboardInterrupt:
        if fired:
            raise TimeUp(f"no end after {fired[0]:.0f} seconds") from None
        raise


def _worked() -> Callable[[], float]:
    """A clock of the main thread's own work, in seconds; one that stands still where the system has none."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return lambda: 0.0
    clock = time.pthread_getcpuclockid(threading.main_thread().ident)
    return lambda: time.clock_gettime(clock)


@contextmanager
def _interruptible() -> Iterator[None]:
    """An interrupt raises KeyboardInterrupt, even in what a shell's script runs in the background, deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if before is not None:  # not set by Python, which cannot bring it back
            signal.signal(signal.SIGINT, before)


def _interrupt() -> None:
    """As Ctrl-C would, in the main thread; a signal also ends a sleep."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:
        _thread.interrupt_main()


@dataclass(frozen=True)
class Attempt:
    """What came of running the reader's code: a value, or the error that it raised."""

    value: Any = None
    error: BaseException | None = None

    @property
    def line(self) -> str:
        """The error in one line, such as "TypeError: ..."; empty without one."""
        if self.error is None:
            return ""
        try:
            text = str(self.error).strip().splitlines()
        except Exception:  # an error of the reader's own making may fail at this, too
            text = []
        return f"{type(self.error).__name__}: {text[0][:200]}" if text else type(self.error).__name__


def attempt(call: Callable[[], Any], *, seconds: float = SECONDS, busy: float | None = None) -> Attempt:
    """Run the reader's code: its errors and its running out of time come back, only an interrupt passes."""
    try:
        return Attempt(value=limited(call, seconds=seconds, busy=busy))
    except (Exception, SystemExit) as error:  # any error of the reader's code is what the card is about
        return Attempt(error=error)


def _card(result: Result) -> str:
    colour = RIGHT if result.passed else OPEN if result.cause == NOT_WRITTEN else WRONG
    sign = "\u2713" if result.passed else "\u25cb" if result.cause == NOT_WRITTEN else "\u2717"
    sign = f"<span style='color:{colour}'>{sign}</span>"  # words keep the theme's colour, which is read best
    parts = [f"<b>{sign} {_text(result.title)}: {result.verdict}.</b> {_text(result.message)}"]
    if result.right:
        works = "; ".join(_text(phrase) for phrase in result.right)
        parts.append(f"<div style='margin-top:.4em'>Works: {works}.</div>")
    if result.look:
        parts.append(f"<div style='margin-top:.4em'><b>Look at:</b> {_text(result.look)}</div>")
    parts.append(_opened_one_at_a_time(result.hints))
    if result.stands_in:
        parts.append(f"<div style='margin-top:.4em;font-style:italic'>{_text(result.stands_in)}</div>")
    style = f"border-left:4px solid {colour};padding:.5em .9em;margin:.3em 0;max-width:50em;line-height:1.45"
    return f"<div style='{style}'>{''.join(parts)}</div>"


def _opened_one_at_a_time(hints: tuple[str, ...]) -> str:
    """Each hint holds the next, so the second cannot be opened before the first."""
    inner = ""
    for number, hint in reversed(list(enumerate(hints, start=1))):
        summary = f"<summary style='cursor:pointer'>Hint {number} of {len(hints)}</summary>"
        inner = f"<details style='margin-top:.4em'>{summary}<div>{_text(hint)}</div>{inner}</details>"
    return inner


def _text(text: str) -> str:
    """Plain text as HTML, where `backticks` mark code."""
    pieces = html.escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))
