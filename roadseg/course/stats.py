"""What a class did not understand, on one HTML page without scripts, `stats.html`.

It is made from the points in the gradebook, the cards that checks left in the notebooks, the ideas that readers ticked,
and the students' code. The template escapes all that students wrote.
"""

from __future__ import annotations

import ast
import importlib.resources
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from roadseg import workbook
from roadseg.checks.result import NOT_WRITTEN
from roadseg.course.reading import ideas_given
from roadseg.course.workflow import ASSIGNMENT, read_points
from roadseg.storage import atomic_write
from roadseg.workbook.needs import parsed
from roadseg.workbook.progress import Entry
from roadseg.workbook.questions import Item, rubrics

LOW, RARE = 0.6, 0.25  # at a glance: a mean below this fraction of the points, an idea in fewer of the texts than this
NAMED = 6  # of a kind, at a glance
SHARED = 0.05  # code that a larger part of the class has says nothing about who wrote it
CLASSES = {"none": "#D55E00", "less than half": "#E69F00", "half or more": "#56B4E9", "all": "#0072B2"}  # of the points


class Points(NamedTuple):
    """What a class has earned for an item: the mean as a fraction of its points, how many have no points, less than
    half, half or more, and all of them, and how many are not graded."""

    item: Item
    mean: float
    classes: tuple[int, ...]
    waiting: int


class Idea(NamedTuple):
    """How many of the texts that were marked by ideas have one of them."""

    item: Item
    number: int
    count: int
    total: int


def points_by_item(points: dict[str, dict[Item, float | None]]) -> list[Points]:
    """The points of a class for each item that has been graded. points : as `workflow.read_points` gives them."""
    found = []
    for item in workbook.ITEMS:
        parts = [own[item] / item.points for own in points.values() if own[item] is not None]
        classes = Counter((part > 0) + (part >= 0.5) + (part >= 1) for part in parts)
        if parts:
            counts = tuple(classes[i] for i in range(len(CLASSES)))
            found.append(Points(item, sum(parts) / len(parts), counts, len(points) - len(parts)))
    return found


def wrong_causes(entries: Iterable[Entry]) -> list[tuple[Item, str, int]]:
    """Why checks found items wrong, by the cards in the notebooks, and in how many; the most frequent first."""
    wrong = ((entry.item, entry.check["cause"]) for entry in entries if entry.check and not entry.check["passed"])
    count = Counter((item, cause[:80]) for item, cause in wrong if cause and cause != NOT_WRITTEN)
    return [(item, cause, number) for (item, cause), number in count.most_common()]


def ideas_by_item(course: Path, points: dict[str, dict[Item, float | None]]) -> list[Idea]:
    """How many texts have each idea of the rubrics; the rarest first."""
    given, found = ideas_given(course), []
    for item in (item for item in workbook.ITEMS if item.id in rubrics()):
        marked = [(own[item], given.get((item.id, student), (None, None))) for student, own in points.items()]
        ticked = [ideas for now, (then, ideas) in marked if ideas is not None and then == now]
        numbers = range(1, 1 + len(rubrics()[item.id].ideas))
        found += [Idea(item, number, sum(number in ideas for ideas in ticked), len(ticked)) for number in numbers]
    return sorted((idea for idea in found if idea.total), key=lambda idea: idea.count / idea.total)


def without_names(source: str) -> str:
    """Code without what a copyist changes: its own names, comments, docstrings, layout. Empty where it is no Python."""
    if (tree := parsed(source)) is None:
        return ""
    nodes = list(ast.walk(tree))
    fields = {ast.Name: "id", ast.arg: "arg", ast.FunctionDef: "name"}
    named = [(node, fields[type(node)]) for node in nodes if type(node) in fields]
    own = {getattr(node, field) for node, field in named if not isinstance(getattr(node, "ctx", None), ast.Load)}
    numbers = {name: f"_{i}" for i, name in enumerate(dict.fromkeys(getattr(*pair) for pair in named)) if name in own}
    for node, field in named:
        setattr(node, field, numbers.get(getattr(node, field), getattr(node, field)))
    for node in nodes:
        node.annotation = node.returns = None
        if isinstance(getattr(node, "body", None), list):
            node.body = [
                part
                for part in node.body
                if not isinstance(getattr(part, "value", None), ast.Constant) or not isinstance(part, ast.Expr)
            ]
    try:
        return ast.dump(tree)
    except RecursionError:  # brackets in brackets
        return ""


def same_code(books: dict[str, Sequence[Entry]]) -> list[tuple[list[str], list[Item]]]:
    """Students whose code is the same but for names, and for which items; those with most items first."""
    written: dict[tuple[Item, str], list[str]] = {}
    for student, entries in books.items():
        for entry in (entry for entry in entries if entry.item.kind == "code" and entry.state != "open"):
            written.setdefault((entry.item, without_names(entry.source)), []).append(student)
    found: dict[tuple[str, ...], list[Item]] = {}
    for (item, code), students in written.items():
        if code and 1 < len(students) <= max(3, SHARED * len(books)):
            found.setdefault(tuple(students), []).append(item)
    return sorted(((list(students), items) for students, items in found.items()), key=lambda pair: -len(pair[1]))


def write_stats(course: Path) -> Path:
    """Write stats.html; return its path. Raises CourseError where nothing has been graded."""
    points = read_points(course)
    folders = sorted(course.glob(f"submitted/*/{ASSIGNMENT}"))
    books = {folder.parent.name: workbook.read_workbook(folder).entries for folder in folders}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((importlib.resources.files("roadseg.course") / "stats.html").read_text("utf-8"))
    rows, ideas = points_by_item(points), ideas_by_item(course, points)
    page = template.render(
        name=course.name,
        students=len(points),
        low=sorted((row for row in rows if row.mean < LOW), key=lambda row: row.mean)[:NAMED],
        rare=[idea for idea in ideas if idea.count < RARE * idea.total][:NAMED],
        named=NAMED,
        points=rows,
        classes=CLASSES,
        causes=wrong_causes(entry for entries in books.values() for entry in entries),
        ideas=ideas,
        rubrics=rubrics(),
        same=same_code(books),
        shared=SHARED,
    )
    with atomic_write(course / "stats.html") as file:
        file.write(page.encode())
    return course / "stats.html"
