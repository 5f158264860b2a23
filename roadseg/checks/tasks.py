"""The exercises without points: IoU and F1, the mean mask, and the loop over epochs.

Each check runs the student's function on cases with known results. What is wrong is named by imitation: the first entry
of a list of wrong versions, as students write them, that gives the same on all cases. The first entry of each list is
the reference solution.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

import numpy as np

from roadseg import models, training
from roadseg.backend import keras
from roadseg.checks.result import NOT_WRITTEN, Result
from roadseg.errors import OptionError, one_line

EPOCHS, TRAIN_BATCHES, VALIDATION_BATCHES = 3, 3, 2  # of the case for the loop
LOOP_DIFFERS = (
    "Its history, or what it gives to the steps, is not that of the reference loop. Look at the order of the two "
    "parts, at their batches, and whether both steps get the model, the loss and the optimizer that the loop was given."
)
HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy")


def iou_and_f1(function: Callable) -> Result:
    """Check a function of two masks, bool arrays of one shape (predicted, truth), that returns (IoU, F1)."""
    random = np.random.default_rng(0)
    truth = np.zeros((2, 8, 8), bool)
    truth[0, 4:], truth[1, 6:, 2:5] = True, True  # of unequal size: an average over images is another number
    cases = [(truth ^ (random.random(truth.shape) < 0.2), truth), (truth.copy(), truth), (~truth, truth)]
    found = "Both agree with the counts on three pairs of masks, pixels of all images together."
    return _checked("iou_and_f1", "Exercise, IoU and F1", function, cases, SCORES, found)


def mean_mask(function: Callable) -> Result:
    """Check a function of training masks, bool (N, H, W), that returns the fraction of road at each pixel, (H, W)."""
    masks = np.random.default_rng(0).random((5, 4, 6)) < np.linspace(0.1, 0.9, 6)
    found = "It gives the fraction of the masks in which each pixel is road."
    return _checked("mean_mask", "Exercise, the mean mask", function, [(masks,)], MEANS, found)


def training_loop(function: Callable) -> Result:
    """Check a loop over epochs, called as `train_loop(model, train_batches, val_batches, epochs, train_step=...,
    val_step=..., loss_fn=..., optimizer=...)`, that returns the history: under each name of HISTORY a list with an
    entry for each epoch."""
    found = "Every epoch trains on all batches, then validates, and its four means are those of that epoch alone."
    result = _checked("train_loop", "Exercise, the loop over epochs", function, [()], LOOPS, found, run=_course)
    return replace(result, message=LOOP_DIFFERS) if result.cause == "differs" else result


def own_network(task: Result) -> dict[str, Callable | None]:
    """The network for `training.train`: the student's own where its check passed, otherwise the reference. Says which.

    A right network is not used either where its layers are in another order than the package's, so that what later
    notebooks do with its weights would not fit."""
    own, why = task.passed, task.verdict
    if own:
        try:
            training.package_weights(task.function(), models.unet())
        except OptionError as error:
            own, why = False, str(error)
    print(f"{task.name}: {'your own' if own else f'the reference solution ({why})'}")
    return {"network": task.function if own else None}


# --- the verdict, and the name of the mistake ------------------------------------------------------------------------


def _checked(
    name: str,
    title: str,
    function: Any,
    cases: Sequence[tuple],
    versions: Sequence[tuple],
    found: str,
    *,
    run: Callable = lambda function, *case: function(*map(np.copy, case)),
) -> Result:
    """Compare what `run` gives for a function with the reference, the first of the versions, then with the others."""
    reference = versions[0][-1]

    def result(cause: str | None, message: str) -> Result:
        kept = function if cause is None else reference
        return Result(name=name, title=title, passed=cause is None, cause=cause, message=message, function=kept)

    def results(version: Callable) -> list:
        with redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            return [run(version, *case) for case in cases]

    if not callable(function):
        return result("not_a_function", f"`{name}` is not a function: run the cell that defines it.")
    try:
        given = results(function)
    except (Exception, SystemExit) as error:  # whatever a student's code raises
        return result("raises_error", f"It stops with `{type(error).__name__}: {one_line(error)[:200]}`.")
    if all(each is None for each in given):
        return result(NOT_WRITTEN, "Write it in the cell above, then run both cells.")
    wanted = results(reference)
    for cause, message, version in versions:
        if _alike(given, wanted if version is reference else results(version)):
            return result(cause, message or found)
    mine, right = next(pair for pair in zip(given, wanted) if not _alike(pair[:1], pair[1:]))
    return result("differs", f"It gives {_short(mine)}, where {_short(right)} is right.")


def _alike(some: Sequence, others: Sequence) -> bool:
    """Whether two lists of results hold the same numbers in the same shapes."""
    try:
        pairs = [(np.asarray(one, float), np.asarray(two, float)) for one, two in zip(some, others)]
    except (TypeError, ValueError):  # lists of unequal lengths, words, None
        return False
    return all(one.shape == two.shape and np.allclose(one, two, rtol=1e-4, atol=1e-5) for one, two in pairs)


def _short(value: Any) -> str:
    """A value in a few words."""
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        return f"something of type `{type(value).__name__}`"
    numbers = ", ".join(f"{number:.3f}" for number in array.ravel()[:4])
    return numbers if array.size <= 4 else f"an array of shape {array.shape} that begins {numbers}"


# --- IoU and F1, the mean mask ---------------------------------------------------------------------------------------


def _scores(iou: Callable, f1: Callable) -> Callable:
    """A version that counts, and then divides in its own way."""

    def version(predicted, truth):
        counts = [(predicted & truth).sum(), (predicted & ~truth).sum(), (~predicted & truth).sum()]
        return iou(*counts), f1(*counts)

    return version


def _iou(tp, fp, fn):
    return tp / (tp + fp + fn)


def _f1(tp, fp, fn):
    return 2 * tp / (2 * tp + fp + fn)


def _mean_over_images(predicted, truth):
    return np.mean([SCORES[0][-1](one, other) for one, other in zip(predicted, truth)], axis=0)


SCORES = [  # cause, message, version
    (None, "", _scores(_iou, _f1)),
    ("exchanged", "The two are exchanged: return IoU first, then F1.", _scores(_f1, _iou)),
    (
        "accuracy",
        "The first is accuracy, the fraction of pixels that are equal: IoU leaves the true negatives out.",
        lambda predicted, truth: ((predicted == truth).mean(), _scores(_iou, _f1)(predicted, truth)[1]),
    ),
    (
        "union_too_large",
        "The union counts the intersection twice: it is TP + FP + FN, the pixels that are road in one mask or both.",
        _scores(lambda tp, fp, fn: tp / (2 * tp + fp + fn), _f1),
    ),
    ("precision", "The first is precision: the missed road, FN, belongs in the union.",
     _scores(lambda tp, fp, fn: tp / (tp + fp), _f1)),
    ("recall", "The first is recall: the false road, FP, belongs in the union.",
     _scores(lambda tp, fp, fn: tp / (tp + fn), _f1)),
    ("factor_missing", "F1 is half of what it should be: TP stands twice in its numerator, too.",
     _scores(_iou, lambda tp, fp, fn: tp / (2 * tp + fp + fn))),
    ("iou_twice", "Both are IoU: in F1, TP counts twice, above and below.", _scores(_iou, _iou)),
    ("percent", "These are percentages: both scores are fractions, from 0 to 1.",
     lambda predicted, truth: 100 * np.array(_scores(_iou, _f1)(predicted, truth))),
    ("mean_over_images", "These are means over the images: count the pixels of all images first, then divide.",
     _mean_over_images),
]  # fmt: skip

MEANS = [
    (None, "", lambda masks: masks.mean(axis=0)),
    ("one_number", "This is one number, the fraction of road in all masks: average over the images alone, axis 0.",
     lambda masks: masks.mean()),
    ("by_image", "This is one number for each image: average over the images, axis 0, and keep the pixels.",
     lambda masks: masks.mean(axis=(1, 2))),
    ("rows_averaged", "This averages over the rows: the images are axis 0.", lambda masks: masks.mean(axis=1)),
    ("columns_averaged", "This averages over the columns: the images are axis 0.", lambda masks: masks.mean(axis=2)),
    ("sum", "This is the number of masks with road at each pixel: divide by how many masks there are.",
     lambda masks: masks.sum(axis=0)),
    ("rounded", "This is 0 or 1 at each pixel: return the fraction itself, which is a probability.",
     lambda masks: masks.mean(axis=0) >= 0.5),
]  # fmt: skip


SCORES[0][-1].__name__, MEANS[0][-1].__name__ = "iou_and_f1", "mean_mask"  # as the card calls the reference


# --- the loop over epochs --------------------------------------------------------------------------------------------


def _loop(wrong: str = "") -> Callable:
    """The loop, with one thing wrong in it."""

    def train_loop(model, train_batches, val_batches, epochs, *, train_step, val_step, loss_fn, optimizer):
        running = {"running_loss": keras.metrics.Mean(), "running_accuracy": keras.metrics.BinaryAccuracy()}
        history = {name: [] for name in HISTORY}

        def reset():
            for metric in running.values():
                metric.reset_state()

        def note(prefix):
            for name, metric in zip(HISTORY[:2], running.values()):
                history[prefix + name].append(float(metric.result()))

        def train():
            for image, mask in train_batches:
                train_step(model, image, mask, loss_fn=loss_fn, optimizer=optimizer, **running)
                if wrong == "entry_for_each_batch":
                    note("")
                if wrong == "first_batch_only":
                    break
            if wrong != "entry_for_each_batch":
                note("")

        def validate():
            for image, mask in train_batches if wrong == "validates_on_training" else val_batches:
                if wrong == "learns_in_validation":
                    train_step(model, image, mask, loss_fn=loss_fn, optimizer=optimizer, **running)
                else:
                    val_step(model, image, mask, loss_fn=loss_fn, **running)
            note("val_")

        parts = [train, validate]
        if wrong == "validates_first":
            parts.reverse()
        if wrong == "no_validation":
            parts.remove(validate)
        for _ in range({"one_epoch": 1, "one_epoch_missing": epochs - 1}.get(wrong, epochs)):
            for part in parts:
                unreset = {"never_reset": parts, "not_before_training": [train], "not_before_validation": [validate]}
                if part not in unreset.get(wrong, []):
                    reset()
                part()
        return history

    return train_loop


LOOPS = [
    (None, "", _loop()),
    *((cause, message, _loop(cause)) for cause, message in (
        ("never_reset", "The metrics are never reset: each entry is the mean of all batches since the start. Call "
         "`reset_state()` of both before training and before validation."),
        ("not_before_validation", "Validation continues with the metrics of training: reset both before it, too."),
        ("not_before_training", "Training continues with the metrics of the last validation: reset both at the start "
         "of each epoch, too."),
        ("first_batch_only", "Each epoch trains on the first batch alone: an epoch is all of them."),
        ("entry_for_each_batch", "The history has an entry for each batch: append after the loop over the batches."),
        ("validates_first", "Validation comes before training: it should measure what the epoch reached."),
        ("validates_on_training", "The validation step gets the training batches: it needs those for validation."),
        ("learns_in_validation", "The validation batches go to the training step: the model learns what it is measured "
         "on. Use the validation step."),
        ("no_validation", "Nothing is validated: after training, run the validation step on all validation batches."),
        ("one_epoch", "Only one epoch is trained: repeat both parts `epochs` times."),
        ("one_epoch_missing", "One epoch is missing: `range(epochs)` repeats `epochs` times."),
    )),
]  # fmt: skip


def _course(loop: Callable) -> list[float] | None:
    """What a loop returns and does, in one list of numbers; None where it does nothing.

    Batches are numbers. The steps note what they get; the loss of a batch is its number, and grows with every training
    step, so that each mean tells which batches it is of. The accuracy tells, too."""
    events = []  # of each step: whether it trains, its batch, whether model, loss and optimizer are those given
    model, loss, adam = object(), object(), object()

    def train_step(model, image, mask, *, loss_fn, optimizer, running_loss, running_accuracy):
        return step(True, model, image, mask, loss_fn, optimizer, running_loss, running_accuracy)

    def val_step(model, image, mask, *, loss_fn, running_loss, running_accuracy):
        return step(False, model, image, mask, loss_fn, adam, running_loss, running_accuracy)

    def step(training, *given):
        number = float(np.ravel(given[1])[0])
        events.append((training, number, given[0] is model and given[3] is loss and given[4] is adam))
        given[5].update_state(number + 0.1 * sum(event[0] for event in events))
        given[6].update_state(given[2], np.ones_like(given[2]))
        return np.ones_like(given[2])

    batches = [
        (np.full((1, 1, 4, 3), i, np.float32), _first_pixels(i)) for i in range(TRAIN_BATCHES + VALIDATION_BATCHES)
    ]
    steps = {"train_step": train_step, "val_step": val_step, "loss_fn": loss, "optimizer": adam}
    history = loop(model, batches[:TRAIN_BATCHES], batches[TRAIN_BATCHES:], EPOCHS, **steps)
    if history is None and not events:
        return None
    if not isinstance(history, dict) or set(HISTORY) - set(history):
        raise TypeError(f"it should return a dictionary with the entries {', '.join(HISTORY)}")
    rows = [value for name in HISTORY for value in (len(history[name]), *map(float, history[name]))]
    return rows + [float(value) for event in events for value in event]


def _first_pixels(number: int) -> np.ndarray:
    """A mask of four pixels, of which the first `number` are road."""
    return (np.arange(4) < number).astype(np.float32).reshape(1, 1, 4, 1)
