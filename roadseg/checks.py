"""The checks under each task and number: they name the mistake, with at most three seconds of work, and never raise.

    checks.train_step(train_step)      checks.unet(build_unet)
    checks.val_step(val_step)          checks.answer(3, steps_per_epoch)

Each gives a `Result` with `passed`, `cause` and `message`, which shows itself as a card. They test what a function
does, not how it is written.
"""

from __future__ import annotations

from collections.abc import Callable

from .cards import Result
from .check_answers import answer
from .check_steps import train_step, val_step
from .check_unet import unet

__all__ = ["Result", "answer", "carry_on", "train_step", "unet", "val_step"]


def carry_on(train_step: Result, val_step: Result) -> dict[str, Callable]:
    """The two steps for `training.train`: the reader's own where their checks passed, the package's in their place
    where not. Says which."""
    for result in (train_step, val_step):
        whose = "your own" if result.passed else f"the workbook's, until yours is right ({result.verdict})"
        print(f"{result.name}: {whose}")
    return {"step": train_step.function, "validation_step": val_step.function}
