"""What a check found: a card in the notebook, text, and data that stays in the notebook's file."""

from __future__ import annotations

import html
import tomllib
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIME = "application/vnd.roadseg.check+json"
NOT_WRITTEN = "not_written"

RIGHT, WRONG, OPEN = "#009E73", "#D55E00", "#808080"  # green and vermilion of Okabe and Ito; gray; on white and black

MARKS = {True: (RIGHT, "\u2713"), False: (WRONG, "\u2717")}


def read_words(path: Path) -> dict[str, Any]:
    """What is said about each mistake, by its id. Those in the table `like` are told in the words of another; `what`
    is the part of a message in which they differ."""
    words = tomllib.loads(path.read_text(encoding="utf-8"))
    for cause, like in words.pop("like").items():
        words[cause] = words[like["id"]] | like
    for entry in words.values():
        if "what" in entry:
            entry["message"] = entry["message"].replace("{what}", entry["what"])
    return words


@dataclass(frozen=True)
class Aspect:
    """One part of a task. share : its fraction of the task's points, in (0, 1]; right : whether it was found right."""

    name: str
    share: float
    right: bool


def aspects_of(shares: dict[str, int], right: Container[str]) -> tuple[Aspect, ...]:
    """All aspects of a task, from their shares in whole numbers and the names of those that are right."""
    total = sum(shares.values())
    return tuple(Aspect(name, share / total, name in right) for name, share in shares.items())


@dataclass(frozen=True, eq=False)
class Result:
    """What a check found. The last line of a cell shows it as a card.

    name : what was checked, such as train_step or answer-3.
    title : the same for people, such as "Task 1, the training step".
    passed : whether all of it is right.
    cause : a short stable name of the mistake, such as gradients_not_applied; not_written for an untouched task; None
        when it passed.
    message : what is wrong and why that is likely, or what was found right, in one or two sentences.
    look : where to look.
    hints : each goes further than the one before.
    aspects : the parts of the task; their shares sum to 1.
    function : what the notebook continues with: the student's own where it passed, otherwise the reference solution;
        None where nothing continues.
    """

    name: str
    title: str
    passed: bool
    cause: str | None
    message: str
    look: str = ""
    hints: tuple[str, ...] = ()
    aspects: tuple[Aspect, ...] = ()
    function: Callable | None = None

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        lines = [f"{self.title}: {self.verdict}", f"  {self.message}"]
        lines += [f"  look at: {self.look}"] if self.look else []
        lines += [f"  {self._reference}"] if self._reference else []
        lines += [f"  {'right' if part.right else 'not right'}: {part.name} ({part.share:.0%})" for part in self._parts]
        return "\n".join(lines)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, Any]:
        aspects = [{"name": part.name, "share": part.share, "right": part.right} for part in self.aspects]
        data = {"name": self.name, "passed": self.passed, "cause": self.cause, "aspects": aspects}
        return {"text/plain": repr(self), "text/html": self._card(), MIME: data}

    @property
    def verdict(self) -> str:
        """One of: right, not written yet, not right yet."""
        if self.passed:
            return "right"
        return "not written yet" if self.cause == NOT_WRITTEN else "not right yet"

    @property
    def _parts(self) -> tuple[Aspect, ...]:
        """The aspects that are worth showing: several, and not all of them wrong or right."""
        return self.aspects if 0 < sum(part.right for part in self.aspects) < len(self.aspects) else ()

    @property
    def _reference(self) -> str:
        """Says that the reference solution is used; empty where it is not."""
        if self.passed or self.function is None:
            return ""
        return f"Until it is right, a reference solution of `{self.name}` is used."

    def _card(self) -> str:
        color, sign = (OPEN, "\u25cb") if self.cause == NOT_WRITTEN else MARKS[self.passed]
        sign = f"<span style='color:{color}'>{sign}</span>"  # the words keep the theme's color, which reads best
        parts = [f"<b>{sign} {_text(self.title)}: {self.verdict}.</b> {_text(self.message)}"]
        if self.look:
            parts.append(f"<div style='margin-top:.4em'><b>Look at:</b> {_text(self.look)}</div>")
        parts.append(_opened_one_at_a_time(self.hints))
        small = [_text(self._reference), " &middot; ".join(map(_aspect, self._parts))]
        parts += [f"<div style='margin-top:.4em;font-size:85%;opacity:.8'>{line}</div>" for line in small if line]
        style = f"border-left:4px solid {color};padding:.5em .9em;margin:.3em 0;max-width:50em;line-height:1.45"
        return f"<div style='{style}'>{''.join(parts)}</div>"


def _aspect(part: Aspect) -> str:
    color, sign = MARKS[part.right]
    words = f"<span style='color:{color}'>{sign}</span> {_text(part.name)} ({part.share:.0%})"
    return f"<span style='white-space:nowrap'>{words}</span>"


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
