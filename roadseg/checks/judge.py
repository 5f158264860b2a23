"""Judge what a step did, from arrays alone, beside what Keras's own `train_on_batch` or `test_on_batch` does.

A task has several aspects, each with its share of the points. Where an early one is wrong, the later ones are judged by
what is made of it: a step that predicts in the wrong mode can still update its running metrics rightly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from roadseg.backend import keras
from roadseg.checks.probe import SEED, Kit, Step, aside, observe_step, trials
from roadseg.checks.result import Aspect, aspects_of

LATER = {"running loss": 1, "running accuracy": 1, "value returned": 1, "compiled": 1}
SHARES = {  # in parts of the task's points
    "train_step": {"prediction": 2, "loss": 2, "update": 4, **LATER},
    "val_step": {"prediction": 2, "trainable weights unchanged": 1, "loss": 1, **LATER},
}
PRECISION = 1e-3  # of the largest number that is compared; float32 sums in another order are off by 1e-6 to 1e-5
NOISE = 1e-6
PIXELS = 2.5  # so many may fall on the other side of one half because of rounding
LOSS, ACCURACY = METRICS = 0, 1  # rows of `State.totals`
NAMES = ("running_loss", "running_accuracy")  # of these


def close(found: Any, wanted: Any) -> bool:
    """Whether numbers agree but for rounding, which is measured by the largest of those wanted."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    tolerance = NOISE + PRECISION * np.nanmax(np.abs(wanted), initial=0)
    alike = found.shape == wanted.shape
    return alike and bool(np.all((np.abs(found - wanted) <= tolerance) | (np.isnan(found) & np.isnan(wanted))))


def same(one: Any, two: Any) -> bool:
    """Whether two arrays hold the same numbers in the same order, in any shape; what is no array is not the same."""
    arrays = isinstance(one, np.ndarray) and isinstance(two, np.ndarray)
    return arrays and one.size > 0 and close(one.ravel(), two.ravel())


def size(thing: Any) -> int:
    """How many numbers an array holds; 0 for anything else."""
    return thing.size if isinstance(thing, np.ndarray) else 0


def shape(thing: Any) -> tuple[int, ...]:
    """The shape of an array; () of anything else."""
    return thing.shape if isinstance(thing, np.ndarray) else ()


@cache
def expected(name: str, seed: int = SEED) -> list[list[Step]]:
    """What Keras's own step does in each of `trials(seed)`, step by step; it returns the probabilities."""

    def by_keras(model, image, mask, *, loss_fn, running_loss, running_accuracy, optimizer="sgd"):
        accuracy = keras.metrics.BinaryAccuracy(name="accuracy")
        model.compile(optimizer, loss_fn, metrics=[accuracy], run_eagerly=True)
        own_step = model.train_on_batch if name == "train_step" else model.test_on_batch
        measured = own_step(image, mask, return_dict=True)
        for metric, what in ((running_loss, "loss"), (running_accuracy, "accuracy")):
            metric.total.assign_add(measured[what])
            metric.count.assign_add(1.0)

    with aside():
        kits = {second: Kit(second=second, kind=keras.Model) for second in (False, True)}
        seen = observe_step(by_keras, name, tuple(replace(trial, compiled=False) for trial in trials(seed)), kits=kits)
    return [[replace(step, returned=step.noted("prediction")[-1][0]) for step in steps] for steps in seen]


def judge_step(name: str, seen: list[list[Step]], seed: int = SEED) -> tuple[Aspect, ...]:
    """The aspects of a step, from what `probe.observe_step` gives for `trials(seed)`: right in all trials, or wrong."""
    wanted, judged = expected(name, seed), [verdict for *_, verdict in judged_steps(name, seen, seed)]
    called = bool(seen[0][0].noted("forward"))
    verdicts = {aspect: called and all(verdict[aspect] for verdict in judged) for aspect in judged[0]}
    verdicts["running loss"] &= weighs_evenly(seen[0], LOSS)
    verdicts["running accuracy"] &= weighs_evenly(seen[0], ACCURACY)
    verdicts["compiled"] = called and runs_compiled(seen, wanted if all(verdicts.values()) else None)
    return aspects_of(SHARES[name], [aspect for aspect, right in verdicts.items() if right])


def judged_steps(name: str, seen: list[list[Step]], seed: int = SEED) -> Iterator[tuple[Step, Step, dict[str, bool]]]:
    """Each step that is not compiled, Keras's own beside it, and which aspects of it are right; a trial counts as long
    as the two begin with the same weights."""
    for trial, *steps in zip(trials(seed), seen, expected(name, seed)):
        measured = trial.loss == "crossentropy" or (trial.loss == "steep" and name == "val_step")
        for step, wanted in () if trial.compiled else zip(*steps):
            if not moves_alike(step.before.weights, wanted.before.weights, step.before.weights):
                break
            yield step, wanted, _verdicts(name, step, wanted, measured=measured)


def _verdicts(name: str, step: Step, wanted: Step, *, measured: bool) -> dict[str, bool]:
    """Which aspects of one step are right. measured : whether the running loss counts in this trial."""
    right, own = {}, predictions(step)
    if name == "val_step" and len(own) > 1 and len({np.shape(each)[1:] for each in own}) == 1:
        own.append(np.concatenate(own))  # image by image, which is as good
    predicted = any(same(prediction, wanted.returned) for prediction in own)
    right["prediction"] = predicted and (name == "val_step" or averages_alike(step, wanted))
    updated, loss_is_measured = leaves_alike(step, wanted), measures(step, wanted, LOSS)
    arguments = [same(truth, step.mask) and any(same(p, each) for each in own) for truth, p in loss_pairs(step)]
    given = bool(arguments) and all(arguments) and not step.noted("loss weights")
    right["loss"] = given or (updated if name == "train_step" else loss_is_measured or not measured)
    follows = right["prediction"] and right["loss"]  # so that the rest can be what Keras's is
    if name == "train_step":
        right["update"] = updated or (not follows and _updates(step))
    else:
        settled = step.after.trainable == step.before.trainable
        right["trainable weights unchanged"] = updated or (any_training(step) and settled and not moved(step))
    right["running loss"] = not measured or loss_is_measured or (not follows and _measures_own_loss(step))
    right["running accuracy"] = measures(step, wanted, ACCURACY) or (
        not follows and any(_adds(step, ACCURACY, accuracy(step.mask, prediction)) for prediction in own)
    )
    whole = [wanted.returned] if follows else [wanted.returned, *own]
    returned = isinstance(step.returned, np.ndarray) and step.returned.shape == wanted.returned.shape
    right["value returned"] = not step.error and returned and any(close(step.returned, each) for each in whole)
    return right


def loss_pairs(step: Step) -> list[tuple]:
    """What `loss_fn` was given, as (truth, prediction); parts of a batch put together where they make up all."""
    pairs = [values[:2] for values in step.noted("loss")]
    sizes = [(size(truth), size(prediction)) for truth, prediction in pairs]
    parts = all(0 < each < step.mask.size for pair in sizes for each in pair)
    if not pairs or not parts or any(sum(column) != step.mask.size for column in zip(*sizes)):
        return pairs
    return [tuple(np.concatenate([part.ravel() for part in column]) for column in zip(*pairs))]


def predictions(step: Step) -> list:
    """What the model predicted, each time."""
    return [values[0] for values in step.noted("prediction")]


def any_training(step: Step) -> bool:
    """Whether the model predicted in training mode."""
    return any(bool(np.any(mode == True)) for _, mode in step.noted("forward"))  # noqa: E712


def accuracy(mask: np.ndarray, prediction: np.ndarray) -> float:
    """The fraction of pixels on the right side of one half; NaN where the shapes differ."""
    alike = shape(prediction) == mask.shape
    return float(np.mean((prediction > 0.5) == (mask > 0.5))) if alike else float("nan")


def added(step: Step, metric: int) -> np.ndarray:
    """What a step added to the sum and the count of a running metric."""
    return step.after.totals[metric] - step.before.totals[metric]


def updated_twice(step: Step, metric: int) -> bool:
    """Whether a metric was given the same more than once."""
    given = [values[0] for values in step.noted(NAMES[metric]) if values]
    return len(given) > 1 and all(same(each, given[0]) for each in given)


def measures(step: Step, wanted: Step, metric: int) -> bool:
    """Whether a running metric goes up by what Keras measures, once."""
    return _adds(step, metric, np.divide(*added(wanted, metric)))


def leaves_alike(step: Step, wanted: Step) -> bool:
    """Whether a step leaves the model and the optimizer as Keras's own does."""
    settled = step.after.trainable == wanted.after.trainable and step.after.settings == wanted.after.settings
    settled &= step.after.applied - step.before.applied == wanted.after.applied - wanted.before.applied
    return settled and moves_alike(step.after.weights, wanted.after.weights, step.before.weights)


def averages_alike(step: Step, wanted: Step) -> bool:
    """Whether what is not trained, such as the averages of batch normalization, is as Keras's own step leaves it."""
    optimized = {name for _, names in step.noted("apply") for name in names}
    rest = [name for name in step.before.weights if name not in optimized.union(step.before.trainable)]
    return all(close(step.after.weights[name], wanted.after.weights[name]) for name in rest)


def runs_compiled(seen: list[list[Step]], wanted: list[list[Step]] | None) -> bool:
    """Whether the compiled trials end without an error; and, where all else is right, as Keras's own step does."""
    compiled = seen[3:]
    if not all(compiled) or any(step.error for steps in compiled for step in steps):
        return False
    pairs = [pair for steps in zip(compiled, wanted[3:]) for pair in zip(*steps)] if wanted else []
    return all(
        moves_alike(step.after.weights, other.after.weights, step.before.weights)
        and all(_adds(step, metric, np.divide(*added(other, metric))) for metric in METRICS)
        and same(step.returned, other.returned)
        for step, other in pairs
    )


def _adds(step: Step, metric: int, wanted: float) -> bool:
    total, count = added(step, metric)
    slack = PIXELS / step.mask.size if metric == ACCURACY else NOISE + PRECISION * abs(wanted)
    return count > 0 and abs(total / count - wanted) <= slack and not updated_twice(step, metric)


def weighs_evenly(steps: list[Step], metric: int) -> bool:
    """Whether batches count alike, or each as its images do."""
    counts = np.array([added(step, metric)[1] for step in steps])
    per_image = counts / [len(step.image) for step in steps]
    return any(close(weights, np.full_like(weights, weights[0])) for weights in (counts, per_image))


def moves_alike(after: dict, wanted: dict, before: dict) -> bool:
    """Whether weights move alike from where they were before."""
    return all(close(after[name] - before[name], wanted[name] - before[name]) for name in before)


def moved(step: Step) -> bool:
    """Whether a trainable weight is another than before."""
    before, after = step.before.weights, step.after.weights
    return not all(np.array_equal(after[name], before[name]) for name in step.before.trainable)


def gradients(step: Step) -> dict[str, np.ndarray]:
    """What the optimizer was given, by the name of the weight; what has no gradient is not in it."""
    pairs = [pair for given, names in step.noted("apply") if given for pair in zip(names, given)]
    return {name: gradient for name, gradient in pairs if isinstance(gradient, np.ndarray)}


def _updates(step: Step) -> bool:
    """Whether the optimizer was given one gradient for each weight, once, and nothing else was changed."""
    settled = step.after.trainable == step.before.trainable and step.after.settings == step.before.settings
    once = len(step.noted("apply")) == len(step.noted("applied")) == 1
    shapes = {name: gradient.shape for name, gradient in gradients(step).items()}
    return settled and once and shapes == {name: step.before.weights[name].shape for name in step.before.trainable}


def _measures_own_loss(step: Step) -> bool:
    """Whether the running loss goes up by the loss that was computed, right or wrong."""
    values = [float(np.mean(values[0])) for values in step.noted("loss value") if isinstance(values[0], np.ndarray)]
    return any(_adds(step, LOSS, value) for value in values)
