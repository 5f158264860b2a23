"""The speed record: how soon the assignment's U-Net is good on streets that it has never seen.

Target: MaxF of at least `TARGET` on blocks of neighbouring frames held out. Clock: seconds of training and validation,
up to the end of the first epoch that reaches it. Rules: 485,817 parameters from scratch, 256 x 256, nothing but the
other blocks to learn from, and a seed, so that everybody can repeat it. The table is read off the runs themselves, so
that nobody has to be believed, and kept in the folder of runs.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from roadseg import metrics, runs
from roadseg.data import RoadData
from roadseg.files import written_whole

TARGET = 0.90
TABLE = "records.csv"
COLUMNS = ("recipe", "seed", "epochs", "seconds to target", "best MaxF", "seconds in all", "processor", "run")


def table(data: RoadData, *, out: str | Path | None = None) -> dict[str, dict]:
    """All attempts on these pictures, the fastest first, those that never reach the target last; also as a file.

    An attempt is a finished `training.train("unet", recipe, data, split="blocks")`.

    Parameters
    ----------
    out : folder of runs; None is ROADSEG_RUNS or the project's `runs`. `records.csv` in it is written anew.

    Returns a row of COLUMNS for each run, by its title; without a value where the target is not reached.
    Raises RunError where the folder cannot be written.
    """
    wanted = {"model": "unet", "split": "blocks", "data": data.fingerprint}
    rows = sorted((_row(run, data) for run in runs.finished(wanted, "unet-*", out=out)), key=_place)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with written_whole(runs.folder(out) / TABLE) as file:
        file.write(text.getvalue().encode("utf-8"))
    return {f"{row['recipe']}, seed {row['seed']}": row for row in rows}


def max_f(run: runs.Run, data: RoadData) -> np.ndarray:
    """MaxF on the run's own validation pictures after each epoch, float64 (epochs,)."""
    where = [data.names.index(name) for name in run.validation_names]
    road, evaluated = data.road[where], data.evaluated[where]
    epochs = range(1, len(run.curves["epoch"]) + 1)
    return np.array([metrics.curve(run.prediction(epoch), road, evaluated).max_f1 for epoch in epochs])


def _row(run: runs.Run, data: RoadData) -> dict:
    scores, seconds = max_f(run, data), run.curves["seconds"]
    reached = np.flatnonzero(scores >= TARGET)
    settings = run.settings
    values = (
        *(settings["recipe"]["name"], settings["seed"], len(scores)),
        *(_rounded(seconds[: reached[0] + 1].sum()) if len(reached) else None, round(float(scores.max()), 4)),
        *(_rounded(seconds.sum()), settings.get("machine", {}).get("processor"), run.path.name),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _rounded(seconds: float) -> float:
    """Whole seconds, and tenths of what is shorter than ten."""
    return round(float(seconds), 1) if seconds < 10 else round(float(seconds))


def _place(row: dict) -> tuple:
    """Where a row belongs: by seconds to the target; without these, after all others, by what it came to."""
    seconds = row["seconds to target"]
    return (0, seconds) if seconds is not None else (1, -row["best MaxF"])
