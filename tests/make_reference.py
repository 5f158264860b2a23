"""Train every model by every recipe on real KITTI pictures and keep the numbers as `roadseg/reference.json`.

    ROADSEG_KITTI=FOLDER python tests/make_reference.py           # adds what is missing in the file
    ROADSEG_KITTI=FOLDER python tests/make_reference.py --anew    # all of it, about 90 minutes on two cores

FOLDER holds `half/training`: KITTI road pictures at half size. Three seeds each, 12 epochs, 256 x 256; blocks of
neighbouring frames, a sixth of each category, are held out. Besides, U-Nets by what was tried to make `fast` better and
by `best` (three seeds, the same blocks), and U-Nets trained on rendered scenes alone (two seeds), scored on all the
real pictures. Numbers only: no picture leaves the folder.
"""

import json
import os
import sys
from itertools import product
from pathlib import Path

from roadseg import baselines, data, kitti, metrics, recipes, runs, scenes, training

MODELS, RECIPES, SEEDS = ("simple", "unet", "unet-no-skip"), ("reported", "assigned", "fast"), (0, 1, 2)
TRIED = (
    "fast",
    recipes.changed("fast", name="fast-colour", colour=1.0),
    recipes.changed("fast", name="fast-dice", dice=1.0),
    recipes.changed("fast", name="fast-zoom", zoom=0.35),
    recipes.changed("fast", name="fast-average", average=0.99),
    "best",
)
TARGET = Path(__file__).parent.parent / "roadseg" / "reference.json"
CURVES = [name for name in runs.CURVES if name != "seconds"]
KEPT = ("model", "recipe", "seed", "split", "epochs", "size", "train_count", "versions", "machine", "started")


def numbers(run: runs.Run, roads: data.RoadData) -> dict:
    """What is kept of one run: settings, curves with six digits, scores by category with four. Times are measured side
    by side in `bench.py`, not here, where other work may run at the same time."""
    return {
        **{name: run.settings[name] for name in KEPT},
        "curves": {name: [round(float(value), 6) for value in run.curves[name]] for name in CURVES},
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


def from_scenes_alone(real: data.RoadData) -> list[dict]:
    """U-Nets that have seen no real picture, scored on all of them."""
    folder = kitti.project_root() / "build" / "reference_scenes"
    rendered = data.load(folder if folder.is_dir() else scenes.write(folder))
    entries = []
    for seed in SEEDS[:2]:
        run = training.train("unet", recipes.changed("fast", name="fast-colour", colour=1.0), rendered, seed=seed)
        scores = rounded(training.evaluate(run, real, images="all"))
        entries.append({**{name: run.settings[name] for name in KEPT}, "scores": scores})
        print("scenes alone:", run.title, scores["all"], flush=True)
    return entries


def tried(roads: data.RoadData) -> list[dict]:
    """U-Nets by each recipe that was tried: scores of pictures alone, and averaged with their mirror images."""
    entries = []
    for recipe, seed in product(TRIED, SEEDS):
        run = training.train("unet", recipe, roads, split="blocks", seed=seed)
        alone, mirrored = (rounded(training.evaluate(run, roads, flip=flip)) for flip in (False, True))
        entries.append({**{name: run.settings[name] for name in KEPT}, "scores": alone, "mirrored": mirrored})
        print(run.title, run.how, run.finished["seconds"], alone["all"], mirrored["all"], flush=True)
    return entries


def main(*, anew: bool) -> None:
    roads = data.load(Path(os.environ["ROADSEG_KITTI"]) / "half")
    content = {} if anew else runs.reference()
    content = {
        "images": f"{len(roads)} KITTI road pictures at half size, blocks of neighbouring frames held out",
        "baselines": baseline_scores(roads),
        "from scenes alone": content.get("from scenes alone") or from_scenes_alone(roads),
        "tried": content.get("tried") or tried(roads),
        "runs": content.get("runs", []),
    }
    there = {(entry["model"], entry["recipe"]["name"], entry["seed"]) for entry in content["runs"]}
    for recipe, seed, model in product(RECIPES, SEEDS, MODELS):
        if (model, recipe, seed) not in there:
            run = training.train(model, recipe, roads, split="blocks", seed=seed)
            content["runs"].append(numbers(run, roads))
            print(run.title, run.how, run.finished["seconds"], content["runs"][-1]["scores"]["all"], flush=True)
    text = json.dumps(content, separators=(",", ":")).replace('{"model"', '\n{"model"')
    TARGET.write_text(text + "\n")


if __name__ == "__main__":
    main(anew="--anew" in sys.argv[1:])
