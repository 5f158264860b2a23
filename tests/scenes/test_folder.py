"""A folder of scenes: whole or not there, kept where it is right, and read again with its classes."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import files_below
from PIL import Image

from roadseg import kitti, scenes
from roadseg.errors import DataError, OptionError
from roadseg.scenes import folder

COUNTS = {"um": 1, "uu": 1}
NAMES = ("um_000000", "uu_000000")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return scenes.write(tmp_path_factory.mktemp("written") / "scenes", seed=5, counts=COUNTS, workers=2)


@pytest.fixture
def plain(monkeypatch):
    """Scenes that take no time: of one gray level, the seed."""
    arrays = lambda seed: (np.full(shape, seed, np.uint8) for shape in ((8, 8, 3), (8, 8, 3), (8, 8)))  # noqa: E731
    monkeypatch.setattr(folder, "render", lambda category, index, *, seed, variety: scenes.Scene(*arrays(seed), "P2:"))


def read_image(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file)


def test_the_files_hold_the_rendered_pixels_in_the_layout_of_kitti(written):
    expected = {"scenes.json"}
    for name in NAMES:
        category, index = name.split("_")
        scene = scenes.render(category, int(index), seed=5)
        files = {
            f"training/image_2/{name}.png": scene.image,
            f"training/gt_image_2/{category}_road_{index}.png": scene.label,
            f"training/classes_2/{name}.png": scene.classes,
        }
        for path, pixels in files.items():
            np.testing.assert_array_equal(read_image(written / path), pixels)
        calibration = f"training/calib/{name}.txt"
        assert (written / calibration).read_text() == scene.calibration
        expected |= files.keys() | {calibration}
    assert files_below(written).keys() == expected
    assert [frame.name for frame in kitti.list_frames(written)] == list(NAMES)


def test_scenes_with_variety_are_others_and_the_record_says_so(tmp_path):
    varied = scenes.write(tmp_path / "scenes", seed=5, counts={"um": 1}, variety=True, workers=1)
    assert scenes.read_record(varied)["variety"] is True
    expected = scenes.render("um", 0, seed=5, variety=True).image
    np.testing.assert_array_equal(read_image(varied / "training/image_2/um_000000.png"), expected)
    with pytest.raises(DataError):
        scenes.write(varied, seed=5, counts={"um": 1})


def test_workers_that_cannot_start_make_no_difference(written, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "HELPER", "raise SystemExit(1)")
    alone = scenes.write(tmp_path / "scenes", seed=5, counts=COUNTS, workers=2)
    assert files_below(alone) == files_below(written)
    record = scenes.read_record(written)
    assert (record["seed"], record["version"], record["counts"]) == (5, scenes.VERSION, COUNTS)


def test_a_whole_folder_is_kept(written):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert scenes.write(written, seed=5, counts=COUNTS) == written
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


@pytest.mark.parametrize("seed", [5, 6])
def test_only_the_same_scenes_of_an_older_version_are_rendered_again(plain, tmp_path, seed):
    root = scenes.write(tmp_path / "scenes", seed=5, counts=COUNTS, workers=1)
    whole = files_below(root)
    older = scenes.read_record(root) | {"version": scenes.VERSION - 1}
    (root / "scenes.json").write_text(json.dumps(older), encoding="utf-8")
    (root / "training" / "image_2" / "uu_000000.png").write_bytes(b"as it was")
    left = files_below(root)
    if seed == 5:
        scenes.write(root, seed=seed, counts=COUNTS, workers=1)
        assert files_below(root) == whole
        shutil.rmtree(root / "training" / "calib")  # which were not written once
        scenes.write(root, seed=seed, counts=COUNTS, workers=1)
        assert files_below(root) == whole
    else:
        with pytest.raises(DataError, match=rf"seed 5, version {scenes.VERSION - 1}"):
            scenes.write(root, seed=seed, counts=COUNTS, workers=1)
        assert files_below(root) == left


def test_nothing_else_is_overwritten(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for place in (tmp_path, notes, notes / "below"):
        with pytest.raises(DataError, match=place.name):
            scenes.write(place, counts=COUNTS, workers=1)
    assert notes.read_text() == "mine"


@pytest.mark.parametrize("root", ["empty", "link", "."])
def test_an_empty_folder_is_filled_with_progress(plain, tmp_path, monkeypatch, root):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    monkeypatch.chdir(tmp_path if root != "." else tmp_path / "empty")
    calls = []
    scenes.write(root, counts={"uu": 1}, workers=1, progress=lambda *call: calls.append(call))
    assert calls == [(1, 1)] and len(list((tmp_path / "empty/training/image_2").iterdir())) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "link"]
    assert scenes.write(tmp_path / "empty", counts={"uu": 1}, progress=None) == tmp_path / "empty"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_interruption_leaves_nothing(plain, tmp_path, workers):
    def interrupt(done, total):
        raise KeyboardInterrupt

    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        scenes.write(tmp_path / "scenes", counts=COUNTS, workers=workers, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    assert psutil.Process().children() == before


def test_two_at_once_do_no_harm(plain, tmp_path):
    """Both render, the first to finish gives the folder its name, the second finds it right."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: scenes.write(tmp_path / "scenes", counts={"uu": 1}, workers=1), range(2)))
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


@pytest.mark.long
def test_workers_leave_with_a_killed_parent(tmp_path):
    code = f"from roadseg import scenes; scenes.write({str(tmp_path / 'scenes')!r}, counts={{'uu': 500}}, workers=2)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".scenes-*/**/*.png")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=300)
    assert len(workers) == 2
    assert alive == []
    assert not (tmp_path / "scenes").exists()


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("counts", {"umx": 1}, "umx"),
        ("counts", {"um": 2.5}, "um.*2.5"),
        ("seed", -1, "seed.*-1"),
        ("workers", 0, "workers.*0"),
    ],
)
def test_bad_options_write_nothing(tmp_path, option, value, named):
    with pytest.raises(OptionError, match=named):
        scenes.write(tmp_path / "scenes", **{option: value})
    assert list(tmp_path.iterdir()) == []


def test_loaded_classes_are_those_rendered_and_never_mixed_by_resizing(written):
    found = scenes.load_classes((188, 621), root=written)
    scene = scenes.render("uu", 0, seed=5)
    assert found.names == NAMES
    np.testing.assert_array_equal(found.classes[1], scene.classes)
    np.testing.assert_array_equal(found.images[1], scene.image)
    found = scenes.load_classes((32, 48), root=written)
    assert found.images.shape == (2, 32, 48, 3) and found.classes.shape == (2, 32, 48)
    assert found.images.dtype == found.classes.dtype == np.uint8
    assert found.classes.max() < len(scenes.CLASSES)


def test_a_folder_without_whole_classes_is_named(written, tmp_path):
    with pytest.raises(DataError, match=tmp_path.name):
        scenes.load_classes(root=tmp_path)
    root = Path(shutil.copytree(written, tmp_path / "scenes"))
    for place in (11, -30):  # in the header; in the pixels, whose checksum decoding leaves out
        path = Path(shutil.copytree(written, tmp_path / f"bit {place}")) / "training/classes_2/um_000000.png"
        changed = bytearray(path.read_bytes())
        changed[place] ^= 4
        path.write_bytes(changed)
        with pytest.raises(DataError, match=f"bit {place}"):
            scenes.load_classes(root=path.parents[2])
    (root / "training/image_2/uu_000000.png").write_bytes(b"cut short")
    with pytest.raises(DataError, match=root.name):
        scenes.load_classes(root=root)
