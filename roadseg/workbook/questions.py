"""The assignment's tasks and questions, from `questions.toml`, and what their texts should say, from `rubric.toml`.

A copy that is handed out to a class lacks `rubric.toml`; everything else works without it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from roadseg.errors import OptionError


@dataclass(frozen=True)
class Item:
    """One task, or one answer to a question; `questions.toml` says what the fields mean."""

    id: str
    label: str
    kind: str
    notebook: str
    title: str
    text: str
    points: int = 0
    defines: str = ""
    words: int = 0


@dataclass(frozen=True)
class Rubric:
    """What a grader looks for in a text: ideas that it should hold, the points that each earns, and common mistakes."""

    ideas: tuple[str, ...]
    points: tuple[float, ...]
    mistakes: tuple[str, ...]


FOLDER = Path(__file__).parent
_TABLES = tomllib.loads((FOLDER / "questions.toml").read_text("utf-8"))
ITEMS = tuple(Item(**row) for row in _TABLES["item"])
EXERCISES = tuple(Item(**row) for row in _TABLES["exercise"])  # without points


def item(name: str) -> Item:
    """The item of that id."""
    for found in ITEMS:
        if found.id == name:
            return found
    raise OptionError(f"there is no answer {name!r}: choose one of {', '.join(found.id for found in ITEMS)}.")


def text_item(question: int | str) -> Item:
    """The item with a text of that number or id. Raises OptionError where there is none."""
    found = item(f"answer-{question}" if str(question).isdecimal() else str(question))
    if found.kind != "text":
        raise OptionError(f"{found.id} is graded by machine: choose a question that is answered in text.")
    return found


@cache
def rubrics(path: Path = FOLDER / "rubric.toml") -> dict[str, Rubric]:
    """The rubric of each text, by id; empty where the copy was handed out without."""
    if not path.is_file():
        return {}
    table = tomllib.loads(path.read_text("utf-8"))
    return {name: Rubric(**{field: tuple(values) for field, values in row.items()}) for name, row in table.items()}
