"""The leaderboard: how soon the assignment's U-Net is good on streets that it has never seen.

Target: MaxF of at least `TARGET` on held-out blocks of neighboring frames. Clock: seconds of training and validation,
up to the end of the first epoch that reaches it. Rules: 485,817 parameters from scratch, 256 x 256, nothing but the
other blocks to learn from, and a seed, so that everybody can repeat it. The table is read from the runs themselves, and
kept in their folder.
"""

from __future__ import annotations

import csv
import io

import numpy as np

from roadseg import metrics, runs
from roadseg.data import RoadData
from roadseg.errors import RunError, explained
from roadseg.storage import atomic_write

TARGET = 0.90
TABLE = "leaderboard.csv"
COLUMNS = ("recipe", "seed", "epochs", "seconds to target", "best MaxF", "seconds in all", "processor", "run")


def standings(data: RoadData) -> dict[str, dict]:
    """All attempts on these images, the fastest first, those that never reach the target last; also as a file.

    An attempt is a finished `training.train("unet", recipe, data, split="blocks")`. `leaderboard.csv` in the folder of
    runs is written anew.

    Returns a row of COLUMNS for the first run of each title; without a value where the target is not reached.
    Raises RunError where the folder cannot be written.
    """
    wanted = {"model": "unet", "split": "blocks", "data": data.fingerprint}
    rows = [_row(run, data) for run in runs.find_all(wanted, "unet-*") if not run.settings["recipe"].get("start")]
    rows.sort(key=lambda row: (row["seconds to target"] is None, row["seconds to target"], -row["best MaxF"]))
    writer = csv.DictWriter(text := io.StringIO(), COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = runs.make_folder() / TABLE
    with explained(RunError, path, runs.NOT_WRITABLE), atomic_write(path) as file:
        file.write(text.getvalue().encode())
    first = {}
    for row in rows:
        first.setdefault(f"{row['recipe']}, seed {row['seed']}", row)
    return first


def max_f(run: runs.Run, data: RoadData) -> np.ndarray:
    """MaxF on the run's own validation images after each epoch, float64 (epochs,)."""
    where = [data.names.index(name) for name in run.validation_names]
    masks, valid = data.masks[where], data.valid[where]
    epochs = range(1, len(run.curves["epoch"]) + 1)
    return np.array([metrics.threshold_sweep(run.prediction(epoch), masks, valid).max_f1 for epoch in epochs])


def _row(run: runs.Run, data: RoadData) -> dict:
    scores, seconds = max_f(run, data), run.curves["seconds"]
    reached = np.flatnonzero(scores >= TARGET)
    return {
        "recipe": run.settings["recipe"]["name"],
        "seed": run.settings["seed"],
        "epochs": len(scores),
        "seconds to target": round(float(seconds[: reached[0] + 1].sum())) if len(reached) else None,
        "best MaxF": round(float(scores.max()), 4),
        "seconds in all": round(float(seconds.sum())),
        "processor": run.settings.get("machine", {}).get("processor"),
        "run": run.path.name,
    }
