"""Train every model by every recipe on real KITTI images and keep the numbers as `roadseg/workbook/reference.json`.

    ROADSEG_KITTI=FOLDER python tests/make_reference.py           # adds what is missing in the file
    ROADSEG_KITTI=FOLDER python tests/make_reference.py --anew    # all of it, about 90 minutes on two cores

FOLDER holds `half/training`: KITTI road images at half size. Three seeds each, 256 x 256; blocks of
neighboring frames, a sixth of each category, are held out. Besides, U-Nets by what was tried on the way to `fast` and
`best` (three seeds, the same blocks), and U-Nets trained on rendered scenes alone (two seeds), scored on all the
real images; and, at smaller sizes, what ends the plateau of question 2 and what twin frames are worth (question 5).
Numbers only: no image leaves the folder.
"""

import json
import os
import sys
from itertools import product
from pathlib import Path

import numpy as np

from roadseg import backend, baselines, cli, data, metrics, models, recipes, runs, scenes, storage, training
from roadseg.backend import keras
from roadseg.workbook import analysis, leaderboard
from roadseg.workbook.reference import read_reference

MODELS, RECIPES, SEEDS = ("simple", "unet", "unet-no-skip"), ("reported", "assigned", "fast"), (0, 1, 2)
# How a U-Net was trained before Muon: what was added to it, then Muon, smaller images, and both of them together.
ADAM = recipes.get_recipe(
    "fast", name="adam", learning_rate=2e-3, epochs=12, dice=0.0, muon=False, progressive_resizing=0.0
)
DICE = recipes.get_recipe(ADAM, name="adam-dice", dice=1.0)
TRIED = (
    ADAM,
    recipes.get_recipe(ADAM, name="adam-color", color_jitter=1.0),
    DICE,
    recipes.get_recipe(DICE, name="adam-progressive", progressive_resizing=0.67),
    recipes.get_recipe("fast", name="muon", epochs=12, progressive_resizing=0.0),
    "fast",
    recipes.get_recipe(DICE, name="adam-long", learning_rate=1e-3, color_jitter=1.0, epochs=40),
    "best",
)
# The simple model once more as the course trains it: split by its rule and, as 240 images make 57 steps an epoch and
# not 68, for 14 epochs instead of 12, which is 798 of its 816 steps.
AS_LONG = tuple(recipes.get_recipe(name, name=f"{name}-14", epochs=14) for name in ("reported", "assigned"))
TARGET = Path(__file__).parent.parent / "roadseg" / "workbook" / "reference.json"
CURVES = [name for name in runs.CURVES if name != "seconds"]
KEPT = ("model", "recipe", "seed", "split", "epochs", "size", "train_count", "versions", "machine", "started")


def numbers(run: runs.Run, roads: data.RoadData) -> dict:
    """What is kept of one run: settings, curves with six digits, scores by category and, of `fast`, errors by distance
    from the road's edge with four; no times, as other work may have run beside it."""
    return {
        **{name: run.settings[name] for name in KEPT},
        "curves": {name: [round(float(value), 6) for value in run.curves[name]] for name in CURVES},
        "scores": rounded(training.evaluate(run, roads)),
        **({"edge": edge(run, roads)} if run.settings["recipe"]["name"] == "fast" else {}),
    }


def edge(run: runs.Run, roads: data.RoadData) -> list[float]:
    """The fraction of wrong pixels on the run's validation images, 1 to 31 pixels from the edge of the road."""
    where = [roads.names.index(name) for name in run.validation_names]
    truth, counted = roads.masks[where], roads.valid[where]
    wrong, distance = (run.prediction() >= 128) != truth, analysis.distance_to_edge(truth)
    return [round(float(wrong[counted & (distance == away)].mean()), 4) for away in range(1, 32)]


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
        probability = fit(roads.images[train], roads.masks[train])(roads.images[test])
        scores[name] = rounded(
            metrics.report(probability, roads.masks[test], roads.valid[test], roads.categories[test])
        )
    return scores


def from_scenes_alone(real: data.RoadData) -> list[dict]:
    """U-Nets that have seen no real image, scored on all of them."""
    folder = storage.project_root() / "build" / "reference_scenes"
    rendered = data.load(scenes.write(folder))
    entries = []
    for seed in SEEDS[:2]:
        run = training.train(
            "unet", recipes.get_recipe("fast", name="fast-color", color_jitter=1.0), rendered, seed=seed
        )
        scores = rounded(training.evaluate(run, real, images="all"))
        entries.append({**{name: run.settings[name] for name in KEPT}, "scores": scores})
        print("scenes alone:", run.title, scores["all"], flush=True)
    return entries


def tried(roads: data.RoadData, kept: list[dict]) -> list[dict]:
    """U-Nets by each recipe that was tried: scores of images alone, and averaged with their mirror images."""
    there = {(entry["recipe"]["name"], entry["seed"]): entry for entry in kept}
    entries = []
    for recipe, seed in product(map(recipes.get_recipe, TRIED), SEEDS):
        if (recipe.name, seed) in there:
            entries.append(there[recipe.name, seed])
            continue
        run = training.train("unet", recipe, roads, split="blocks", seed=seed)
        where = training.choose_images(run, roads, "validation")
        networks = run.model(), models.with_test_time_augmentation(run.model(), (1.0,))  # alone, and with mirror images
        found = [training.predict(network, roads.images[where]) for network in networks]
        truth = roads.masks[where], roads.valid[where], roads.categories[where]
        alone, mirrored = (rounded(metrics.report(probability, *truth)) for probability in found)
        entries.append({**{name: run.settings[name] for name in KEPT}, "scores": alone, "mirrored": mirrored})
        print(run.title, run.how, run.finished["seconds"], alone["all"], mirrored["all"], flush=True)
    return entries


def small_unet(roads: data.RoadData, train: np.ndarray, test: np.ndarray, *, seed: int, rate: float, start: str = ""):
    """A U-Net trained by Keras's own loop for twelve epochs: its validation accuracy by epoch, and its probabilities.

    start : "as assigned", or what question 2 changes: "bias" or "leaky"; "" has He initialization and standardized
    images instead.
    """
    keras.utils.set_random_seed(seed)
    options = {} if start else {"initializer": "he_normal", "standardize": True}
    network = models.unet((*roads.size, 3), **options)
    if start == "bias":
        p = roads.masks[train].mean()
        network.get_layer("probability").bias.assign([np.log(p / (1 - p))])
    if start == "leaky":
        network.get_layer("decoder1_conv2").activation = keras.activations.leaky_relu
    network.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    parts = (data.arrays(roads, where)[:2] for where in (train, test))
    (image, mask), validation = parts
    fitted = network.fit(image, mask, batch_size=4, epochs=12, validation_data=validation, verbose=0)
    return [round(value, 4) for value in fitted.history["val_accuracy"]], training.predict(network, roads.images[test])


def plateau(roads: data.RoadData) -> list[dict]:
    """Question 2: validation accuracy by epoch at 1e-4, with changes of the last bias and of the last activation."""
    train, test = data.block_split(roads.names)
    entries, background = [], round(float(1 - roads.masks[test].mean()), 4)
    for start, seed in product(("as assigned", "bias", "leaky"), SEEDS):
        accuracy, _ = small_unet(roads, train, test, seed=seed, rate=1e-4, start=start)
        entries.append({"start": start, "seed": seed, "background": background, "val_accuracy": accuracy})
        print(entries[-1], flush=True)
    return entries


def leakage(roads: data.RoadData) -> list[dict]:
    """Question 5: the same validation images, every other frame of the held-out blocks, scored by networks that were
    trained on as many images, without the frames between them or with these."""
    train, held_out = data.block_split(roads.names)
    test, between = held_out[::2], held_out[1::2]
    kept = np.setdiff1d(train, train[:: len(train) // len(between)][: len(between)])  # makes room for as many
    entries = []
    for twins, seed in product((False, True), SEEDS):
        where = np.concatenate([kept, between]) if twins else train
        accuracy, probability = small_unet(roads, where, test, seed=seed, rate=1e-3)
        scores = metrics.threshold_sweep(probability, roads.masks[test], roads.valid[test]).summary()
        entries.append({"twins": twins, "seed": seed, "images": len(where), "val_accuracy": accuracy})
        entries[-1] |= {name: round(scores[name], 4) for name in ("accuracy", "iou", "max_f")}
        print(entries[-1], flush=True)
    return entries


def record(roads: data.RoadData) -> list[dict]:
    """How soon `fast` reaches the speed record's target with each seed, in float32 and, where the machine has shorter
    numbers, in mixed precision: let nothing else run at the same time."""
    for seed, mixed in product(SEEDS, (False, True) if backend.fast_precision() else (False,)):
        training.train("unet", "fast", roads, split="blocks", seed=seed, mixed_precision=mixed)
    rows = [row for row in leaderboard.standings(roads).values() if row["recipe"].startswith("fast")]
    kept = ({name: row[name] for name in row if name != "run"} for row in rows)
    return sorted(kept, key=lambda row: (row["recipe"], row["seed"]))


def main(*, anew: bool) -> None:
    folder = Path(os.environ["ROADSEG_KITTI"]) / "half"
    roads = data.load(folder)
    content = {} if anew else read_reference()
    content = {
        "images": f"{len(roads)} KITTI road images at half size, blocks of neighboring frames held out",
        "baselines": baseline_scores(roads),
        "record": content.get("record") or record(roads),
        "from scenes alone": content.get("from scenes alone") or from_scenes_alone(roads),
        "tried": tried(roads, content.get("tried", [])),
        "plateau": content.get("plateau") or plateau(data.load(folder, size=(128, 128))),
        "leakage": content.get("leakage") or leakage(data.load(folder, size=(64, 64))),
        "runs": content.get("runs", []),
    }
    there = {(entry["model"], entry["recipe"]["name"], entry["seed"]) for entry in content["runs"]}
    for model, recipe in product(MODELS, RECIPES):
        if any((model, recipe, seed) not in there for seed in SEEDS):  # the loop below finds these runs
            seeds = ["--seeds", ",".join(map(str, SEEDS)), "--split", "blocks", "--data", str(folder)]
            cli.main(["train", model, "--recipe", recipe, *seeds])
    kinds = [*product(RECIPES, SEEDS, MODELS, ["blocks"]), *product(AS_LONG, SEEDS, ["simple"], ["course"])]
    for recipe, seed, model, split in kinds:
        if (model, recipes.get_recipe(recipe).name, seed) not in there:
            run = training.train(model, recipe, roads, split=split, seed=seed)
            content["runs"].append(numbers(run, roads))
            print(run.title, run.how, run.finished["seconds"], content["runs"][-1]["scores"]["all"], flush=True)
    text = json.dumps(content, separators=(",", ":")).replace('{"model"', '\n{"model"')
    TARGET.write_text(text + "\n")


if __name__ == "__main__":
    main(anew="--anew" in sys.argv[1:])
