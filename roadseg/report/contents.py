"""What the report says: results, curves, predictions, tasks, answers, and what made them.

Needs no TensorFlow, which takes longer to load than all the rest to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

import numpy as np
from matplotlib.figure import Figure

from roadseg import data as road_data
from roadseg import download, metrics, plots, runs, storage
from roadseg.data import RoadData
from roadseg.errors import clock
from roadseg.recipes import get_recipe
from roadseg.report.markdown import MISSING, read_markdown
from roadseg.report.pandoc import bullets, code, figure, heading, paragraph, part, strings, table_block
from roadseg.workbook import Entry, Workbook

TITLE = "Finding the road: a simple model and a U-Net"
MODELS = {"simple": "Simple model", "unet": "U-Net"}
RECIPE = "reported"
ABSENT = ("open", "wrong cell", "deleted", "no notebook")  # states without an answer in its place
DOTS = 180  # an inch of a figure


@dataclass(frozen=True)
class Trained:
    """What a report is about: by model the finished runs that there are, and the images that they were trained on,
    None where there is no run."""

    runs: Mapping[str, runs.Run]
    roads: RoadData | None

    @property
    def validation(self) -> list[int]:
        """Where the validation images are among all: every run has the same."""
        names = next(iter(self.runs.values())).validation_names
        return [self.roads.names.index(name) for name in names]

    @property
    def ended(self) -> datetime | None:
        """When the last of the runs ended, in local time."""
        return max((_local(run.finished["ended"]) for run in self.runs.values()), default=None)


def _local(time: str) -> datetime:
    """A time in ISO format, in this computer's time zone."""
    return datetime.fromisoformat(time).astimezone()


def trained() -> Trained:
    """The runs of the recipe `reported`, seed 0, on the images that the workbook uses: the newest of the longest."""
    finished = [f"{model}-{RECIPE}-seed0-*/finished.json" for model in MODELS]
    if not any(any(folder.glob(name)) for folder in storage.all_runs_folders() for name in finished):
        return Trained({}, None)  # so no images are rendered or read in vain
    roads, recipe, newest = road_data.load(), get_recipe(RECIPE), {}
    wanted = {"recipe": recipe.settings() | {"precision": "float32"}, "seed": 0, "split": "course"}
    wanted |= {"data": roads.fingerprint, "size": list(roads.size)}
    for model in MODELS:
        found = runs.find_all(wanted | {"model": model}, f"{model}-{RECIPE}-seed0-*")
        found = [run for run in found if run.finished["epochs"] <= recipe.epochs]
        if found:
            newest[model] = max(found, key=lambda run: (run.finished["epochs"], run.finished["ended"]))
    return Trained(newest, roads)


def missing_parts(book: Workbook, found: Trained) -> list[str]:
    """What the report lacks, a phrase for each notebook and run."""
    return _phrases(book, [entry for entry in book.entries if entry.state in ABSENT]) + _missing_runs(found)


def answer_remarks(book: Workbook) -> list[str]:
    """Answers that are there, and not right, not checked, too short or without an image of theirs, by notebook."""
    return _phrases(book, [e for e in map(_with_images, book.entries) if e.state not in (*ABSENT, "done")])


def _with_images(entry: Entry) -> Entry:
    """The same entry, or one that says so where an image of a text is missing."""
    with_image = entry.item.kind == "text" and ("![" in entry.source or "<img" in entry.source.lower())
    names = {name: {} for name in entry.attachments}  # is enough to know, and quick
    if not with_image or MISSING not in "".join(strings(read_markdown(entry.source, names))):
        return entry
    remark = "; ".join(filter(None, ("paste it into the cell", entry.remark)))
    return replace(entry, state="an image is missing", remark=remark)


def _phrases(book: Workbook, entries: Sequence[Entry]) -> list[str]:
    labels = [entry.item.label for entry in book.entries]

    def named(entry: Entry) -> str:  # with its kind where a question has two answers
        if entry.state == "no notebook":
            return "there is no such notebook"
        more = [entry.item.kind] * (labels.count(entry.item.label) > 1)
        more += [_state(entry)] if entry.state != "open" or entry.remark else []
        return f"{entry.item.label} ({'; '.join(more)})" if more else entry.item.label

    by_notebook = groupby(entries, key=lambda entry: entry.item.notebook)
    return [f"{name}.ipynb: {', '.join(dict.fromkeys(map(named, group)))}" for name, group in by_notebook]


def _missing_runs(found: Trained) -> list[str]:
    missing = [title for model, title in MODELS.items() if model not in found.runs]
    return [f"a finished run of the {title.replace('Simple', 'simple')} ({RECIPE}, seed 0)" for title in missing]


def contents(book: Workbook, found: Trained, *, name: str = "") -> Iterator[dict]:
    """The whole report. What is missing is named in a box at the top and in another in its place."""
    day = f"Trained on {found.ended.day} {found.ended:%B %Y}." if found.ended else ""
    yield heading(1, TITLE)
    yield part("byline", paragraph(" ".join(words for words in (name and f"{name}.", day) if words)))
    if missing := missing_parts(book, found):
        yield part("missing", paragraph("A draft. Missing:"), bullets(missing))
    if remarks := answer_remarks(book):
        yield part("remark", paragraph("Answers with a remark:"), bullets(remarks))
    yield heading(2, "Results")
    for wanted in _missing_runs(found):
        yield part("missing", paragraph(f"Missing: {wanted}."))
    if found.runs:
        yield from _results(found)
    yield heading(2, "Tasks")
    yield from _answers(entry for entry in book.entries if entry.item.label.startswith("Task"))
    yield heading(2, "Questions")
    yield from _answers(entry for entry in book.entries if not entry.item.label.startswith("Task"))
    yield heading(2, "How it was made")
    yield from _origin(book, found)


# --- results ----------------------------------------------------------------------------------------------------------


def _results(found: Trained) -> Iterator[dict]:
    """Numbers, curves and predictions of the runs that are there."""
    settings = next(iter(found.runs.values())).settings
    yield paragraph(
        f"Trained with Adam at {settings['recipe']['learning_rate']:g} on {settings['train_count']} images, scored on "
        f"the other {len(found.validation)}. Loss and accuracy count every pixel, as the course does; the scores below "
        "them leave out the pixels that KITTI excludes."
    )
    yield _by_model({model: _numbers(run, found) for model, run in found.runs.items()}, align="Right")
    yield heading(2, "Curves")
    for number, (model, drawn) in enumerate(curve_figures(found).items(), start=1):
        last = found.runs[model].curves
        ends = f"loss {last['val_loss'][-1]:.3f} and accuracy {last['val_accuracy'][-1]:.3f}"
        words = f"{MODELS[model]}: loss and accuracy by epoch. On the validation images they end at {ends}."
        yield _numbered(number, drawn, words)
    yield heading(2, "Predictions")
    rows = np.unique(found.roads.categories[found.validation], return_index=True)[1]
    names = [found.roads.names[found.validation[row]] for row in rows]
    for number, (model, run) in enumerate(found.runs.items(), start=len(found.runs) + 1):
        words = f"{MODELS[model]}: a validation image of each category, and where the network is wrong."
        yield _numbered(number, plots.comparison(found.roads, names, run.prediction()[rows]), words)


def _numbered(number: int, drawn: Figure, words: str) -> dict:
    return figure(plots.encoded(drawn, dots=DOTS), drawn.get_label(), f"Figure {number}. {words}")


def _by_model(columns: Mapping[str, Mapping[str, str]], *, align: str) -> dict:
    """A table with a column for each model; the rows are those of the first."""
    rows = [[row, *(column[row] for column in columns.values())] for row in next(iter(columns.values()))]
    return table_block([["", *(MODELS[model] for model in columns)], *rows], align=align)


def _numbers(run: runs.Run, found: Trained) -> dict[str, str]:
    """The table's column for one run."""
    where = found.validation
    score = metrics.threshold_sweep(run.prediction(), found.roads.masks[where], found.roads.valid[where])
    numbers = {
        "training loss": run.curves["loss"][-1],
        "validation loss": run.curves["val_loss"][-1],
        "training accuracy": run.curves["accuracy"][-1],
        "validation accuracy": run.curves["val_accuracy"][-1],
        "IoU at one half": score.at_half.iou,
        "F1 at one half": score.at_half.f1,
        "MaxF": score.max_f1,
        "average precision": score.average_precision,
    }
    return {
        "parameters": f"{run.finished['parameters']:,}",
        "epochs": f"{run.finished['epochs']} of {get_recipe(RECIPE).epochs}",
        "training time": f"{clock(run.finished['seconds'])} min",
        **{name: f"{number:.3f}" for name, number in numbers.items()},
    }


def curve_figures(found: Trained) -> dict[str, Figure]:
    """Loss and accuracy by epoch, a figure for each model, all on the same scales."""
    background = float(1 - found.roads.masks[found.validation].mean())
    figures = {m: plots.curves({MODELS[m]: run.curves}, background=background) for m, run in found.runs.items()}
    for panel in (0, 1):
        limits = np.array([drawn.axes[panel].get_ylim() for drawn in figures.values()])
        for drawn in figures.values():
            drawn.axes[panel].set_ylim(limits[:, 0].min(), limits[:, 1].max())
    return figures


# --- answers ----------------------------------------------------------------------------------------------------------


def _answers(entries: Iterable[Entry]) -> Iterator[dict]:
    for head, group in groupby(entries, key=lambda entry: f"{entry.item.label}. {entry.item.title}"):
        yield heading(3, head)
        for entry in group:
            yield part("question", *read_markdown(entry.item.text))
            yield from written_answer(entry)


def written_answer(entry: Entry) -> Iterator[dict]:
    """The answer as it was typed, and what its check said; a box where it is missing, and what its cell holds."""
    state, is_text = _state(entry), entry.item.kind == "text"
    if entry.state in ABSENT:
        yield part("missing", paragraph(f"Missing: {state}."))
    if entry.source:
        read = read_markdown(entry.source, entry.attachments) if is_text else [code(entry.source, "python")]
        yield part("answer", *read)
    if entry.state not in (*ABSENT, "done"):
        yield part("remark", paragraph(f"{state[0].upper()}{state[1:]}."))
    elif entry.done and not is_text:
        yield part("remark", paragraph("Its check last said: right."))


def _state(entry: Entry) -> str:
    if entry.state == "open":
        return entry.remark or "not answered yet"
    return f"{entry.state}, {entry.remark}" if entry.remark else entry.state


# --- what made it -----------------------------------------------------------------------------------------------------


def _origin(book: Workbook, found: Trained) -> Iterator[dict]:
    """How the notebooks were run, and the fingerprint of runs, data and versions."""
    rows = [["Notebook", "code cells", "locked cells"]]
    for name, counts in book.counts.items():
        changed = ", ".join(book.changed[name])
        rows.append([name, ran(counts), f"changed: {changed}" if changed else "as handed out"])
    yield table_block(rows, align="Left")
    if found.runs:
        facts = {model: fingerprint(run) for model, run in found.runs.items()}
        for row in facts.values():  # for readers: a time without seconds, and the beginning of a long digest
            row |= {"ended": f"{_local(row['ended']):%Y-%m-%d %H:%M}", "weights": row["weights"][:16]}
        yield _by_model(facts, align="Left")
        images = "rendered scenes." if download.locate().kind == "scenes" else found.roads.source
        yield part("remark", paragraph(f"Images: {images}"))


def in_order(counts: Sequence[int | None]) -> bool:
    """Whether all code cells ran, each once and from top to bottom, in one session."""
    return list(counts) == list(range(1, len(counts) + 1))


def ran(counts: Sequence[int | None]) -> str:
    """How many code cells ran, and whether in order, in words."""
    executed = sum(count is not None for count in counts)
    if executed < len(counts):
        return f"{executed} of {len(counts)} have run"
    return f"all {executed} have run, {'from top to bottom' if in_order(counts) else 'not from top to bottom'}"


def fingerprint(run: runs.Run) -> dict[str, str]:
    """What a run can be recognized by, and what it was made with."""
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
