"""What the report says, as a document of nodes: results, curves, predictions, tasks, answers, and what made them.

Needs no TensorFlow, which takes longer to load than all the rest to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np
from matplotlib.figure import Figure

from roadseg import data as road_data
from roadseg import metrics, plots, recipes, runs
from roadseg.data import RoadData
from roadseg.errors import RunError
from roadseg.report.document import Node, block, text
from roadseg.report.markdown import read
from roadseg.workbook.notebooks import Entry, Workbook

TITLE = "Finding the road: a simple model and a U-Net"
MODELS = {"simple": "Simple model", "unet": "U-Net"}
RECIPE = "reported"
ABSENT = ("open", "wrong cell", "doubled", "deleted", "no notebook")  # states without an answer in its place
DOTS = 180  # an inch of a figure


@dataclass(frozen=True)
class Trained:
    """What a report is about: a finished run of each model, None where there is none, and the pictures they learned
    from, None where there is no run at all."""

    by_model: Mapping[str, runs.Run | None]
    roads: RoadData | None

    @property
    def runs(self) -> dict[str, runs.Run]:
        """The runs that are there, by model."""
        return {model: run for model, run in self.by_model.items() if run is not None}

    @property
    def validation(self) -> list[int]:
        """Where the validation pictures are among all: every run has the same."""
        names = next(iter(self.runs.values())).validation_names
        return [self.roads.names.index(name) for name in names]

    @property
    def ended(self) -> datetime | None:
        """When the last of the runs ended."""
        return max((datetime.fromisoformat(run.finished["ended"]) for run in self.runs.values()), default=None)


def trained(runs_folder: str | Path | None = None) -> Trained:
    """The runs of the recipe `reported`, seed 0, on the pictures that the workbook uses: the newest of the longest."""
    paths = [path.parent.name for path in runs.place(runs_folder).glob(f"*-{RECIPE}-seed0-*/finished.json")]
    if not any(name.startswith(f"{model}-{RECIPE}") for name in paths for model in MODELS):
        return Trained(dict.fromkeys(MODELS), None)  # so no pictures are rendered or read in vain
    roads = road_data.load()
    return Trained({model: _longest_run(model, roads, runs_folder) for model in MODELS}, roads)


def _longest_run(model: str, roads: RoadData, runs_folder: str | Path | None) -> runs.Run | None:
    recipe = recipes.named(RECIPE)
    settings = {
        "model": model,
        "recipe": recipes.settings(recipe),
        "seed": 0,
        "split": "course",
        "data": roads.fingerprint,
    }
    lengths = range(recipe.epochs, 0, -1)
    found = (runs.find({**settings, "size": list(roads.size), "epochs": n}, out=runs_folder) for n in lengths)
    return next((run for run in found if run is not None), None)


def missing(book: Workbook, found: Trained) -> list[str]:
    """What the report lacks, a phrase for each notebook and run."""
    absent = [entry for entry in book.entries if entry.state in ABSENT]
    by_notebook = groupby(absent, key=lambda entry: entry.item.notebook)
    phrases = [f"{name}.ipynb: {', '.join(_named(entry, book) for entry in group)}" for name, group in by_notebook]
    return phrases + [_wanted_run(model) for model, run in found.by_model.items() if run is None]


def _wanted_run(model: str) -> str:
    name = MODELS[model] if model == "unet" else MODELS[model].lower()
    return f"a finished run of the {name} ({RECIPE}, seed 0)"


def _named(entry: Entry, book: Workbook) -> str:
    """An answer's name, with its kind where a question has two, and what is wrong where it is more than open."""
    twins = sum(other.item.label == entry.item.label for other in book.entries) > 1
    remarks = [entry.item.kind] * twins + [_state(entry)] * (entry.state != "open")
    return f"{entry.item.label} ({'; '.join(remarks)})" if remarks else entry.item.label


def contents(book: Workbook, found: Trained, *, name: str = "") -> tuple[Node, ...]:
    """The whole report. What is missing is named in a box at the top and in another in its place."""
    tasks = [entry for entry in book.entries if entry.item.label.startswith("Task")]
    questions = [entry for entry in book.entries if entry not in tasks]
    return (
        _heading(1, TITLE),
        _part("byline", _byline(found, name)),
        *_draft(missing(book, found)),
        *_results(found),
        *_curves(found),
        *_predictions(found),
        _heading(2, "Tasks"),
        *_answers(tasks),
        _heading(2, "Questions"),
        *_answers(questions),
        *_origin(book, found),
    )


def _draft(lacking: Sequence[str]) -> Iterable[Node]:
    if lacking:
        items = tuple(Node("bullet", (text(phrase),)) for phrase in lacking)
        yield Node("part", (_paragraph("A draft. Missing:"), Node("bullets", items)), detail="missing")


def _byline(found: Trained, name: str) -> str:
    day = f"Trained on {found.ended.day} {found.ended:%B %Y}." if found.ended else ""
    return " ".join(part for part in (name and f"{name}.", day) if part)


# --- results ----------------------------------------------------------------------------------------------------------


def _results(found: Trained) -> Iterable[Node]:
    yield _heading(2, "Results")
    for model in (model for model, run in found.by_model.items() if run is None):
        yield _part("missing", f"Missing: {_wanted_run(model)}.")
    if found.runs:
        yield _paragraph(_protocol(found))
        yield _by_model({model: _numbers(run, found) for model, run in found.runs.items()}, side="right")


def _by_model(columns: Mapping[str, Mapping[str, str]], *, side: str) -> Node:
    """A table with a column for each model; the rows are those of the first."""
    rows = next(iter(columns.values()))
    names = [MODELS[model] for model in columns]
    return _table(["", *names], *([row, *(column[row] for column in columns.values())] for row in rows), side=side)


def _protocol(found: Trained) -> str:
    run = next(iter(found.runs.values()))
    rate = run.settings["recipe"]["learning_rate"]
    return (
        f"Trained with Adam at {rate:g} on {run.settings['train_count']} pictures, scored on the other "
        f"{len(found.validation)}. Loss and accuracy count every pixel, as the course does; the scores below them "
        "leave out the pixels that KITTI excludes."
    )


def _numbers(run: runs.Run, found: Trained) -> dict[str, str]:
    """The table's column for one run."""
    where = found.validation
    score = metrics.curve(run.prediction(), found.roads.road[where], found.roads.evaluated[where])
    return {
        "parameters": f"{parameters(run):,}",
        "epochs": f"{run.finished['epochs']} of {recipes.named(RECIPE).epochs}",
        "training time": _minutes(run.finished["seconds"]),
        "training loss": f"{run.curves['loss'][-1]:.3f}",
        "validation loss": f"{run.curves['val_loss'][-1]:.3f}",
        "training accuracy": f"{run.curves['accuracy'][-1]:.3f}",
        "validation accuracy": f"{run.curves['val_accuracy'][-1]:.3f}",
        "IoU at one half": f"{score.at_half.iou:.3f}",
        "F1 at one half": f"{score.at_half.f1:.3f}",
        "MaxF": f"{score.max_f1:.3f}",
        "average precision": f"{score.average_precision:.3f}",
    }


def parameters(run: runs.Run) -> int:
    """How many numbers the weights of a run hold. Raises RunError where they are not what the training wrote."""
    path = run.path / "last.weights.h5"
    if runs.digest(path) != run.finished["weights"]["last"]:
        raise RunError(f"{path} is not what the training wrote: delete {run.path} and train again.")
    sizes = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
    return sum(sizes)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def _curves(found: Trained) -> Iterable[Node]:
    """Loss and accuracy, a figure for each model, on the same scales."""
    if not found.runs:
        return
    no_road = float(1 - found.roads.road[found.validation].mean())
    figures = {m: plots.curves({MODELS[m]: run.curves}, no_road=no_road) for m, run in found.runs.items()}
    for panel in (0, 1):
        limits = np.array([figure.axes[panel].get_ylim() for figure in figures.values()])
        for figure in figures.values():
            figure.axes[panel].set_ylim(limits[:, 0].min(), limits[:, 1].max())
    yield _heading(2, "Curves")
    for number, (model, figure) in enumerate(figures.items(), start=1):
        last = found.runs[model].curves
        ends = f"loss {last['val_loss'][-1]:.3f} and accuracy {last['val_accuracy'][-1]:.3f}"
        words = f"{MODELS[model]}: loss and accuracy by epoch. On the validation pictures they end at {ends}."
        yield _figure(figure, number, words)


def _predictions(found: Trained) -> Iterable[Node]:
    """One validation picture of each category, with what each network makes of it."""
    if not found.runs:
        return
    categories = found.roads.categories[found.validation]
    rows = np.unique(categories, return_index=True)[1]
    names = [found.roads.names[found.validation[row]] for row in rows]
    yield _heading(2, "Predictions")
    for number, (model, run) in enumerate(found.runs.items(), start=len(found.runs) + 1):
        figure = plots.comparison(found.roads, names, run.prediction()[rows])
        words = f"{MODELS[model]}: a validation picture of each category, and where the network errs."
        yield _figure(figure, number, words)


def _figure(figure: Figure, number: int, caption: str) -> Node:
    """A figure with its caption."""
    kind, content = plots.encoded(figure, dots=DOTS)
    picture = Node("picture", text=figure.get_label(), detail=f"image/{kind}", data=content)
    return Node("figure", (picture, Node("caption", (text(f"Figure {number}. {caption}"),))))


# --- answers ----------------------------------------------------------------------------------------------------------


def _answers(entries: Sequence[Entry]) -> Iterable[Node]:
    for label, group in groupby(entries, key=lambda entry: entry.item.label):
        parts = list(group)
        yield _heading(3, f"{label}. {parts[0].item.title}")
        for entry in parts:
            yield Node("part", read(entry.item.text), detail="question")
            yield Node("part", tuple(_answer(entry)), detail="answer")


def _answer(entry: Entry) -> Iterable[Node]:
    """The answer as it was typed, or a box in its place, and what its check said."""
    if entry.state in ABSENT:
        yield _part("missing", f"Missing: {_state(entry)}.")
    if entry.state in ABSENT and entry.state != "doubled":
        return
    if entry.item.kind == "text":
        yield from read(entry.source, entry.attachments)
    else:
        yield block(entry.source)
    if entry.item.kind != "text" and entry.state == "done":
        yield _part("remark", "Its check: right.")
    elif entry.state not in (*ABSENT, "done"):
        state = _state(entry)
        yield _part("remark", f"{state[0].upper()}{state[1:]}.")


def _state(entry: Entry) -> str:
    if entry.state == "open":
        return "not answered yet"
    return f"{entry.state}, {entry.remark}" if entry.remark else entry.state


# --- what made it -----------------------------------------------------------------------------------------------------


def _origin(book: Workbook, found: Trained) -> Iterable[Node]:
    """The fingerprint of notebooks, runs, data and versions."""
    yield _heading(2, "How it was made")
    rows = ([name, _ran(counts), _locked(book.untouched[name])] for name, counts in book.counts.items())
    yield _table(["Notebook", "code cells", "locked cells"], *rows, side="left")
    if found.runs:
        yield _by_model({model: _short(fingerprint(run)) for model, run in found.runs.items()}, side="left")
        yield _part("remark", f"Pictures: {found.roads.source}")


def in_order(counts: Sequence[int | None]) -> bool:
    """Whether all code cells ran, each once and from top to bottom, in one session."""
    return list(counts) == list(range(1, len(counts) + 1))


def _ran(counts: Sequence[int | None]) -> str:
    ran = sum(count is not None for count in counts)
    if ran < len(counts):
        return f"{ran} of {len(counts)} have run"
    return f"all {ran} have run, {'from top to bottom' if in_order(counts) else 'not from top to bottom'}"


def _locked(changed: Sequence[str]) -> str:
    return f"changed: {', '.join(changed)}" if changed else "as handed out"


def fingerprint(run: runs.Run) -> dict[str, str]:
    """What a run can be recognised by, and what it was made with."""
    settings, finished, machine = run.settings, run.finished, run.settings["machine"]
    return {
        "run": run.path.name,
        "ended": finished["ended"],
        "seconds": f"{finished['seconds']:.1f}",
        "data": settings["data"],
        "steps": settings["step"],
        "weights": finished["weights"]["last"],
        **settings["versions"],
        "machine": f"{machine['system']}, {machine['processor']}, {machine['cores']} cores",
    }


def _short(facts: Mapping[str, str]) -> dict[str, str]:
    """For readers: times without seconds, and the beginning of a long digest."""
    return {
        **facts,
        "ended": f"{datetime.fromisoformat(facts['ended']):%Y-%m-%d %H:%M}",
        "weights": facts["weights"][:16],
    }


# --- nodes ------------------------------------------------------------------------------------------------------------


def _heading(level: int, words: str) -> Node:
    return Node("heading", (text(words),), detail=str(level))


def _paragraph(words: str) -> Node:
    return Node("paragraph", (text(words),))


def _part(kind: str, words: str) -> Node:
    return Node("part", (text(words),), detail=kind)


def _table(head: Sequence[str], *rows: Sequence[str], side: str = "right") -> Node:
    """A table whose first column is to the left, the others to `side`."""
    sides = ["left", *[side] * (len(head) - 1)]

    def row(kind: str, cells: Sequence[str]) -> Node:
        return Node("row", tuple(Node(kind, (text(cell),), detail=where) for cell, where in zip(cells, sides)))

    return Node("table", (row("head", head), *(row("cell", cells) for cells in rows)))
