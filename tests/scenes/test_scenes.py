"""The rendered scenes: the same for the same seed, in KITTI's layout, and as hard as they should be."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg import data, kitti
from roadseg.errors import DataError, OptionError
from roadseg.scenes import paint as scenes_paint
from roadseg.scenes import rendering as scenes
from roadseg.scenes import street as scenes_street

COUNTS = {"um": 2, "umm": 1, "uu": 1}
ROAD, BUILDINGS, CARS = (scenes.CLASSES.index(name) for name in ("road", "buildings", "cars"))


@pytest.fixture(scope="module")
def sample() -> list[scenes.Scene]:
    """Eight scenes of each category, each from another street, as far apart as KITTI's numbers allow."""
    return [scenes.render(category, index) for category in scenes.CATEGORIES for index in range(0, 96, 12)]


def by_category(sample):
    return zip(scenes.CATEGORIES, (sample[start : start + 8] for start in (0, 8, 16)), strict=True)


def pixels(scene):
    return scene.image.tobytes(), scene.label.tobytes(), scene.classes.tobytes()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return scenes.write(tmp_path_factory.mktemp("written") / "scenes", seed=5, counts=COUNTS, workers=2)


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def older_scenes(tmp_path, monkeypatch) -> Path:
    """The usual scenes, made by the version before."""
    monkeypatch.setenv("ROADSEG_HOME", str(tmp_path))
    monkeypatch.delenv("ROADSEG_DATA", raising=False)
    monkeypatch.setattr(scenes, "COUNTS", COUNTS)
    root = scenes.write(tmp_path / "data" / "scenes")
    record = json.loads((root / "scenes.json").read_text(encoding="utf-8"))
    (root / "scenes.json").write_text(json.dumps(record | {"version": kitti.SCENES_VERSION - 1}), encoding="utf-8")
    (root / "training" / "image_2" / "um_000000.png").write_bytes(b"as it was")
    return root


@pytest.mark.slow
def test_scenes_of_an_older_version_are_rendered_again(older_scenes):
    said = []
    assert kitti.locate().to_render
    roads = data.load(size=(16, 16), cache=False, say=said.append)
    assert len(roads) == sum(COUNTS.values()) and said[0].startswith("Rendering") and not kitti.locate().to_render
    assert kitti.scenes_record(older_scenes)["version"] == kitti.SCENES_VERSION


@pytest.mark.slow
def test_other_scenes_of_an_older_version_are_left_alone(older_scenes):
    before = files(older_scenes)
    with pytest.raises(DataError, match="found other scenes"):
        scenes.write(older_scenes, seed=1, counts=COUNTS)
    assert files(older_scenes) == before


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["picture cut short", "picture lost", "folder lost", "all but the record lost"])
@pytest.mark.parametrize("place", ["data/scenes", "elsewhere"])
def test_damaged_scenes_can_be_rendered_again(tmp_path, monkeypatch, place, damage):
    monkeypatch.setenv("ROADSEG_HOME", str(tmp_path))
    monkeypatch.setattr(scenes, "COUNTS", COUNTS)
    root = scenes.write(tmp_path / place)
    if damage == "picture cut short":
        (root / "training/image_2/um_000000.png").write_bytes(b"as it was")
    elif damage == "picture lost":
        (root / "training/image_2/um_000000.png").unlink()
    else:
        shutil.rmtree(root / ("training/gt_image_2" if damage == "folder lost" else "training"))
    remedy = (
        "they are rendered again" if place == "data/scenes" else "render them again: python -m roadseg data --render"
    )
    with pytest.raises(DataError, match=f"these are rendered scenes: delete the folder .*, and {remedy}") as told:
        data.load(None if place == "data/scenes" else root, size=(16, 16), say=lambda text: None)
    assert str(told.value).count(";") == 1 and "data_road.zip" not in str(told.value)
    shutil.rmtree(root)
    again = data.load(None if place == "data/scenes" else scenes.write(root), size=(16, 16), say=lambda text: None)
    assert len(again) == sum(COUNTS.values())


@pytest.mark.slow
def test_scenes_that_roadseg_data_names_are_scenes(older_scenes, monkeypatch):
    monkeypatch.setenv("ROADSEG_DATA", str(older_scenes))
    location = kitti.locate()
    assert location.kind == "scenes" and not location.to_render


# --- one scene -------------------------------------------------------------------------------------------------------


def test_shapes_and_types(sample):
    for scene in sample:
        assert scene.image.shape == scene.label.shape == (188, 621, 3)
        assert scene.classes.shape == (188, 621)
        assert scene.image.dtype == scene.label.dtype == scene.classes.dtype == np.uint8


def test_same_seed_same_pixels(sample):
    assert pixels(scenes.render("um", 0)) == pixels(sample[0])


@pytest.mark.slow
def test_same_pixels_in_another_process_with_other_hashes():
    code = (
        "import hashlib; from roadseg import scenes; "
        "print(hashlib.sha256(scenes.render('uu', 3, seed=8).image.tobytes()).hexdigest())"
    )
    root = str(Path(scenes.__file__).parents[1])
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": hashes, "PYTHONPATH": root},
            capture_output=True, text=True, check=True,
        ).stdout
        for hashes in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_importing_needs_no_tensorflow():
    code = "import sys, roadseg.scenes; print([m for m in ('tensorflow', 'keras', 'matplotlib') if m in sys.modules])"
    root = str(Path(scenes.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_other_seeds_indices_and_categories_differ(sample):
    pictures = [scene.image.astype(int) for scene in (*sample, scenes.render("um", 0, seed=1), scenes.render("um", 1))]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert np.abs(one - other).mean() > 8


def test_neighbours_share_a_street(sample):
    """Of the same street, hence as many lines; of the same light, hence closer in brightness than strangers."""
    group = [scenes.render("umm", index) for index in range(scenes.GROUP)]
    assert len({scene.markings for scene in group}) == 1
    strangers = [scene.image.mean() for scene in sample[8:16]]
    assert np.std([scene.image.mean() for scene in group]) < np.std(strangers)


def test_labels_have_kittis_colours_only(sample):
    colours = np.array([scenes.NOT_ROAD_COLOUR, scenes.ROAD_COLOUR, scenes.EXCLUDED_COLOUR])
    code = np.array([65536, 256, 1])
    assert set(np.unique([scene.label @ code for scene in sample])) == set(colours @ code)


def test_classes_agree_with_labels(sample):
    for scene in sample:
        evaluated = scene.label[..., 0] > 0
        np.testing.assert_array_equal((scene.classes == ROAD)[evaluated], (scene.label[..., 2] > 0)[evaluated])


def test_every_class_occurs(sample):
    assert set(np.unique([scene.classes for scene in sample])) == set(range(len(scenes.CLASSES)))


def test_excluded_share_is_kittis(sample):
    """KITTI excludes 1.3 % of all pixels, and none in half of its pictures."""
    shares = [(scene.label.max(axis=2) == 0).mean() for scene in sample]
    assert 0.005 < np.mean(shares) < 0.025
    assert min(shares) == 0


def test_road_share_is_kittis(sample):
    """KITTI: 0.161 of the pixels in um, 0.236 in umm, 0.134 in uu."""
    share = {name: np.mean([scene.label[..., 2] > 0 for scene in some]) for name, some in by_category(sample)}
    assert share["umm"] > share["um"] > 0.12
    assert 0.09 < share["uu"] < 0.18
    assert 0.14 < np.mean(list(share.values())) < 0.21


def test_road_begins_at_the_horizon(sample):
    """KITTI's labels begin between rows 85 and 100 of 188, and reach down to the last few rows."""
    rows = [np.flatnonzero((scene.label[..., 2] > 0).any(axis=1)) for scene in sample]
    assert all(75 <= row[0] <= 115 for row in rows)
    assert 86 <= np.median([row[0] for row in rows]) <= 100
    assert all(183 <= row[-1] < 187 for row in rows)


def test_things_hide_road(sample):
    hidden = np.array([scene.hidden_road for scene in sample])
    assert ((hidden >= 0) & (hidden <= 1)).all()
    assert (hidden > 0.002).mean() >= 0.3


def test_cars_stand_on_road(sample):
    """In three pictures of ten or more, road and a car touch."""
    touching = [
        ((scene.classes[:-1] == CARS) & (scene.classes[1:] == ROAD)).any()
        or ((scene.classes[:, :-1] == CARS) & (scene.classes[:, 1:] == ROAD)).any()
        for scene in sample
    ]
    assert np.mean(touching) >= 0.3


def test_categories_differ_in_markings(sample):
    lines = {name: [scene.markings for scene in some] for name, some in by_category(sample)}
    assert max(lines["uu"]) == 0
    assert min(lines["um"]) >= 1
    assert np.mean(lines["umm"]) > np.mean(lines["um"])


def drawn(draw, count=300) -> list:
    """What a function draws, again and again."""
    rng = np.random.default_rng(0)
    return [draw(rng) for _ in range(count)]


def test_streets_of_several_lanes_have_several_lines():
    lines = {name: [scenes_street.draw_lanes(name, rng)[2] for rng in drawn(lambda rng: rng)] for name in ("umm", "uu")}
    assert min(map(len, lines["umm"])) >= 2 and max(map(len, lines["uu"])) == 0


def test_streets_differ():
    """Bends to both sides, hills up and down, side roads on both sides, a sun from everywhere, bright and dark."""
    street = scenes_street.draw_street("um", np.random.default_rng(0))
    cameras = drawn(lambda rng: scenes_street.draw_camera(street, rng))
    bend, crest = (np.array([getattr(camera, name) for camera in cameras]) for name in ("curvature", "crest"))
    assert np.mean(bend > 5e-4) > 0.15 and np.mean(bend < -5e-4) > 0.15  # a radius below two kilometres
    assert np.mean(crest > 1e-4) > 0.05 and np.mean(crest < -2e-4) > 0.15
    junctions = drawn(scenes_street.draw_junction)
    sides = [junction.side for junction in junctions if junction]
    assert 0.1 < len(sides) / len(junctions) < 0.4 and set(sides) == {-1, 1}
    sun = np.array([light.sun for light in drawn(scenes_street.draw_light)])
    assert np.abs(sun.mean(axis=0)[[0, 2]]).max() < 0.15 and sun[:, 1].min() > 0.3
    brightness = [scenes_street.draw_street("um", rng).brightness for rng in drawn(lambda rng: rng, 30)]
    assert max(brightness) - min(brightness) > 0.1


def rendered_with(monkeypatch, name: str, value) -> scenes.Scene:
    """A scene of which one part is given instead of drawn."""
    monkeypatch.setattr(scenes, name, lambda *told: value)
    return scenes.render("um", 0)


def test_a_bend_moves_the_far_road(monkeypatch):
    street = scenes_street.draw_street("um", np.random.default_rng(0))
    camera = replace(scenes_street.draw_camera(street, np.random.default_rng(0)), heading=0.0)
    middles = []
    for curvature in (-1 / 400, 1 / 400):
        scene = rendered_with(monkeypatch, "draw_camera", replace(camera, curvature=curvature))
        rows, columns = np.nonzero(scene.label[..., 2])
        middles.append(columns[rows < rows.min() + 8].mean())
    assert middles[1] - middles[0] > 40


def test_a_side_road_opens_the_edge(monkeypatch):
    reach = []
    for junction in (None, scenes_street.Junction(side=1, start=12.0, width=8.0, radius=4.0)):
        scene = rendered_with(monkeypatch, "draw_junction", junction)
        reach.append((scene.label[..., 2] > 0)[:, 400:].sum())
    assert reach[1] > 1.02 * reach[0]


def test_shadows_lie_on_roads(sample):
    """In a quarter of the scenes or more the near road has parts less than half as bright as others."""

    def contrast(scene):
        near = scene.image[120:].mean(axis=2)[scene.label[120:, :, 2] > 0]
        return np.percentile(near, 5) / np.percentile(near, 90)

    assert np.mean([contrast(scene) < 0.5 for scene in sample]) >= 0.25


def test_the_sensor_has_noise():
    light = np.full((188, 621, 3), 0.3, np.float32)
    one, other = (scenes_paint.develop(light, np.random.default_rng(seed), brightness=0.4) for seed in (0, 1))
    assert 0.3 < (one.astype(int) - other).std() < 12


def test_markings_can_be_seen(sample):
    """The brightest road pixels stand out from the road's own brightness where lines are, more than where none are."""

    def contrast(scene):
        road = scene.image.mean(axis=2)[scene.label[..., 2] > 0]
        return np.percentile(road, 99.5) - np.percentile(road, 95)

    seen = {name: np.median([contrast(scene) for scene in some]) for name, some in by_category(sample)}
    assert seen["um"] > 1.3 * seen["uu"]
    assert seen["umm"] > 1.3 * seen["uu"]


def test_road_and_surroundings_share_colours(sample):
    """A grey level alone must not give the road away: its histogram overlaps that of everything else."""
    image = np.stack([scene.image for scene in sample]).mean(axis=3)
    road = np.stack([scene.label[..., 2] > 0 for scene in sample])
    histograms = [np.histogram(image[mask], bins=32, range=(0, 256), density=True)[0] * 8 for mask in (road, ~road)]
    assert 0.25 < np.minimum(*histograms).sum() < 0.8


@pytest.mark.parametrize(
    ("category", "index", "seed", "message"),
    [
        ("umx", 0, 0, "category should be one of um, umm, uu, not 'umx'"),
        ("um", -1, 0, "index should be a whole number from 0 on, not -1"),
        ("um", 1.5, 0, "index should be"),
        ("um", 0, -3, "seed should be a whole number from 0 on, not -3"),
        ("um", 0, True, "seed should be"),
        ("um", 0, "7", "seed should be"),
    ],
)
def test_bad_options_are_named(category, index, seed, message):
    with pytest.raises(OptionError, match=message):
        scenes.render(category, index, seed=seed)


# --- a folder of scenes ----------------------------------------------------------------------------------------------


def test_layout_and_sizes(written):
    names = {"um_000000", "um_000001", "umm_000000", "uu_000000"}
    training = written / "training"
    assert {path.stem for path in (training / "image_2").iterdir()} == names
    assert {path.stem for path in (training / "classes_2").iterdir()} == names
    labels = {path.stem.replace("_road_", "_") for path in (training / "gt_image_2").iterdir()}
    assert labels == names
    for path in training.rglob("*.png"):
        with Image.open(path) as picture:
            assert picture.size == (621, 188)
            assert picture.mode == ("L" if path.parent.name == "classes_2" else "RGB")


def test_files_hold_the_rendered_pixels(written):
    scene = scenes.render("um", 1, seed=5)
    training = written / "training"
    np.testing.assert_array_equal(np.asarray(Image.open(training / "image_2/um_000001.png")), scene.image)
    np.testing.assert_array_equal(np.asarray(Image.open(training / "gt_image_2/um_road_000001.png")), scene.label)
    np.testing.assert_array_equal(np.asarray(Image.open(training / "classes_2/um_000001.png")), scene.classes)


def test_workers_make_no_difference(written, tmp_path):
    alone = scenes.write(tmp_path / "scenes", seed=5, counts=COUNTS, workers=1)
    assert files(alone) == files(written)


def test_record(written):
    record = json.loads((written / "scenes.json").read_text(encoding="utf-8"))
    assert record["seed"] == 5
    assert record["version"] == kitti.SCENES_VERSION
    assert record["counts"] == COUNTS
    assert len(record["digest"]) == 64


def test_default_counts_are_kittis():
    assert scenes.COUNTS == {"um": 95, "umm": 96, "uu": 98}


def test_a_whole_folder_is_kept(written):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert scenes.write(written, seed=5, counts=COUNTS) == written
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


def test_other_scenes_are_not_overwritten(written):
    with pytest.raises(DataError, match=rf"found other scenes \(seed 5, version {kitti.SCENES_VERSION}\); remove it"):
        scenes.write(written, seed=6, counts=COUNTS)


def test_a_stranger_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="found something else"):
        scenes.write(tmp_path, counts=COUNTS)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(DataError, match="found a file"):
        scenes.write(tmp_path / "notes.txt", counts=COUNTS)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "scenes").mkdir()
    root = scenes.write(tmp_path / "scenes", counts={"uu": 1}, workers=1)
    assert (root / "training/image_2/uu_000000.png").is_file()


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scenes.write(tmp_path / "scenes", counts=COUNTS, workers=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_to_the_end(tmp_path):
    calls = []
    scenes.write(tmp_path / "scenes", counts={"uu": 2}, workers=1, progress=lambda *call: calls.append(call))
    assert calls == [(1, 2), (2, 2)]


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
def test_a_script_without_main_guard_still_ends(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from roadseg import scenes\n"
        f"scenes.write({str(tmp_path / 'scenes')!r}, counts={{'uu': 2}}, workers=2)\n"
    )  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(scenes.__file__).parents[1])}
    subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True, timeout=300)
    assert len(list((tmp_path / "scenes/training/image_2").iterdir())) == 2


@pytest.mark.slow
def test_workers_leave_with_a_killed_parent(tmp_path):
    psutil = pytest.importorskip("psutil")
    code = f"from roadseg import scenes; scenes.write({str(tmp_path / 'scenes')!r}, counts={{'uu': 500}}, workers=2)"
    environment = os.environ | {"PYTHONPATH": str(Path(scenes.__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".scenes-*/training/image_2/*.png")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert len(workers) >= 2
    assert alive == []
    assert not (tmp_path / "scenes").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": {"umx": 1}}, "category should be one of"),
        ({"counts": {"um": -1}}, r"counts\['um'\] should be a whole number from 0 to 1000000, not -1"),
        ({"counts": {"um": 2.5}}, r"counts\['um'\] should be"),
        ({"seed": -1}, "seed should be"),
        ({"workers": 0}, "workers should be a whole number from 1 on"),
    ],
)
def test_bad_options_write_nothing(tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        scenes.write(tmp_path / "scenes", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write scenes here .*; choose another folder"):
        scenes.write(tmp_path / "file" / "scenes", counts={"uu": 1}, workers=1)
