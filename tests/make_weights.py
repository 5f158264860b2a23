"""Make the weights that ship, `roadseg/weights/scenes.npz`, and their card, `scenes.json`.

    python tests/make_weights.py                           # an hour on two cores that others used as well
    ROADSEG_KITTI=FOLDER python tests/make_weights.py      # scores them on real images as well

FOLDER holds `half/training`: KITTI road images at half size, which are only scored, never learned from. The U-Net
learns from 1,500 rendered scenes, no two of one street: 900 of KITTI's kind of street and 600 with `variety`. Another
300 with `variety` validate. An interrupted run resumes.
"""

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from roadseg import backend, data, kitti, metrics, models, recipes, runs, scenes, storage, training

TARGET = Path(__file__).parent.parent / "roadseg" / "weights" / "scenes"
SIZE, SEED, STREETS, GROUP = (256, 256), 1, 300, 4  # of each category; as many neighbors share a street
FIRST = recipes.get_recipe(  # most epochs at half the resolution, which takes a third of the time
    "fast",
    name="scenes",
    epochs=12,
    batch_size=8,
    progressive_resizing=5 / 6,
    color_jitter=1.0,
    camera_jitter=0.5,
)
SECOND = recipes.get_recipe(  # goes on with what the first has written
    FIRST, name="scenes-full", start="scenes", epochs=2, progressive_resizing=0.0, learning_rate=6e-3
)
LIMITS = (
    "Learned from rendered scenes alone: streets of a German town by day, in dry weather, from a car. On real photos "
    "it takes paved surfaces beside the road for road more often than networks that have seen real images, and its "
    "probabilities are too low: MaxF is reached at the threshold given here. Scenes and training were"
    " chosen by the score on the same 240 images, so it is a little too high."
)


def render(place: tuple[str, int, bool]) -> tuple[np.ndarray, np.ndarray]:
    """One scene, resized: image and label uint8 (256, 256, 3)."""
    category, index, variety = place
    scene = scenes.render(category, index if variety else GROUP * index, seed=SEED, variety=variety)
    methods = (scene.image, Image.Resampling.BILINEAR), (scene.label, Image.Resampling.NEAREST)
    return tuple(data.resize(pixels, SIZE, method) for pixels, method in methods)


def rendered() -> data.RoadData:
    """All scenes, sorted by name."""
    places = [(kind, i, variety) for kind in scenes.CATEGORIES for variety in (False, True) for i in range(STREETS)]
    with ProcessPoolExecutor() as pool:
        images, labels = map(np.stack, zip(*pool.map(render, places, chunksize=20)))
    masks, valid = kitti.decode_label(labels)
    names = tuple(f"{kind}_{i + STREETS * variety:06d}" for kind, i, variety in places)
    digest = hashlib.sha256(b"".join(part.tobytes() for part in (images, masks, valid))).hexdigest()[:16]
    return data.RoadData(images, masks, valid, names, "Scenes with variety.", digest)


def scores(model, roads: data.RoadData) -> dict[str, float]:
    """MaxF by category and for all images, where its threshold lies, and F1 at one half."""
    found = metrics.report(training.predict(model, roads.images), roads.masks, roads.valid, roads.categories)
    rows = {category: round(row["max_f"], 4) for category, row in found.items()}
    return rows | {"threshold": round(found["all"]["threshold"], 2), "f1_at_half": round(found["all"]["f1"], 4)}


def write(run, real: data.RoadData | None) -> None:
    """Write the weights of a run and their card."""
    model = run.model()
    TARGET.parent.mkdir(exist_ok=True)
    with storage.atomic_write(TARGET.with_suffix(".npz")) as file:
        np.savez(file, **{weight.path: weight.numpy().astype(np.float16) for weight in model.weights})
    card = {
        "sha256": runs.digest(TARGET.with_suffix(".npz")),
        "parameters": model.count_params(),
        "made by": "python tests/make_weights.py",
        "learned from": f"{run.settings['train_count']} rendered scenes, no real image",
        "last recipe": run.settings["recipe"],
        "versions": run.settings["versions"],
        "limits": LIMITS,
    }
    runs.write_json(TARGET.with_suffix(".json"), card)
    if real is not None:
        network = models.unet(weights="scenes")
        augmented = models.with_test_time_augmentation(network)
        card["real images"] = {"count": len(real), **scores(network, real)}
        card["real images with test-time augmentation"] = {"count": len(real), **scores(augmented, real)}
        runs.write_json(TARGET.with_suffix(".json"), card)
    print(json.dumps(card, indent=1), flush=True)


def main() -> None:
    roads, mixed = rendered(), backend.fast_precision() is not None
    folder = storage.project_root() / "build" / "weights"
    kitti_folder = os.environ.get("ROADSEG_KITTI")
    real = data.load(Path(kitti_folder) / "half") if kitti_folder else None
    for recipe in (FIRST, SECOND):
        run = training.train("unet", recipe, roads, split="blocks", seed=0, mixed_precision=mixed, out=folder)
        write(run, real)


if __name__ == "__main__":
    main()
