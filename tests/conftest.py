"""Small road images for the tests, and folders of their own for whatever the package writes.

An environment variable widens the tests: ROADSEG_KITTI names a folder with real KITTI road images, `half/training`
(240 at half size) and `original/training` (six as published), both in KITTI's layout. Without it the tests of real
images are skipped.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RED, MAGENTA, BLACK, BLUE = (255, 0, 0), (255, 0, 255), (0, 0, 0), (0, 0, 255)

HOME = os.environ.get("ROADSEG_HOME")  # of `make test` and `make test-slow`
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

signal.signal(signal.SIGINT, signal.default_int_handler)  # which jobs in a shell's background ignore

LONGEST = ("test_check_unet", "test_check_steps", "test_workflow", "test_many_workers", "test_exercises")


def pytest_collection_modifyitems(items: list) -> None:
    """The files that take longest come first: two processes then end at about the same time."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    """No test reads or writes the project's data, cache or runs."""
    for name in ("ROADSEG_DATA", "ROADSEG_EPOCHS", "ROADSEG_SHARED_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROADSEG_HOME", str(tmp_path))
    monkeypatch.setenv("ROADSEG_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROADSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def kitti_folder() -> Path:
    """The folder with real images."""
    folder = os.environ.get("ROADSEG_KITTI")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ROADSEG_KITTI names no folder with real KITTI road images")
    return Path(folder)


def draw_road(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of a gray triangle that is road on green ground, and its label in KITTI's colors."""
    rows, columns = np.mgrid[:height, :width]
    depth = (rows - height * 0.4) / height
    mask = np.abs(columns - width * rng.uniform(0.35, 0.65)) < depth * width * rng.uniform(0.4, 0.8)
    image = np.where(mask[..., None], (120, 120, 125), (70, 130, 60)) + rng.normal(0, 12, (height, width, 3))
    label = np.where(mask[..., None], MAGENTA, RED)
    label[: height // 20 + 1] = BLACK
    return np.clip(image, 0, 255).astype(np.uint8), label.astype(np.uint8)


def write_roads(root: Path, *, count: int = 8, size: tuple[int, int] = (48, 96), seed: int = 0) -> Path:
    """`count` drawn images of each category below `root`, in KITTI's layout."""
    rng = np.random.default_rng(seed)
    for part in ("image_2", "gt_image_2"):
        (root / "training" / part).mkdir(parents=True)
    for category in ("um", "umm", "uu"):
        for i in range(count):
            image, label = draw_road(rng, *size)
            Image.fromarray(image).save(root / f"training/image_2/{category}_{i:06d}.png")
            Image.fromarray(label).save(root / f"training/gt_image_2/{category}_road_{i:06d}.png")
    return root


def files_below(folder: Path) -> dict[str, bytes]:
    """All files below a folder and their bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="session")
def road_folder(tmp_path_factory) -> Path:
    """24 drawn images; not to be changed."""
    return write_roads(tmp_path_factory.mktemp("roads"))


@pytest.fixture(scope="session")
def roads(road_folder):
    """The same as RoadData of 32 x 32."""
    from roadseg import data

    return data.load(road_folder, size=(32, 32), cache=False)


@pytest.fixture(scope="session")
def all_scenes(tmp_path_factory):
    """All rendered scenes, 256 x 256: those of `make test` where they are there, else rendered anew, in a minute."""
    from roadseg import data, scenes

    rendered = Path(HOME or "") / "data" / "scenes"
    if not (HOME and rendered.is_dir()):
        rendered = scenes.write(tmp_path_factory.mktemp("rendered") / "scenes")
    return data.load(rendered, cache=False)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Chromium, driven by Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: pip install -e .[e2e]")
    if not CHROMIUM:
        pytest.skip("Chromium is not on the path: apt install chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


def served(runtime: Path, process: subprocess.Popen) -> dict:
    """What a Jupyter server that is starting says of itself in its folder for that; its log is beside the file."""
    for _ in range(3000):
        assert process.poll() is None, (runtime / "log.txt").read_text()
        for path in runtime.glob("jpserver-*.json"):
            with suppress(json.JSONDecodeError):  # made empty, filled a moment later
                return json.loads(path.read_text())
        time.sleep(0.1)
    raise AssertionError((runtime / "log.txt").read_text())
