"""Points for a task or an answer, by the verdict of its check: what the card says is what grading gives."""

from __future__ import annotations

from typing import Any

from roadseg.checks import answers, network, steps
from roadseg.checks.probe import SEED


def points(task: str | int, value: Any, maximum: float, *, seed: int = SEED) -> float:
    """The points that a task earns: the shares of the aspects that are right. The last line of a hidden test, for
    nbgrader.

    Parameters
    ----------
    task : train_step, val_step, build_unet, or the number of a question (3, 4, 8, 9 or 10).
    value : the student's function, or the answer.
    maximum : the points for all aspects.
    seed : of the batches and starting weights; in grading one that students do not know.

    Returns
    -------
    From 0 to `maximum`, rounded to hundredths.
    """
    if isinstance(task, int):
        found = answers.answer(task, value).aspects
    elif task == network.NAME:
        found, _ = network.network_aspects(value, seed)
    else:
        found, _ = steps.step_aspects(task, value, seed)
    return round(maximum * sum(aspect.share for aspect in found if aspect.right), 2)
