"""Numbers on real KITTI images that come with the package, for comparison with the reader's own."""

from __future__ import annotations

import json
from pathlib import Path

from roadseg.errors import RunError


def read_reference() -> dict:
    """Numbers on 240 real KITTI images that come with the package; `tests/make_reference.py` makes them.

    runs : finished runs, each with settings (model, recipe, seed, split, versions, machine), curves (lists by name,
        without times) and scores (by category, on blocks of frames held out); those of `fast` with `edge`, the fraction
        of pixels that are wrong 1 to 31 pixels from the edge of the road. `reported-14` and `assigned-14` are of the
        simple model, split by the course's rule, with 14 x 57 steps where the course has 12 x 68.
    baselines : scores of the baselines on the same blocks.
    record : rows of the leaderboard for `fast` and `fast-bfloat16` on the same blocks, with nothing else running.
    from scenes alone : U-Nets trained on rendered scenes only, with their scores on all real images.
    tried : U-Nets by what was tried on the way to `fast` and `best`, and by these, with scores on the same blocks, and
        `mirrored`: scores of the mean of the predictions for an image and its mirror image.
    plateau : U-Nets at 1e-4 and 128 x 128, by `start` (as assigned; the last bias at the class ratio; LeakyReLU before
        the last convolution) and seed: validation accuracy by epoch, and the fraction of background (question 2).
    leakage : U-Nets at 64 x 64, scored on the same 20 images, with or without the frames between these (`twins`) among
        as many training images (question 5).
    """
    return json.loads((Path(__file__).parent / "reference.json").read_text())


def reference_runs(model: str, recipe: str) -> list[dict]:
    """The runs of `read_reference` for one model and recipe, one for each seed, in the order of the seeds."""
    entries = [e for e in read_reference()["runs"] if (e["model"], e["recipe"]["name"]) == (model, recipe)]
    if not entries:
        raise RunError(f"no reference runs of {model}, {recipe}: see the entries of read_reference().")
    return sorted(entries, key=lambda entry: entry["seed"])
