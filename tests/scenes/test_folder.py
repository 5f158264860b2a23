"""A folder of scenes: whole or not there, kept where it is right, and read again with its classes."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from roadseg import kitti, scenes
from roadseg.errors import DataError, OptionError
from roadseg.scenes import folder

COUNTS = {"um": 2, "umm": 1, "uu": 1}
NAMES = ("um_000000", "um_000001", "umm_000000", "uu_000000")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return scenes.write(tmp_path_factory.mktemp("written") / "scenes", seed=5, counts=COUNTS, workers=2)


def read_files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


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
        assert (written / calibration).read_text() == scenes.calibration(category, int(index), seed=5)
        expected |= files.keys() | {calibration}
    assert read_files(written).keys() == expected
    assert [frame.name for frame in kitti.list_frames(written)] == list(NAMES)


def test_scenes_with_variety_are_others_and_the_record_says_so(tmp_path):
    varied, plain = (scenes.write(tmp_path / str(on), seed=5, counts={"um": 1}, variety=on) for on in (True, False))
    assert scenes.read_record(varied)["variety"] is True and "variety" not in scenes.read_record(plain)
    expected = scenes.render("um", 0, seed=5, variety=True).image
    np.testing.assert_array_equal(read_image(varied / "training/image_2/um_000000.png"), expected)
    with pytest.raises(DataError):
        scenes.write(varied, seed=5, counts={"um": 1})


def test_the_record_says_what_was_rendered(written):
    record = scenes.read_record(written)
    assert (record["seed"], record["version"], record["counts"]) == (5, scenes.VERSION, COUNTS)
    assert len(record["digest"]) == 64


def test_there_are_as_many_as_in_kitti():
    assert scenes.COUNTS == {"um": 95, "umm": 96, "uu": 98}


def test_workers_make_no_difference(written, tmp_path):
    alone = scenes.write(tmp_path / "scenes", seed=5, counts=COUNTS, workers=1)
    assert read_files(alone) == read_files(written)


def test_workers_that_cannot_start_make_no_difference(written, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "HELPER", "raise SystemExit(1)")
    alone = scenes.write(tmp_path / "scenes", seed=5, counts=COUNTS, workers=2)
    assert read_files(alone) == read_files(written)


def test_a_whole_folder_is_kept(written):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert scenes.write(written, seed=5, counts=COUNTS) == written
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


@pytest.mark.parametrize("seed", [5, 6])
def test_only_the_same_scenes_of_an_older_version_are_rendered_again(tmp_path, seed):
    root = scenes.write(tmp_path / "scenes", seed=5, counts={"uu": 1}, workers=1)
    whole = read_files(root)
    older = scenes.read_record(root) | {"version": scenes.VERSION - 1}
    (root / "scenes.json").write_text(json.dumps(older), encoding="utf-8")
    (root / "training" / "image_2" / "uu_000000.png").write_bytes(b"as it was")
    left = read_files(root)
    if seed == 5:
        scenes.write(root, seed=seed, counts={"uu": 1}, workers=1)
        assert read_files(root) == whole
    else:
        with pytest.raises(DataError, match=rf"seed 5, version {scenes.VERSION - 1}"):
            scenes.write(root, seed=seed, counts={"uu": 1}, workers=1)
        assert read_files(root) == left


@pytest.mark.parametrize("inside", [True, False])
def test_nothing_else_is_overwritten(tmp_path, inside):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(DataError, match=tmp_path.name):
        scenes.write(tmp_path if inside else notes, counts=COUNTS)
    assert notes.read_text() == "mine"


def test_an_empty_folder_is_filled_with_progress(tmp_path):
    (tmp_path / "scenes").mkdir()
    calls = []
    root = scenes.write(tmp_path / "scenes", counts={"uu": 2}, workers=2, progress=lambda *call: calls.append(call))
    assert len(list((root / "training/image_2").iterdir())) == 2
    assert calls == [(1, 2), (2, 2)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interruption_leaves_nothing(tmp_path, workers):
    def interrupt(done, total):
        raise KeyboardInterrupt

    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        scenes.write(tmp_path / "scenes", counts=COUNTS, workers=workers, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    assert psutil.Process().children() == before


def test_two_at_once_do_no_harm(tmp_path):
    """Both render, the first to finish gives the folder its name, the second finds it right."""
    errors = []

    def write():
        try:
            scenes.write(tmp_path / "scenes", counts={"uu": 1}, workers=1)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


@pytest.mark.slow
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
        ("counts", {"um": -1}, "um.*-1"),
        ("counts", {"um": 2.5}, "um.*2.5"),
        ("seed", -1, "seed.*-1"),
        ("workers", 0, "workers.*0"),
    ],
)
def test_bad_options_write_nothing(tmp_path, option, value, named):
    with pytest.raises(OptionError, match=named):
        scenes.write(tmp_path / "scenes", **{option: value})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        scenes.write(tmp_path / "file" / "scenes", counts={"uu": 1}, workers=1)


def test_loaded_classes_are_those_rendered(written):
    found = scenes.load_classes((188, 621), root=written)
    scene = scenes.render("umm", 0, seed=5)
    assert found.names == NAMES
    np.testing.assert_array_equal(found.classes[2], scene.classes)
    np.testing.assert_array_equal(found.images[2], scene.image)


def test_classes_are_never_mixed_by_resizing(written):
    found = scenes.load_classes((32, 48), root=written)
    assert found.images.shape == (4, 32, 48, 3) and found.classes.shape == (4, 32, 48)
    assert found.images.dtype == found.classes.dtype == np.uint8
    assert found.classes.max() < len(scenes.CLASSES)


def test_a_folder_without_whole_classes_is_named(tmp_path):
    with pytest.raises(DataError, match=tmp_path.name):
        scenes.load_classes(root=tmp_path)
    root = scenes.write(tmp_path / "scenes", counts={"uu": 1}, workers=1)
    (root / "training/image_2/uu_000000.png").write_bytes(b"cut short")
    with pytest.raises(DataError, match=root.name):
        scenes.load_classes(root=root)
