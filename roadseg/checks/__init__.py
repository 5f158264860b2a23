"""The checks under each task and number: they name the mistake, and never raise.

    checks.train_step(train_step)      checks.unet(build_unet)
    checks.val_step(val_step)          checks.answer(3, steps_per_epoch)

Each gives a `Result` with `passed`, `cause`, `message` and `aspects`, which shows itself as a card. They test what a
function does, not how it is written. `points` gives what grading gives for the same, by the same verdict. In reading
order:

result         what a check found, as a card
probe          calls a step on given arrays, gives arrays back
judge          compares these with Keras's own step, aspect by aspect
steps          names the mistake in a step, by its catalog `step_mistakes`
trace          what a network computes, as rows of plain data
architecture   names what differs from the U-Net, by its catalog `unet_mistakes`, which `sketch` reads
network        judges a network
answers        numbers and choices
exercise       how an exercise is checked
exercises      the exercises without points
grading        points
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from roadseg.checks.result import Result

_EXERCISES = (
    *("best_f1", "iou_and_f1", "make_pipeline", "mean_mask", "random_flip", "receptive_field", "scatter_and_add"),
    *("soft_dice", "softmax", "training_loop", "warmup_cosine"),
)
_HOME = {"answer": "answers", "points": "grading", "train_step": "steps", "val_step": "steps"}
_HOME |= {"own_network": "network", "unet": "network"} | dict.fromkeys(_EXERCISES, "exercises")
__all__ = [*_HOME, "carry_on"]


def __getattr__(name: str):
    """Import a check on first use, so that reading what checks have left in notebooks needs no TensorFlow."""
    if name in _HOME:
        return getattr(import_module(f"roadseg.checks.{_HOME[name]}"), name)
    raise AttributeError(f"module 'roadseg.checks' has no attribute {name!r}")


def carry_on(train_step: Result, val_step: Result) -> dict[str, Callable]:
    """The two steps for `training.train`: the student's own where their checks passed, otherwise the reference
    solution. Says which."""
    for result in (train_step, val_step):
        whose = "your own" if result.passed else f"the reference solution, until yours is right ({result.verdict})"
        print(f"{result.name}: {whose}")
    return {"step": train_step.function, "validation_step": val_step.function}
