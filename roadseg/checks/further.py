"""The checks of notebook 04's tasks, which carry no points: random flip, soft Dice, warm-up and cosine.

Each runs the student's function on arrays of its own and compares what comes out with a right version. Where it
differs, the wrong versions below are compared, too: the one that gives the same names the mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

import numpy as np

from roadseg.backend import keras, tf
from roadseg.checks.probe import attempt
from roadseg.checks.result import NOT_WRITTEN, Aspect, Result

SAMPLES = 64  # enough that a fair draw gives fewer than 12 or more than 52 flips once in a million checks
FAIR = range(12, 53)
PEAK, WARMUP, TOTAL = 0.02, 10, 110  # of the schedule that is tried


# --- the reference solutions -----------------------------------------------------------------------------------------


def flip_together(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirror one sample, image (H, W, 3) and mask (H, W, 1), left to right with probability one half."""
    flip = tf.random.uniform([]) < 0.5
    return tuple(tf.where(flip, tf.reverse(part, [1]), part) for part in (image, mask))


def dice_loss(mask: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """1 - 2 sum(mask x probability) / (sum(mask) + sum(probability)), for each image, then the mean: float32 ()."""
    return tf.reduce_mean(keras.losses.dice(mask, probability, axis=(1, 2, 3)))


def cosine_schedule(step: int, peak: float, warmup: int, total: int) -> float:
    """The learning rate: linear from 0 to `peak` in `warmup` steps, then along half a cosine to 0 at `total`."""
    falling = peak * (1 + cos(pi * (step - warmup) / (total - warmup))) / 2
    return peak * step / warmup if step < warmup else falling


# --- random flip -----------------------------------------------------------------------------------------------------

SAME, MIRRORED, TURNED, OTHER = "the same", "mirrored", "upside down", "something else"
FLIP_MISTAKES = {  # what happens to (image, mask), over all samples: the mistake and what to say
    ((SAME, SAME), (MIRRORED, SAME)): (
        "mask_left",
        "The image is mirrored and its mask is not: the road is then on the wrong side.",
    ),
    ((SAME, MIRRORED), (SAME, SAME)): ("image_left", "The mask is mirrored and its image is not."),
    ((MIRRORED, MIRRORED), (MIRRORED, SAME), (SAME, MIRRORED), (SAME, SAME)): (
        "two_draws",
        "Image and mask each have a random draw of their own, so they agree half of the time. Draw once, use twice.",
    ),
    ((SAME, SAME), (TURNED, TURNED)): (
        "upside_down",
        "The sample is turned upside down. Axis 0 is the height, axis 1 the width: mirror a street in its width.",
    ),
    ((MIRRORED, MIRRORED),): ("always", "Every sample is mirrored; it should be about one half of them."),
    ((SAME, SAME),): ("never", "No sample is mirrored; it should be about one half of them."),
}
DRAWN_ONCE = (
    "Called directly it draws anew for each sample, but in `Dataset.map` all samples get the same: `map` runs Python "
    "code once, while it builds the graph. Draw with `tf.random.uniform`."
)


def random_flip(function: Callable) -> Result:
    """Check `random_flip(image, mask)`, called on single samples and in `Dataset.map`."""
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((SAMPLES, 4, 6, 3), np.float32))
    masks = tf.constant(rng.integers(0, 2, (SAMPLES, 4, 6, 1)).astype(np.float32))
    samples = list(zip(images, masks))

    def mapped() -> list:
        return list(tf.data.Dataset.from_tensor_slices((images, masks)).map(function))

    result = _Report("random_flip", "Exercise, random flip", flip_together)
    found, failure = attempt(lambda: [function(*sample) for sample in samples])
    if failure is None and all(pair is None for pair in found):
        return result.open()
    if failure is None and any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in found):
        return result.wrong("not_a_pair", "It should return two things, the image and the mask.")
    compiled, compiled_failure = (None, failure) if failure else attempt(mapped)
    if failure := failure or compiled_failure:
        return result.wrong("error", f"It raises an error: {failure}")
    kinds, compiled_kinds = ([_kinds(*pair) for pair in zip(samples, out)] for out in (found, compiled))
    for seen in (kinds, compiled_kinds):
        outcome = tuple(sorted(set(seen)))
        if seen is compiled_kinds and len(outcome) == 1 < len(set(kinds)):
            return result.wrong("drawn_once", DRAWN_ONCE)
        if outcome != tuple(sorted([(SAME, SAME), (MIRRORED, MIRRORED)])):
            known = [said for key, said in FLIP_MISTAKES.items() if tuple(sorted(key)) == outcome]
            return result.wrong(*known[0]) if known else result.wrong("other", f"A sample becomes {_told(seen)}.")
        flipped = seen.count((MIRRORED, MIRRORED))
        if flipped not in FAIR:
            return result.wrong("unfair", f"{flipped} of {SAMPLES} samples are mirrored; it should be about one half.")
    return result.right(
        function, "Image and mask are mirrored together, about every second time, and in `Dataset.map`, too."
    )


def _kinds(before: tuple, after: tuple) -> tuple[str, str]:
    """What has become of an image and of its mask."""
    kinds = []
    for old, new in zip(before, after):
        old, new = np.asarray(old), np.asarray(new)
        candidates = {SAME: old, MIRRORED: old[:, ::-1], TURNED: old[::-1]}
        kinds.append(next((name for name, value in candidates.items() if np.array_equal(value, new)), OTHER))
    return tuple(kinds)


def _told(seen: list) -> str:
    """The first outcome that is not allowed, in words."""
    image, mask = next(pair for pair in seen if pair not in ((SAME, SAME), (MIRRORED, MIRRORED)))
    return f"{image} (image) and {mask} (mask)"


# --- soft Dice -------------------------------------------------------------------------------------------------------


def _sums(mask: tf.Tensor, probability: tf.Tensor, axes: tuple[int, ...] = (1, 2, 3)) -> tuple[tf.Tensor, ...]:
    return tuple(tf.reduce_sum(part, axes) for part in (mask * probability, mask, probability))


def _dice_of(both, one, other):
    return tf.reduce_mean(1 - 2 * both / (one + other))


DICE_MISTAKES: dict[str, tuple[Callable, str]] = {
    "score": (
        lambda mask, p: 1 - _dice_of(*_sums(mask, p)),
        "That is the Dice score, which is 1 for a perfect prediction. A loss has to fall: 1 minus the score.",
    ),
    "no_two": (
        lambda mask, p: tf.reduce_mean(1 - (s := _sums(mask, p))[0] / (s[1] + s[2])),
        "The 2 is missing: a perfect prediction should have the loss 0, and has one half.",
    ),
    "iou": (
        lambda mask, p: tf.reduce_mean(1 - (s := _sums(mask, p))[0] / (s[1] + s[2] - s[0])),
        "That is the soft IoU (Jaccard) loss: it divides by the union. Dice divides twice the overlap by the two sums.",
    ),
    "squares": (
        lambda mask, p: _dice_of(_sums(mask, p)[0], *_sums(mask**2, p**2)[1:]),
        "The sums below are of squares, as in V-Net. That is a good loss, too; here it is the plain sums.",
    ),
    "whole_batch": (
        lambda mask, p: _dice_of(*_sums(mask, p, (0, 1, 2, 3))),
        "The sums run over the whole batch. Sum over each image, axes 1 to 3, then take the mean over images.",
    ),
    "mean_of_sums": (
        lambda mask, p: tf.reduce_sum(1 - 2 * (s := _sums(mask, p))[0] / (s[1] + s[2])),
        "The images' losses are summed; take their mean, so that the loss does not depend on the batch size.",
    ),
    "thresholded": (
        lambda mask, p: _dice_of(*_sums(mask, tf.cast(p >= 0.5, tf.float32))),
        "The probabilities are compared with a threshold first. That has no gradient: use them as they are.",
    ),
}
DICE_TOLERANCE = 2e-3  # what a smoothing term of 1 in both sums changes on these images


def soft_dice(function: Callable) -> Result:
    """Check `soft_dice(mask, probability)`: its value, its gradient, and images without any road."""
    rng = np.random.default_rng(0)
    limits = np.array([0.2, 0.5, 0.9]).reshape(3, 1, 1, 1)  # three images with little, some and much road
    mask = tf.constant((rng.random((3, 48, 48, 1)) < limits).astype(np.float32))
    probability = tf.constant((0.6 * np.asarray(mask) + 0.4 * rng.random(mask.shape)).astype(np.float32) ** 2)
    result = _Report("soft_dice", "Exercise, soft Dice", dice_loss)
    value, failure = attempt(lambda: function(mask, probability))
    if failure:
        return result.wrong("error", f"It raises an error: {failure}")
    if value is None:
        return result.open()
    if np.shape(value) != ():
        return result.wrong(
            "not_a_number", f"It returns an array of shape {np.shape(value)}: take the mean over images."
        )
    if abs(float(value) - float(dice_loss(mask, probability))) > DICE_TOLERANCE:
        for cause, (wrong, message) in DICE_MISTAKES.items():
            if abs(float(value) - float(wrong(mask, probability))) < DICE_TOLERANCE:
                return result.wrong(cause, message)
        right = float(dice_loss(mask, probability))
        return result.wrong("other", f"For three images of the check it is {float(value):.3f}; expected {right:.3f}.")
    with tf.GradientTape() as tape:
        tape.watch(probability)
        loss, failure = attempt(lambda: tf.convert_to_tensor(function(mask, probability)))
    if failure or tape.gradient(loss, probability) is None:
        return result.wrong("no_gradient", "The value is right, but has no gradient: compute with `tf` or `keras.ops`.")
    empty, failure = attempt(lambda: float(function(0 * mask, 0 * probability)))
    if failure or not np.isfinite(empty):
        return result.wrong("empty", "Without any road it is 0 / 0, NaN: add a small number to both sums.")
    return result.right(function, "It is 0 for a perfect prediction, has a gradient, and bears images without road.")


# --- the schedule ----------------------------------------------------------------------------------------------------


def _after_warmup(shape: Callable[[float], float], *, from_start: bool = False) -> Callable:
    """A schedule with a right warm-up and another shape after it, a function of the fraction of time from 0 to 1."""

    def schedule(step: int, peak: float, warmup: int, total: int) -> float:
        falling = peak * shape(step / total if from_start else (step - warmup) / (total - warmup))
        return peak * step / warmup if step < warmup else falling

    return schedule


SCHEDULE_MISTAKES: dict[str, tuple[Callable, str]] = {
    "no_warmup": (
        lambda step, peak, warmup, total: cosine_schedule(step, peak, 0, total),
        "There is no warm-up: the rate begins at its peak.",
    ),
    "constant_warmup": (
        lambda step, peak, warmup, total: peak if step < warmup else cosine_schedule(step, peak, warmup, total),
        "In the warm-up the rate is constant at its peak; it should rise in a line from 0.",
    ),
    "jump": (
        _after_warmup(lambda t: (1 + cos(pi * t)) / 2, from_start=True),
        "The cosine counts from step 0, so the rate jumps at the end of the warm-up. Count from there.",
    ),
    "whole_wave": (
        _after_warmup(lambda t: (1 + cos(2 * pi * t)) / 2),
        "The rate rises again to its peak: that is a whole wave. Half of one, from 0 to pi, falls only.",
    ),
    "not_halved": (
        _after_warmup(lambda t: 1 + cos(pi * t)),
        "After the warm-up the rate is twice the peak: 1 + cos runs from 2 to 0, so halve it.",
    ),
    "negative": (
        _after_warmup(lambda t: cos(pi * t)),
        "The rate becomes negative: cos runs from 1 to -1. (1 + cos) / 2 runs from 1 to 0.",
    ),
    "line": (_after_warmup(lambda t: 1 - t), "After the warm-up the rate falls in a line, not along a cosine."),
    "warmup_only": (_after_warmup(lambda t: 1.0), "After the warm-up the rate stays at its peak; it should fall."),
}


def warmup_cosine(function: Callable) -> Result:
    """Check `warmup_cosine(step, peak, warmup, total)` at every step of a short training run."""
    result = _Report("warmup_cosine", "Exercise, warm-up and cosine", cosine_schedule)
    rates, failure = attempt(lambda: [function(step, PEAK, WARMUP, TOTAL) for step in range(TOTAL)])
    if failure:
        return result.wrong("error", f"It raises an error: {failure}")
    if rates[0] is None:
        return result.open()
    found, failure = attempt(lambda: np.array([float(rate) for rate in rates]))
    if failure:
        return result.wrong("not_a_number", "It should return one number for each step.")

    def agrees(schedule: Callable) -> bool:
        """Whether the rates are those of a schedule, which may count its steps from 0 or from 1."""
        return any(
            np.allclose(found, [schedule(step + first, PEAK, WARMUP, TOTAL) for step in range(TOTAL)], atol=PEAK / 500)
            for first in (0, 1)
        )

    if agrees(cosine_schedule):
        return result.right(function, "It rises to the peak in a line and falls along half a cosine to zero.")
    for cause, (wrong, message) in SCHEDULE_MISTAKES.items():
        if agrees(wrong):
            return result.wrong(cause, message)
    worst = int(np.abs(found - [cosine_schedule(step, PEAK, WARMUP, TOTAL) for step in range(TOTAL)]).argmax())
    right = cosine_schedule(worst, PEAK, WARMUP, TOTAL)
    told = f"With peak {PEAK}, warmup {WARMUP} and total {TOTAL}, step {worst} has {found[worst]:.4g}"
    return result.wrong("other", f"{told}; expected {right:.4g}.")


# --- results ---------------------------------------------------------------------------------------------------------


class _Report:
    """Makes the results of one check."""

    def __init__(self, name: str, title: str, reference: Callable):
        self.name, self.title, self.reference = name, title, reference

    def right(self, function: Callable, message: str) -> Result:
        return Result(self.name, self.title, True, None, message, aspects=self._aspects(True), function=function)

    def wrong(self, cause: str, message: str) -> Result:
        return Result(
            self.name, self.title, False, cause, message, aspects=self._aspects(False), function=self.reference
        )

    def open(self) -> Result:
        return self.wrong(NOT_WRITTEN, "Nothing comes back yet.")

    def _aspects(self, passed: bool) -> tuple[Aspect, ...]:
        return (Aspect(self.title, 1.0, passed),)
