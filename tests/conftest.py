"""Small road pictures for the tests, and folders of their own for whatever the package writes.

An environment variable widens the tests: ROADSEG_KITTI names a folder with real KITTI road pictures, `half/training`
(240 at half size) and `original/training` (six as published), both in KITTI's layout. Without it the tests on real
pictures skip.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RED, MAGENTA, BLACK = (255, 0, 0), (255, 0, 255), (0, 0, 0)

HOME = os.environ.get("ROADSEG_HOME")  # of `make test` and `make long`

LONGEST = ("test_teach", "test_lost", "test_check_unet", "test_check_steps", "test_training")


def pytest_collection_modifyitems(items: list) -> None:
    """The files that take longest come first: two processes then end at about the same time."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    """No test reads or writes the project's data, cache or runs."""
    for name in ("ROADSEG_DATA", "ROADSEG_EPOCHS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROADSEG_HOME", str(tmp_path))
    monkeypatch.setenv("ROADSEG_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROADSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def kitti_folder() -> Path:
    """The folder with real pictures."""
    folder = os.environ.get("ROADSEG_KITTI")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ROADSEG_KITTI names no folder with real KITTI road pictures")
    return Path(folder)


def draw_road(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of a grey triangle that is road on a green ground, and its label in KITTI's colours."""
    rows, columns = np.mgrid[:height, :width]
    depth = (rows - height * 0.4) / height
    road = np.abs(columns - width * rng.uniform(0.35, 0.65)) < depth * width * rng.uniform(0.4, 0.8)
    picture = np.where(road[..., None], (120, 120, 125), (70, 130, 60)) + rng.normal(0, 12, (height, width, 3))
    label = np.where(road[..., None], MAGENTA, RED)
    label[: height // 20 + 1] = BLACK
    return np.clip(picture, 0, 255).astype(np.uint8), label.astype(np.uint8)


def write_roads(root: Path, *, count: int = 8, size: tuple[int, int] = (48, 96), seed: int = 0) -> Path:
    """`count` drawn pictures of each category below `root`, in KITTI's layout."""
    rng = np.random.default_rng(seed)
    for part in ("image_2", "gt_image_2"):
        (root / "training" / part).mkdir(parents=True)
    for category in ("um", "umm", "uu"):
        for i in range(count):
            picture, label = draw_road(rng, *size)
            Image.fromarray(picture).save(root / f"training/image_2/{category}_{i:06d}.png")
            Image.fromarray(label).save(root / f"training/gt_image_2/{category}_road_{i:06d}.png")
    return root


@pytest.fixture(scope="session")
def road_folder(tmp_path_factory) -> Path:
    """24 drawn pictures; not to be changed."""
    return write_roads(tmp_path_factory.mktemp("roads"))


@pytest.fixture(scope="session")
def roads(road_folder):
    """The same as RoadData of 32 x 32."""
    from roadseg import data

    return data.load(road_folder, size=(32, 32), cache=False)


@pytest.fixture(scope="session")
def all_scenes(tmp_path_factory):
    """All rendered scenes, 256 x 256: those of `make test` where they are there, else made anew, in a minute."""
    from roadseg import data
    from roadseg.scenes import rendering as scenes

    made = Path(HOME or "") / "data" / "scenes"
    there = HOME and made.is_dir()
    return data.load(made if there else scenes.write(tmp_path_factory.mktemp("made") / "scenes"), cache=False)
