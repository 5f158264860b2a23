"""The loader against Pillow and arithmetic by hand, its cache, the splits, and the batches of an epoch."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import RED, write_roads
from PIL import Image

from roadseg import data, kitti, scenes
from roadseg.errors import DataError, OptionError

IMAGES, LABELS = Path("training/image_2"), Path("training/gt_image_2")
COURSE = 289  # labeled images of KITTI road
COUNTS = {"um": 95, "umm": 96, "uu": 98}
NAMES = tuple(f"{category}_{i:06d}" for category, count in COUNTS.items() for i in range(count))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six drawn images that a test may change."""
    return write_roads(tmp_path / "roads", count=2)


@pytest.fixture(scope="module")
def random_roads() -> data.RoadData:
    """As many images as KITTI has, 6 x 8, all pixels random, so that no two are alike."""
    rng, shape = np.random.default_rng(5), (COURSE, 6, 8)
    images = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return data.RoadData(images, rng.random(shape) < 0.3, rng.random(shape) < 0.9, NAMES, "random", "0")


def caches() -> list[Path]:
    """What the cache folder of this test holds."""
    return sorted(Path(os.environ["ROADSEG_CACHE"]).glob("*"))


def assert_equal(one: data.RoadData, two: data.RoadData) -> None:
    for name in ("images", "masks", "valid"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), strict=True)
    assert (one.names, one.source, one.fingerprint) == (two.names, two.source, two.fingerprint)


# --- loader ----------------------------------------------------------------------------------------------------------


def test_images_are_resized_bilinear_and_labels_to_the_nearest_pixel(folder):
    roads = data.load(folder, size=(32, 64), cache=False, workers=1)  # from 48 x 96: 1.5 pixels for each
    assert roads.names == ("um_000000", "um_000001", "umm_000000", "umm_000001", "uu_000000", "uu_000001")
    assert roads.categories.tolist() == ["um", "um", "umm", "umm", "uu", "uu"]
    assert len(roads) == 6 and roads.size == (32, 64)
    assert roads.images.dtype == np.uint8 and roads.masks.dtype == roads.valid.dtype == bool
    rows, columns = (((np.arange(count) + 0.5) * 1.5).astype(int) for count in (32, 64))
    for i, name in enumerate(roads.names):
        image = Image.open(folder / IMAGES / f"{name}.png").resize((64, 32), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(roads.images[i], np.asarray(image))
        label = np.asarray(Image.open(folder / LABELS / f"{name.replace('_', '_road_')}.png"))
        nearest = label[rows[:, None], columns]
        np.testing.assert_array_equal(roads.masks[i], nearest[..., 2] > 0)
        np.testing.assert_array_equal(roads.valid[i], nearest[..., 0] > 0)


def test_options_out_of_range(folder, random_roads):
    for options in ({"size": (256,)}, {"size": 256}, {"size": (256.0, 256.0)}, {"workers": 0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            data.load(folder, **options)
    for options in ({"batch_size": 0}, {"color_jitter": float("nan")}):
        with pytest.raises(OptionError, match=next(iter(options))):
            data.dataset(random_roads, np.arange(4), **options)


def test_without_any_data_scenes_are_rendered_once(tmp_path, monkeypatch):
    written, lines = [], []

    def write(root, *, progress):
        written.append(write_roads(root, count=1))
        (root / "training" / "calib").mkdir()
        for done in range(1, 11):
            progress(done, 10)

    monkeypatch.setattr(scenes, "write", write)
    first, second = (data.load(size=(8, 8), log=lines.append) for _ in range(2))
    assert written == [tmp_path / "data" / "scenes"] and first.source == second.source
    assert [line.split()[0] for line in lines[1:]] == ["2", "4", "6", "8"]
    assert_equal(first, second)


def test_a_bad_file_is_named_and_scenes_are_to_be_rendered_again(folder, tmp_path):
    (folder / IMAGES / "um_000001.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"um_000001.png.*intact copy"):
        data.load(folder, size=(16, 16))
    assert not caches()
    (folder / "scenes.json").write_text("{}")
    with pytest.raises(DataError, match=rf"um_000001.png.*--render {folder}"):
        data.load(folder, size=(16, 16))
    usual = tmp_path / "data" / "scenes"
    shutil.copytree(folder, usual)
    (usual / "training" / "calib").mkdir()
    with pytest.raises(DataError, match=rf"um_000001.png.*delete the folder {usual}"):
        data.load(size=(16, 16))


# --- cache -----------------------------------------------------------------------------------------------------------


def test_the_second_load_reads_the_cache_alone(folder, monkeypatch):
    first = data.load(folder, size=(16, 16))
    monkeypatch.setattr(kitti, "read_frame", lambda frame: pytest.fail("read an image again"))
    assert_equal(data.load(folder, size=(16, 16)), first)
    assert len(caches()) == 1


def test_another_file_folder_or_size_has_its_own_cache(folder, tmp_path):
    first, path = data.load(folder, size=(16, 16)), folder / LABELS / "um_road_000001.png"
    copied = shutil.copytree(folder, tmp_path / "copied", copy_function=shutil.copyfile)
    assert data.load(copied, size=(16, 16)).fingerprint == first.fingerprint
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    Image.new("RGB", (96, 48), RED).save(path)
    os.utime(path, ns=times)  # only the length tells
    second = data.load(folder, size=(16, 16))
    assert_equal(second, data.load(folder, size=(16, 16), cache=False))
    assert second.fingerprint != first.fingerprint
    assert data.load(folder, size=(16, 24)).size == data.load(folder, size=(16, 24)).size == (16, 24)
    data.load(folder, size=(8, 8), cache=tmp_path / "here")
    assert len(caches()) == 4 and len(list((tmp_path / "here").iterdir())) == 1


def test_a_damaged_cache_is_made_again(folder):
    first = data.load(folder, size=(16, 16))
    (path,) = caches()
    np.save(path, first.images)  # without labels
    with pytest.warns(UserWarning, match="cache is damaged"):
        assert_equal(data.load(folder, size=(16, 16)), first)
    assert_equal(data.load(folder, size=(16, 16)), first)  # and does not warn again


def test_processes_share_the_cache_and_keep_what_they_change_to_themselves(folder):
    first, second = data.load(folder, size=(16, 16)), data.load(folder, size=(16, 16))
    second.images[0, 0, 0] = 255 - second.images[0, 0, 0]
    assert_equal(data.load(folder, size=(16, 16)), first)
    part = replace(second, images=second.images[::2], masks=second.masks[::2], valid=second.valid[::2])
    for roads in (second, part):  # mapped, and with gaps
        batch = next(iter(data.dataset(roads, np.arange(3))))
        assert all((tensor.numpy() == array).all() for tensor, array in zip(batch, data.arrays(roads, np.arange(3))))
    second.images[0] = 51
    assert np.allclose(next(iter(data.dataset(second, np.arange(1))))[0], 0.2)  # TensorFlow has made no copy


def test_what_a_read_only_cache_lacks_is_kept_at_home(folder, tmp_path, monkeypatch):
    shared, own, lines = tmp_path / "cache", tmp_path / "data" / "cache", []
    first = data.load(folder, size=(16, 16), log=lines.append)
    monkeypatch.setattr(os, "access", lambda path, mode: path != shared)  # root may write everywhere
    assert_equal(data.load(folder, size=(16, 16), log=lines.append), first)
    assert not own.exists() and not lines
    for _ in range(2):
        data.load(folder, size=(8, 8), log=lines.append)
    assert len(lines) == 1 and str(shared) in lines[0] and str(own) in lines[0]
    assert len(list(own.iterdir())) == len(caches()) == 1


def test_a_cache_that_cannot_be_written_is_named(folder, tmp_path):
    (folder / "scenes.json").write_text("{}")
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DataError, match=rf"{tmp_path / 'cache'}.*ROADSEG_CACHE") as error:
        data.load(folder, size=(8, 8))
    assert "--render" not in str(error.value)


# --- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "used"), [(COURSE, 287), (240, 240)])
def test_course_split_is_that_of_the_assignment(count, used):
    indices = list(range(used))
    np.random.RandomState(123).shuffle(indices)
    train, validation = data.course_split(count)
    assert [*train, *validation] == indices and len(validation) == 15


@pytest.mark.parametrize("fraction", [1 / 6, 0.4])
def test_block_split_holds_out_a_block_of_each_category(random_roads, fraction):
    folds = [data.block_split(NAMES, fraction=fraction, fold=fold) for fold in range(int(1 / fraction + 1e-9))]
    for train, validation in folds:
        assert sorted([*train, *validation]) == list(range(COURSE))
        for category, count in COUNTS.items():
            block = validation[random_roads.categories[validation] == category]
            assert (np.diff(block) == 1).all() and abs(len(block) - count * fraction) <= 1
    held_out = np.concatenate([validation for _, validation in folds])
    assert len(set(held_out)) == len(held_out)
    if (1 / fraction) % 1 < 1e-9:
        assert len(held_out) == COURSE  # every image is held out once


@pytest.mark.parametrize(
    ("split", "named"),
    [
        (lambda: data.course_split(15), "15"),
        (lambda: data.block_split(NAMES, fraction=0.51), "0.51"),
        (lambda: data.block_split(NAMES, fold=6), "6"),
        (lambda: data.block_split((*(f"um_{i:06d}" for i in range(12)), "uu_000000")), "13"),
        (lambda: data.split([], "random"), "random"),
    ],
)
def test_splits_that_cannot_be_made(split, named):
    with pytest.raises(OptionError, match=named):
        split()


# --- samples and batches ---------------------------------------------------------------------------------------------


def epoch_of(roads: data.RoadData, **options) -> tuple[np.ndarray, ...]:
    """Image, mask and weight of a whole epoch."""
    batches = data.dataset(roads, np.arange(len(roads)), **options)
    return tuple(np.concatenate([part.numpy() for part in parts]) for parts in zip(*batches))


def test_batches_hold_the_arrays_in_order(random_roads):
    image, mask, weight = data.arrays(random_roads, np.array([7, 3]))
    np.testing.assert_array_equal(image, random_roads.images[[7, 3]] / np.float32(255), strict=True)
    for found, expected in ((mask, random_roads.masks), (weight, random_roads.valid)):
        np.testing.assert_array_equal(found, expected[[7, 3], ..., None].astype(np.float32), strict=True)
    for found, expected in zip(epoch_of(random_roads, batch_size=10), data.arrays(random_roads, np.arange(COURSE))):
        np.testing.assert_array_equal(found, expected, strict=True)


def test_an_epoch_of_the_course_has_68_steps(random_roads):
    train, validation = data.course_split(COURSE)
    assert [len(image) for image, _, _ in data.dataset(random_roads, train, shuffle=True)] == [4] * 68
    assert [len(image) for image, _, _ in data.dataset(random_roads, validation, batch_size=8)] == [8, 7]


def test_shuffling_depends_on_seed_and_epoch_alone(random_roads):
    places = {image.tobytes(): i for i, image in enumerate(data.arrays(random_roads, np.arange(COURSE))[0])}
    orders = [
        tuple(places[image.tobytes()] for image in epoch_of(random_roads, shuffle=True, seed=seed, epoch=epoch)[0])
        for seed, epoch in ((0, 1), (0, 1), (0, 2), (1, 1))
    ]
    assert all(sorted(order) == list(range(COURSE)) for order in orders)
    assert orders[0] == orders[1] and len(set(orders)) == 3


def test_changes_are_drawn_anew_in_every_epoch_and_leave_the_arrays_alone(random_roads):
    before = random_roads.images.copy()
    options = {"random_flip": True, "random_zoom": 0.5, "color_jitter": 1.0, "half_resolution": True}
    first, again, other = (epoch_of(random_roads, epoch=epoch, **options) for epoch in (1, 1, 2))
    assert first[0].shape == (COURSE, 3, 4, 3) and first[1].shape == first[2].shape == (COURSE, 3, 4, 1)
    np.testing.assert_array_equal(again[0], first[0])
    assert (np.abs(other[0] - first[0]).mean((1, 2, 3)) > 1e-3).mean() > 0.95
    np.testing.assert_array_equal(random_roads.images, before)
