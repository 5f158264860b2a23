"""Train every model by every recipe on real KITTI pictures and keep the numbers as `roadseg/reference.json`.

    ROADSEG_KITTI=FOLDER python tests/make_reference.py     # about 40 minutes on two cores; finished runs are reused

FOLDER holds `half/training`: KITTI road pictures at half size. Two seeds each, 12 epochs, 256 x 256; blocks of
neighbouring frames, a sixth of each category, are held out. Numbers only: no picture leaves the folder.
"""

import json
import os
from pathlib import Path

from roadseg import baselines, data, metrics, runs, training

MODELS, RECIPES, SEEDS = ("simple", "unet", "unet-no-skip"), ("reported", "assigned", "fast"), (0, 1)
TARGET = Path(__file__).parent.parent / "roadseg" / "reference.json"
KEPT = ("model", "recipe", "seed", "split", "epochs", "size", "train_count", "versions", "machine", "started")


def numbers(run: runs.Run, roads: data.RoadData) -> dict:
    """What is kept of one run: settings, curves with six digits, scores by category with four."""
    return {
        **{name: run.settings[name] for name in KEPT},
        "seconds": run.finished["seconds"],
        "curves": {name: [round(float(value), 6) for value in column] for name, column in run.curves.items()},
        "scores": rounded(training.evaluate(run, roads)),
    }


def rounded(scores: dict) -> dict:
    """Four digits; what has no value (NaN) is null."""
    return {
        category: {name: round(value, 4) if value == value else None for name, value in row.items()}
        for category, row in scores.items()
    }


def baseline_scores(roads: data.RoadData) -> dict:
    """The baselines on the same blocks."""
    split = data.block_split(roads.names)
    train, test = split
    scores = {}
    for name, fit in baselines.BASELINES.items():
        probability = fit(roads.images[train], roads.road[train])(roads.images[test])
        scores[name] = rounded(
            metrics.report(probability, roads.road[test], roads.evaluated[test], roads.categories[test])
        )
    return scores


def main() -> None:
    roads = data.load(Path(os.environ["ROADSEG_KITTI"]) / "half")
    content = {
        "images": f"{len(roads)} KITTI road pictures at half size, blocks of neighbouring frames held out",
        "baselines": baseline_scores(roads),
        "runs": [],
    }
    for recipe in RECIPES:
        for seed in SEEDS:
            for model in MODELS:
                run = training.train(model, recipe, roads, split="blocks", seed=seed)
                content["runs"].append(numbers(run, roads))
                print(run.title, run.how, run.finished["seconds"], content["runs"][-1]["scores"]["all"], flush=True)
                TARGET.write_text(
                    json.dumps(content, indent=None, separators=(",", ":")).replace('{"model"', '\n{"model"')
                )


if __name__ == "__main__":
    main()
