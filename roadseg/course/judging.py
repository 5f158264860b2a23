"""A submission graded, from bytes to plain data: any worker can do it, and none of it touches a course folder.

Student code runs behind a wall (`sandbox`), with batches and starting weights that it has never seen, and arrays come
out. They are what a student's process says, so nothing in them is believed that can be computed here: what a step
starts from, what each layer gives for what it takes, and what Keras does with the same.
"""

import math
from collections.abc import Iterator

import numpy as np
from nbformat import NotebookNode
from nbgrader import utils

from roadseg.backend import keras, tf
from roadseg.checks import answers, judge, network, probe, trace
from roadseg.checks.result import Aspect
from roadseg.course import sandbox
from roadseg.course.cells import grade_id, nbgrader_notebook, restore
from roadseg.course.sandbox import Outcome
from roadseg.course.signs import signs
from roadseg.workbook import questions
from roadseg.workbook.needs import needed_cells
from roadseg.workbook.progress import read_entry
from roadseg.workbook.questions import Item

EXACT = 1e-4  # of the largest number: what a layer gives, computed twice
LARGEST_NETWORK = 10**8  # weights, and LONGEST layers: what a student's process claims may be more than there is
LONGEST = 300
UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError)
UNREADABLE += (RuntimeError, MemoryError, tf.errors.OpError)
ENDED = {
    "time": "did not end within {seconds:g} s; if the machine was busy, grade again with --seconds {more:g}",
    "memory": "used more memory than it may",
    "processes": "started more processes than it may",
    "output": "gave more than can be read",
    "died": "ended its process",
    "error": "could not be tried: {error}",
}


def grade_submission(
    notebooks: dict[str, bytes],
    handed_out: dict[str, bytes],
    *,
    seed: int,
    seconds: float,
    only: frozenset[str] = frozenset(),
) -> dict:
    """What a submission earns by machine, as plain data for JSON.

    Parameters
    ----------
    notebooks, handed_out : notebooks by name, as they were submitted and as nbgrader released them.
    seed : of the batches and starting weights, which nobody can know before.
    seconds : for each answer.
    only : the ids of the items to grade; all if empty.

    Returns
    -------
    items : by id, each with points (None: by hand), aspects (name, right), why, and the seconds if it ran, of texts
    only where one is in another cell; errors : of cells, by notebook and position, as `restore` leaves them; remarks :
    for the teacher, by notebook.
    """
    books, remarks = {}, {name: [] for name in handed_out}
    originals = {name: nbgrader_notebook(content, name) for name, content in handed_out.items()}
    for name, original in originals.items():
        if name in notebooks:
            books[name], remarks[name] = restore(nbgrader_notebook(notebooks[name], name), original)
            remarks[name] += [f"{where} {sign}" for where, sign in signs(books[name], original)]
    wanted = [item for item in questions.ITEMS if item.notebook in books and (not only or item.id in only)]
    items = [item for item in wanted if item.kind != "text"]
    cells = {item: _cells(books[item.notebook], item) for item in items}
    graded = {item.id: _entry(0, "not written") for item in items}
    errors: dict[str, dict[int, str]] = {name: {} for name in books}
    written = [item for item in items if _sources(cells[item]) != _sources(_cells(originals[item.notebook], item))]
    tasks = [task(item, cells[item], seed) for item in written]

    def expect() -> None:
        for item in written:
            if item.id in judge.SHARES:
                judge.expected(item.id, seed)

    for item, outcome in zip(written, sandbox.run_behind_wall(tasks, seconds=seconds, meanwhile=expect)):
        own = {position for position, _ in cells[item] if grade_id(books[item.notebook].cells[position])}
        entry = graded[item.id] = judged(item, outcome, own, seed, seconds) | {"seconds": outcome.seconds}
        errors[item.notebook] |= outcome.errors
        if not entry["aspects"]:
            remarks[item.notebook].append(f"{item.id} {entry['why']}")
    for item in wanted:
        found = read_entry(item, books[item.notebook])
        if found.state == "wrong cell" and not graded.get(item.id, {}).get("points"):
            why = f"is blank, but {found.remark.partition(':')[0]}"
            remarks[item.notebook].append(f"{item.id} {why}")
            if item.kind == "text":  # for whose untouched cell nbgrader would give 0 points
                graded[item.id] = _entry(None, why)
    for kept in (judge.expected, probe.trials):  # nobody needs this seed again
        kept.cache_clear()
    keras.utils.clear_session()
    return {"items": graded, "errors": errors, "remarks": remarks}


def task(item: Item, cells: list[tuple[int, str]], seed: int) -> dict:
    """What the sandbox gets to know of an item."""
    return {"id": item.id, "defines": item.defines, "code": item.kind == "code", "seed": seed, "cells": cells}


def _cells(nb: NotebookNode, item: Item) -> list[tuple[int, str]]:
    """The cells that an item's answer needs, and that its test would see: position and code. Tests never run."""
    sources = [cell.source if cell.cell_type == "code" else "" for cell in nb.cells]
    wanted = {i for i, cell in enumerate(nb.cells) if grade_id(cell) in (item.id, f"check-{item.id}")}
    needed = sorted(needed_cells(sources, wanted, defines=item.defines))
    return [(i, sources[i]) for i in needed if sources[i] and not utils.is_grade(nb.cells[i])]


def _sources(cells: list[tuple[int, str]]) -> list[str]:
    return [source.strip() for _, source in cells]


def _entry(points: float | None, why: str = "", aspects: tuple[Aspect, ...] = ()) -> dict:
    return {"points": points, "why": why, "aspects": [(aspect.name, aspect.right) for aspect in aspects]}


def judged(item: Item, outcome: Outcome, own: set[int], seed: int, seconds: float) -> dict:
    """The entry of an item for what came out of the sandbox. own : the positions of cells that are answers."""
    if outcome.ended:
        text = ENDED.get(outcome.ended, ENDED["died"])
        why = text.format(seconds=seconds, more=3 * seconds, error=outcome.error)
        if outcome.at >= 0 and outcome.at not in own:  # a training run that is not there, say
            return _entry(None, f"builds on cell {outcome.at + 1}, which {why}")
        return _entry(0, why)
    try:
        with np.errstate(all="ignore"):
            aspects, why = verdict(item, outcome.found, seed)
    except Contradiction as contradiction:
        return _entry(0, f"says what does not hold: {contradiction}")
    except UNREADABLE as error:
        return _entry(None, f"gave what cannot be judged ({type(error).__name__})")
    points = round(item.points * sum(aspect.share for aspect in aspects if aspect.right), 2)
    others = set(outcome.errors) - own
    if points < item.points and others:
        numbers = ", ".join(str(position + 1) for position in sorted(others))
        return _entry(None, f"builds on what could not be run (cell {numbers})")
    missing = any(sandbox.MISSING in text for text in outcome.errors.values())
    if points < item.points and item.kind != "code" and missing:
        return _entry(None, "uses a solution of the package, which is not there while answers are graded")
    return _entry(points, why, aspects)


class Contradiction(Exception):
    """What came out of the sandbox is not what is computed from it here."""


def verdict(item: Item, found: object, seed: int) -> tuple[tuple[Aspect, ...], str]:
    """The aspects of an answer, from what came out of the sandbox, and what its function raised."""
    if item.kind != "code":
        return answers.answer(int(item.id.rpartition("-")[2]), found).aspects, ""
    try:
        read = _network(found, seed) if item.id == network.NAME else list(_steps(item.id, found, seed))
    except UNREADABLE as error:
        raise Contradiction("what came out cannot be read") from error
    if item.id == network.NAME:
        seen = network.describe_network(read)
        return network.judge_network(seen), str(seen.failure or "") or (seen.cause or "").replace("_", " ")
    failures = [str(step.error) for trial in read for step in trial if step.error]
    return judge.judge_step(item.id, read, seed), next(iter(failures), "")


# --- steps -----------------------------------------------------------------------------------------------------------


def _steps(name: str, found: list, seed: int) -> Iterator[list[probe.Step]]:
    """What a step did, trial by trial: what it starts from is what it was given, or what it left before."""
    wanted = judge.expected(name, seed)
    if len(found) != len(wanted):
        raise Contradiction(f"{len(found)} trials")
    failed = False
    for trial, said, right in zip(probe.trials(seed), found, wanted):
        before, steps = right[0].before, []
        for (image, mask), step in zip(trial.batches, said):
            events = tuple((what, tuple(values)) for what, values in step["events"])
            after, error = _state(step["after"], before), _failure(step["error"])
            steps.append(probe.Step(image, mask, events, before, after, step["returned"], error))
            before = after
        failed |= any(step.error for step in steps)
        if len(steps) < len(trial.batches) and not failed:
            raise Contradiction("a batch is missing")
        yield steps


def _state(said: dict, before: probe.State) -> probe.State:
    weights = {name: said["weights"][name] for name in before.weights}
    if any(weight.shape != before.weights[name].shape for name, weight in weights.items()):
        raise Contradiction("weights have other shapes")
    return probe.State(
        weights, tuple(said["trainable"]), said["totals"].reshape(2, 2), said["settings"], int(said["applied"])
    )


def _failure(said: dict | None) -> probe.Failure | None:
    return probe.Failure(str(said["kind"]), str(said["text"])) if said else None


# --- the network -----------------------------------------------------------------------------------------------------


def _network(found: dict, seed: int) -> network.Seen | network.Traced:
    """What a network is: its layers are taken as they are described, once what each of them gives has been computed."""
    if "recorder" not in found:  # it was no model, or did not run: nothing of it is right
        return network.Seen(str(found["cause"]), failure=_failure(found["failure"]))
    said, random = found["recorder"], np.random.default_rng(seed)
    image = trace.noise(random)
    recorder = trace.Recorder(image[:, : said["image"].shape[1], : said["image"].shape[2]], weights=said["weights"])
    recorder.rows = [(trace.Row(**_tuples(row)), given, gave) for row, given, gave in said["rows"]]
    recorder.others = [(trace.Other(**other), inputs, gave) for other, inputs, gave in said["others"]]
    found = {name: value for name, value in _tuples(found).items() if name != "recorder"}
    traced = network.Traced(recorder=recorder, **found)
    shapes = [tuple(shape) for shape in traced.shapes]
    if sum(map(math.prod, shapes)) > LARGEST_NETWORK or len(recorder.rows) + len(recorder.others) > LONGEST:
        raise Contradiction("a network that is too large")
    drawn = {weight.tobytes() for weight in trace.drawn_weights(shapes, random)}
    _compute_again(recorder, drawn if not traced.frozen else None)
    return traced


def _tuples(fields: dict) -> dict:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _compute_again(recorder: trace.Recorder, drawn: set[bytes] | None) -> None:
    """Raise Contradiction where a layer does not give what its weights make of what it takes. drawn : the weights that
    there are."""
    owners: dict[bytes, int] = {}
    for (row, given, gave), weights in zip(recorder.rows, recorder.weights, strict=True):
        if (row.given, row.taken, row.size, row.channels) != (*_size(given), *_size(gave)):
            raise Contradiction("a layer's sizes")
        if row.kind == "separable" or row.groups > 1 or row.dilated or row.channels_first:
            continue  # wrong, whatever it gives
        ends = (row.channels, row.taken) if row.kind == "transposed" else (row.taken, row.channels)
        window = row.window if weights[0].ndim == 4 else ()  # a dense layer has none
        if weights[0].shape != (*window, *ends) or len(weights) != 1 + row.bias:
            raise Contradiction("a kernel's size")
        if drawn is not None:
            if any(weight.tobytes() not in drawn for weight in weights):
                raise Contradiction("a layer's weights")
            if owners.setdefault(weights[0].tobytes(), row.key) != row.key:
                raise Contradiction("two layers with the same weights")
        if not any(_alike(_computed(row, padding, given, *weights), gave) for padding in _paddings(row, window)):
            raise Contradiction("what a layer gives")
    for other, inputs, gave in recorder.others:
        if other.change == trace.POOLED and not _alike(keras.ops.max_pool(inputs[0], 2, 2), gave):
            raise Contradiction("what pooling gives")
        deep = other.name == "Concatenate" and gave.shape[-1] == sum(part.shape[-1] for part in inputs)
        if deep and not _alike(np.concatenate(inputs, -1), gave):
            raise Contradiction("what is concatenated")


def _size(maps: np.ndarray) -> tuple[tuple[int, ...], int]:
    return maps.shape[1:3], maps.shape[-1]


def _paddings(row: trace.Row, window: tuple[int, ...]) -> list[str]:
    """The paddings with which a layer's sizes fit each other; only then is anything computed, and no huge array."""

    def length(taken: int, window: int, stride: int, valid: bool) -> int:
        if row.kind == "transposed":
            return taken * stride + valid * max(window - stride, 0)
        return -(-(taken - valid * (window - 1)) // stride)

    sides = list(zip(row.given, window or (1, 1), row.stride if window else (1, 1)))
    fit = {"same": False, "valid": True}
    return [name for name, valid in fit.items() if row.size == tuple(length(*side, valid) for side in sides)]


def _computed(row: trace.Row, padding: str, given: np.ndarray, kernel: np.ndarray, bias: np.ndarray | float = 0.0):
    """What a convolution, a transposed one or a dense layer gives before its activation."""
    if kernel.ndim == 2:
        return given @ kernel + bias
    convolve = keras.ops.conv_transpose if row.kind == "transposed" else keras.ops.conv
    return convolve(given, kernel, row.stride, padding) + bias


def _alike(one: np.ndarray, two: np.ndarray) -> bool:
    one = np.asarray(one)
    return one.shape == two.shape and bool(np.all(np.abs(one - two) <= EXACT * np.abs(one).max(initial=1e-6)))
