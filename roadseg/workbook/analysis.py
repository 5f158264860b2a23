"""Guesses beside what was measured, what the experiments of notebook 03 measure, and the lines that one of them needs.

Masks are bool (n, H, W), where True is road, unless a function says otherwise.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_cdt

MARGIN = 0.02  # above the majority class: four times what the mean over half an epoch varies by chance
PERCENT = 10  # a guess from here on, where a number up to 1 was measured, is a percentage; a loss or epochs stay below
LINES, NOISE = 3, 0.12  # thin lines an image, and the spread of its noise: visible, and not by one pixel alone


def compare_guess(guess: Any, measured: float | str | list, *, digits: int = 3) -> None:
    """Print a guess beside what was measured and, of numbers, how far off it was. None means no guess; words are
    the same in any case and with any spaces."""
    shown = measured if isinstance(measured, str | list) else f"{measured:.{digits}f}"
    if guess is None:
        print(f"measured: {shown} (no guess)")
        return
    if isinstance(guess, Real) and guess == guess and not isinstance(measured, str | list):
        off = f"{abs(guess - measured):.{digits}f}"
        percent = f"; {guess:g} % is {guess / 100:g}" if 0 <= measured <= 1 and guess >= PERCENT else ""
        verdict = f" ({off} too {'high' if guess > measured else 'low'}{percent})" if float(off) else " (right)"
    else:
        one, two = ("".join(x.split()).lower() if isinstance(x, str) else x for x in (guess, measured))
        verdict = " (right)" if np.array_equal(one, two) else ""
    print(f"your guess: {guess}, measured: {shown}{verdict}")


def steps_on_plateau(accuracy: np.ndarray, majority: float, *, window: int = 34) -> int:
    """How many training steps pass before accuracy leaves the plateau of predicting the majority class (question 2).

    accuracy : by step; its mean over the last `window` steps has to exceed `majority`, that class's fraction, by more
    than chance. Returns the number of all steps where it never does.
    """
    window = min(window, len(accuracy))
    mean = np.convolve(accuracy, np.full(window, 1 / window), "valid")
    above = np.flatnonzero(mean > majority + MARGIN)
    return int(above[0]) + window if len(above) else len(accuracy)


def distance_to_edge(masks: np.ndarray, *, most: int = 32) -> np.ndarray:
    """How far each pixel is from the border of the road: int (n, H, W), from 1 beside it to `most` and beyond.

    Steps go to any of the eight neighbors (chessboard distance); the border of the image is no edge. Both sides count
    alike, so that a pixel of road and its neighbor outside are both at 1.
    """
    distance = np.stack([sum(distance_transform_cdt(side, "chessboard") for side in (m, ~m)) for m in masks])
    return np.where(distance < 0, most, np.minimum(distance, most))  # negative: there is no edge


def thin_lines(count: int, *, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Images of lines one pixel wide in noise, and their masks: the hardest case for position (question 11).

    Returns float32 images (count, size, size, 3) in [0, 1], about 0.25 and on a line brighter by one half, and float32
    masks of 0 and 1 (count, size, size, 1). Half of the lines are steep, half flat.
    """
    rng, along = np.random.default_rng(0), np.arange(size)
    masks = np.zeros((count, size, size), np.float32)
    for mask in masks:
        for _ in range(LINES):
            across = np.rint(rng.uniform(0.1, 0.9) * size + rng.uniform(-0.8, 0.8) * (along - size / 2)).astype(int)
            inside = (across >= 0) & (across < size)
            rows, columns = (across, along) if rng.random() < 0.5 else (along, across)
            mask[rows[inside], columns[inside]] = 1
    noise = rng.normal(0.25, NOISE, (count, size, size, 3))
    return np.clip(noise + masks[..., None] / 2, 0, 1).astype(np.float32), masks[..., None]
