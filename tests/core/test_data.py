"""The loader against Pillow and arithmetic by hand, its cache, the splits, and what reaches a training as batches."""

import errno
import os
import shutil
import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from conftest import BLACK, MAGENTA, RED, write_roads
from PIL import Image

from roadseg import data, kitti
from roadseg.errors import DataError, OptionError
from roadseg.scenes import rendering as scenes

IMAGES, LABELS = Path("training/image_2"), Path("training/gt_image_2")
BLUE = (0, 0, 255)  # road that is not evaluated
COURSE = 289  # labelled pictures of KITTI road


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six drawn pictures that a test may change."""
    return write_roads(tmp_path / "roads", count=2)


@pytest.fixture(scope="module")
def pictures() -> data.RoadData:
    """As many pictures as KITTI has, 6 x 8, all pixels random, so that no two are alike."""
    rng = np.random.default_rng(5)
    names = tuple(f"{category}_{i:06d}" for category, n in (("um", 95), ("umm", 96), ("uu", 98)) for i in range(n))
    shape = (COURSE, 6, 8)
    images = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return data.RoadData(images, rng.random(shape) < 0.3, rng.random(shape) < 0.9, names, "random", "0")


def state_of(root: Path) -> dict[Path, bytes]:
    """Every file below a folder with its bytes."""
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def caches() -> list[Path]:
    """What the cache folder of this test holds."""
    return sorted(Path(os.environ["ROADSEG_CACHE"]).glob("*"))


def assert_equal(one: data.RoadData, two: data.RoadData) -> None:
    for name in ("images", "road", "evaluated"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert getattr(one, name).dtype == getattr(two, name).dtype
    assert (one.names, one.source, one.fingerprint) == (two.names, two.source, two.fingerprint)


# --- loader ----------------------------------------------------------------------------------------------------------


def test_images_are_bilinear_and_labels_nearest(folder):
    roads = data.load(folder, size=(32, 64), cache=False)  # from 48 x 96: 1.5 pixels for each
    assert len(roads) == 6 and roads.size == (32, 64)
    rows, columns = (((np.arange(count) + 0.5) * 1.5).astype(int) for count in (32, 64))
    for i, name in enumerate(roads.names):
        picture = Image.open(folder / IMAGES / f"{name}.png").resize((64, 32), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(roads.images[i], np.asarray(picture))
        label = np.asarray(Image.open(folder / LABELS / f"{name.replace('_', '_road_')}.png"))
        nearest = label[rows[:, None], columns]
        np.testing.assert_array_equal(roads.road[i], nearest[..., 2] > 0)
        np.testing.assert_array_equal(roads.evaluated[i], nearest[..., 0] > 0)


def test_types_and_shapes(roads):
    assert roads.images.shape == (24, 32, 32, 3) and roads.images.dtype == np.uint8
    assert roads.road.shape == roads.evaluated.shape == (24, 32, 32)
    assert roads.road.dtype == roads.evaluated.dtype == bool
    assert 0.05 < roads.road.mean() < 0.5 and 0.9 < roads.evaluated.mean() < 1
    with pytest.raises(FrozenInstanceError):
        roads.source = "elsewhere"


def test_names_are_sorted_and_tell_the_category(roads):
    assert list(roads.names) == sorted(roads.names) and roads.names[0] == "um_000000" and len(set(roads.names)) == 24
    assert Counter(roads.categories.tolist()) == {"um": 8, "umm": 8, "uu": 8}
    assert all(name.startswith(f"{category}_") for name, category in zip(roads.names, roads.categories))


def test_lane_labels_are_left_out(folder):
    before = data.load(folder, size=(16, 16), cache=False)
    Image.fromarray(np.full((48, 96, 3), MAGENTA, np.uint8)).save(folder / LABELS / "um_lane_000000.png")
    assert_equal(data.load(folder, size=(16, 16), cache=False), before)


def test_road_that_is_not_evaluated_is_road(folder):
    label = np.empty((48, 96, 3), np.uint8)
    label[:12], label[12:24], label[24:36], label[36:] = BLACK, BLUE, RED, MAGENTA
    Image.fromarray(label).save(folder / LABELS / "um_road_000000.png")
    roads = data.load(folder, size=(4, 4), cache=False)
    assert roads.road[0, :, 0].tolist() == [False, True, False, True]
    assert roads.evaluated[0, :, 0].tolist() == [False, False, True, True]


def test_workers_change_nothing(folder, roads):
    one, three = (data.load(folder, size=(16, 16), cache=False, workers=workers) for workers in (1, 3))
    assert_equal(one, three)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 256)}, r"size is \(0, 256\): expected \(height, width\), both at least 1"),
        ({"size": (256,)}, r"size is \(256,\): expected \(height, width\)"),
        ({"workers": 0}, "workers is 0: expected at least 1, or None"),
    ],
)
def test_load_refuses_options_out_of_range(folder, options, message):
    with pytest.raises(OptionError, match=message):
        data.load(folder, **options)
    assert not caches()


def test_without_a_folder_kitti_is_taken_where_it_is(folder, monkeypatch):
    monkeypatch.setenv("ROADSEG_DATA", str(folder))
    roads = data.load(size=(8, 8))
    assert len(roads) == 6 and roads.source == f"ROADSEG_DATA points to {folder}."
    assert data.load(folder, size=(8, 8)).source == "Road images from roads."


def test_without_any_data_scenes_are_rendered_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(scenes, "write", lambda root: written.append(write_roads(root, count=1)))
    first, second = data.load(size=(8, 8)), data.load(size=(8, 8))
    assert written == [tmp_path / "data" / "scenes"] and "scenes" in first.source
    assert_equal(first, second)


# --- cache -----------------------------------------------------------------------------------------------------------


def test_the_second_load_reads_the_cache_alone(folder, monkeypatch):
    first = data.load(folder, size=(16, 16))
    monkeypatch.setattr(kitti, "read_frame", lambda frame: pytest.fail("read an image again"))
    assert_equal(data.load(folder, size=(16, 16)), first)
    assert len(caches()) == 1


def change_time(folder):
    path = folder / LABELS / "uu_road_000001.png"
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000_000))


def change_content(folder):
    path = folder / IMAGES / "um_000001.png"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    Image.new("RGB", (96, 48)).save(path)
    os.utime(path, ns=times)  # its length is another


def add_picture(folder):
    shutil.copy2(folder / IMAGES / "um_000000.png", folder / IMAGES / "um_000009.png")
    shutil.copy2(folder / LABELS / "um_road_000000.png", folder / LABELS / "um_road_000009.png")


def remove_picture(folder):
    (folder / IMAGES / "um_000000.png").unlink()
    (folder / LABELS / "um_road_000000.png").unlink()


@pytest.mark.parametrize("change", [change_time, change_content, add_picture, remove_picture])
def test_a_changed_file_makes_a_new_cache(folder, change):
    data.load(folder, size=(16, 16))
    before = state_of(caches()[0].parent)
    change(folder)
    assert_equal(data.load(folder, size=(16, 16)), data.load(folder, size=(16, 16), cache=False))
    assert len(caches()) == 2 and before.items() <= state_of(caches()[0].parent).items()


def test_every_size_has_its_own_cache(folder):
    for count, size in enumerate([(16, 16), (16, 24), (24, 16)], start=1):
        assert data.load(folder, size=size).size == data.load(folder, size=size).size == size
        assert len(caches()) == count


def test_the_cache_goes_where_it_is_told(folder, tmp_path, monkeypatch):
    data.load(folder, size=(8, 8), cache=tmp_path / "here")
    monkeypatch.delenv("ROADSEG_CACHE")
    data.load(folder, size=(8, 8))
    assert [len(list(path.glob("*.npz"))) for path in (tmp_path / "here", tmp_path / "data" / "cache")] == [1, 1]
    assert not (tmp_path / "cache").exists()


def test_cache_false_writes_nothing(folder, tmp_path):
    before = state_of(tmp_path)
    data.load(folder, size=(16, 16), cache=False)
    assert state_of(tmp_path) == before and sorted(tmp_path.iterdir()) == [folder]


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip_bits(path):
    content = bytearray(path.read_bytes())
    content[500] ^= 255
    path.write_bytes(content)


def lose_array(path):
    with np.load(path) as kept:
        rest = {name: kept[name] for name in kept.files if name != "label"}
    np.savez(path, **rest)


def write_text(path):
    path.write_text("no cache at all")


@pytest.mark.parametrize("damage", [truncate, empty, flip_bits, lose_array, write_text])
def test_a_damaged_cache_is_mended(folder, damage):
    first = data.load(folder, size=(16, 16))
    (path,) = caches()
    damage(path)
    with pytest.warns(UserWarning, match=rf"The cache {path} is damaged .*: it is made again from the images"):
        assert_equal(data.load(folder, size=(16, 16)), first)
    assert_equal(data.load(folder, size=(16, 16)), first)  # and does not warn again


def test_a_cache_is_never_unpickled(folder):
    first = data.load(folder, size=(16, 16))
    (path,) = caches()
    np.savez(path, images=np.array([{}], object), label=first.road, names=first.names, fingerprint="0")
    with pytest.warns(UserWarning, match=r"is damaged .*allow_pickle=False"):
        assert_equal(data.load(folder, size=(16, 16)), first)


@pytest.mark.filterwarnings("ignore:The cache .* is damaged:UserWarning")
def test_no_changed_byte_of_the_cache_gets_through(folder):
    first = data.load(folder, size=(4, 4))
    (path,) = caches()
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(whole), 150, replace=False):
        content = bytearray(whole)
        content[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert_equal(data.load(folder, size=(4, 4)), first)


def test_a_cache_folder_that_is_a_file(folder, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DataError) as error:
        data.load(folder, size=(8, 8))
    assert_refused_cache(error, tmp_path / "cache")
    assert (tmp_path / "cache").read_text() == "in the way"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_folder_without_permission(folder, tmp_path):
    (tmp_path / "cache").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(DataError) as error:
        data.load(folder, size=(8, 8))
    assert_refused_cache(error, tmp_path / "cache")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_takes_no_more_keeps_nothing_half_written(folder, tmp_path, monkeypatch, number):
    def fail(file, **arrays):
        file.write(b"half")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(DataError) as error:
        data.load(folder, size=(8, 8))
    assert_refused_cache(error, tmp_path / "cache")
    assert not caches()


def assert_refused_cache(error, path):
    message = str(error.value)
    assert message.startswith(f"the cache {path}") and "cannot be written" in message and "\n" not in message
    assert "make its folder writable, set ROADSEG_CACHE to a folder that is, or load with cache=False" in message


def test_two_loads_at_once_share_a_cache(folder):
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: data.load(folder, size=(16, 16)), range(2))
    assert_equal(one, two)
    assert len(caches()) == 1


def test_the_fingerprint_depends_on_content_alone(folder, tmp_path):
    first = data.load(folder, size=(16, 16))
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    change_time(elsewhere)
    assert data.load(elsewhere, size=(16, 16)).fingerprint == first.fingerprint
    prints = {first.fingerprint, data.load(folder, size=(16, 24)).fingerprint}
    (elsewhere / IMAGES / "um_000001.png").rename(elsewhere / IMAGES / "um_000007.png")
    (elsewhere / LABELS / "um_road_000001.png").rename(elsewhere / LABELS / "um_road_000007.png")
    prints.add(data.load(elsewhere, size=(16, 16)).fingerprint)
    for path, colour in ((folder / IMAGES / "um_000000.png", (1, 2, 3)), (folder / LABELS / "um_road_000000.png", RED)):
        Image.new("RGB", (96, 48), colour).save(path)
        prints.add(data.load(folder, size=(16, 16)).fingerprint)
    assert len(prints) == 5


# --- bad input -------------------------------------------------------------------------------------------------------


IMAGE, LABEL = IMAGES / "um_000001.png", LABELS / "um_road_000001.png"


def shrink(path):
    Image.open(path).resize((48, 24), Image.Resampling.NEAREST).save(path)


def exclude_all(path):
    Image.new("RGB", (96, 48), BLACK).save(path)


def become_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("file", [IMAGE, LABEL], ids=["image", "label"])
@pytest.mark.parametrize(
    ("damage", "found", "remedy"),
    [
        (Path.unlink, "1 without", "restore each"),
        (truncate, "truncated or damaged PNG file", "replace it by an intact copy"),
        (empty, "the file is empty", "replace it by an intact copy"),
        (write_text, "expected a still PNG picture", "replace it by an intact copy"),
        (become_folder, "expected files, found a folder", "replace it by an intact copy"),
        (shrink, "expected the size of its image", "replace both files by the published ones"),
    ],
)
def test_a_bad_file_is_named_with_its_remedy(folder, file, damage, found, remedy):
    damage(folder / file)
    told = {Path.unlink: LABEL if file == IMAGE else IMAGE, shrink: LABEL}.get(damage, file)
    assert_refused(folder, told.name, found, remedy)


def test_a_label_without_an_evaluated_pixel(folder):
    exclude_all(folder / LABEL)
    assert_refused(folder, LABEL.name, "no pixel is evaluated", "replace the label or remove its pair")


def test_missing_folders(folder, tmp_path):
    assert_refused(tmp_path / "nowhere", "nowhere", "no such folder", "unpack data_road.zip there")
    shutil.rmtree(folder / LABELS)
    assert_refused(folder, "training/gt_image_2", "expected", "unpack data_road.zip there")


def assert_refused(folder: Path, name: str, found: str, remedy: str) -> None:
    """Loading fails in one line that names the file and the remedy, and everything is as it was."""
    before = state_of(folder)
    with pytest.raises(DataError) as error:
        data.load(folder, size=(16, 16))
    message = str(error.value)
    assert name in message and found in message and remedy in message and "\n" not in message
    assert state_of(folder) == before and not caches()


# --- splits ----------------------------------------------------------------------------------------------------------


def shuffled_by_hand(count: int) -> list[int]:
    """What the course's script does, with NumPy's global state, which is put back."""
    kept = np.random.get_state()  # noqa: NPY002
    try:
        indices = list(range(count))
        np.random.seed(123)  # noqa: NPY002
        np.random.shuffle(indices)  # noqa: NPY002
    finally:
        np.random.set_state(kept)  # noqa: NPY002
    return indices


@pytest.mark.parametrize(("count", "taken"), [(COURSE, 287), (287, 287), (288, 287), (240, 240), (16, 16)])
def test_course_split(count, taken):
    train, validation = data.course_split(count)
    expected = shuffled_by_hand(taken)
    assert len(validation) == 15 and len(train) == taken - 15
    assert [*train, *validation] == expected


def test_course_split_of_kitti(pictures):
    train, validation = data.split(pictures, "course")
    assert (len(train), len(validation)) == (272, 15)
    used = {pictures.names[i] for i in (*train, *validation)}
    assert set(pictures.names) - used == {"uu_000096", "uu_000097"}
    assert len(set(pictures.categories[validation])) == 3


def test_course_split_leaves_the_global_seed_alone():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    data.course_split(100)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("count", [0, 15])
def test_course_split_of_too_few(count):
    with pytest.raises(OptionError, match=f"{count} pictures cannot be split: expected more than 15; add pictures"):
        data.course_split(count)


FRACTIONS = [1 / 6, 1 / 5, 1 / 3, 0.5, 0.07, 0.4]


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_block_split_holds_out_a_block_of_each_category(pictures, fraction):
    folds = [data.block_split(pictures.names, fraction=fraction, fold=fold) for fold in range(int(1 / fraction + 1e-9))]
    for train, validation in folds:
        assert sorted([*train, *validation]) == list(range(COURSE))
        assert (np.diff(train) > 0).all() and (np.diff(validation) > 0).all()
        for category, count in (("um", 95), ("umm", 96), ("uu", 98)):
            block = validation[pictures.categories[validation] == category]
            assert (np.diff(block) == 1).all()
            assert abs(len(block) - count * fraction) <= 1
    held_out = np.concatenate([validation for _, validation in folds])
    assert len(set(held_out)) == len(held_out)
    if (1 / fraction) % 1 < 1e-9:
        assert len(held_out) == COURSE  # the folds take turns over all pictures


def test_block_split_by_default_holds_out_the_last_sixth(pictures):
    held_out = [pictures.names[i] for i in data.split(pictures, "blocks").validation]
    assert Counter(name.split("_")[0] for name in held_out) == {"um": 16, "umm": 16, "uu": 16}
    assert {"um_000094", "um_000079", "umm_000095", "umm_000080", "uu_000097", "uu_000082"} <= set(held_out)


@pytest.mark.parametrize(
    ("fraction", "fold"), [(0, 0), (-0.1, 0), (0.51, 0), (1, 0), (1 / 6, 6), (1 / 6, -1), (0.4, 2), (float("nan"), 0)]
)
def test_block_split_refuses_options_out_of_range(pictures, fraction, fold):
    with pytest.raises(OptionError, match=r"expected a fraction in \(0, 0\.5\] and 0 <= fold < 1 / fraction"):
        data.block_split(pictures.names, fraction=fraction, fold=fold)


@pytest.mark.parametrize(
    "names", [(), ("um_000000",), ("um_000000", "umm_000000"), (*(f"um_{i:06d}" for i in range(12)), "uu_000000")]
)
def test_block_split_of_too_few(names):
    with pytest.raises(OptionError, match=f"{len(names)} pictures are too few to hold out 0.17 of each category"):
        data.block_split(names)


def test_split_by_a_name_that_is_none(pictures):
    with pytest.raises(OptionError, match="no split is called 'random': choose course or blocks"):
        data.split(pictures, "random")


# --- arrays and batches ----------------------------------------------------------------------------------------------


def test_arrays(pictures):
    image, road, weight = data.arrays(pictures, np.array([7, 3]))
    assert image.shape == (2, 6, 8, 3) and road.shape == weight.shape == (2, 6, 8, 1)
    assert image.dtype == road.dtype == weight.dtype == np.float32
    np.testing.assert_array_equal(np.round(image * 255), pictures.images[[7, 3]])
    np.testing.assert_array_equal(road[..., 0], pictures.road[[7, 3]])
    np.testing.assert_array_equal(weight[..., 0], pictures.evaluated[[7, 3]])
    assert image.max() > 0.9  # divided by 255 once


def batches(pictures, indices=None, **options) -> list[tuple[np.ndarray, ...]]:
    where = np.arange(len(pictures)) if indices is None else indices
    return [tuple(part.numpy() for part in batch) for batch in data.dataset(pictures, where, **options)]


def joined(pictures, **options) -> tuple[np.ndarray, ...]:
    """Image, road and weight of a whole epoch."""
    return tuple(np.concatenate(parts) for parts in zip(*batches(pictures, **options)))


def order(pictures, image: np.ndarray) -> list[int]:
    """Which picture each sample is, mirrored or not: by the sum of each channel."""
    sums = pictures.images.sum((1, 2), dtype=int).tolist()
    return [sums.index(found) for found in np.round(image * 255).sum((1, 2)).astype(int).tolist()]


def test_an_epoch_of_the_course_has_68_steps(pictures):
    train, validation = data.course_split(len(pictures))
    steps = batches(pictures, train, shuffle=True)
    assert len(steps) == 68 and {len(image) for image, _, _ in steps} == {4}
    assert [len(image) for image, _, _ in batches(pictures, validation, batch_size=8)] == [8, 7]


def test_batches_hold_what_arrays_hold(pictures):
    for found, expected in zip(joined(pictures, batch_size=10), data.arrays(pictures, np.arange(COURSE))):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_the_last_batch_is_ragged(pictures):
    assert [len(image) for image, _, _ in batches(pictures, np.arange(10))] == [4, 4, 2]
    assert order(pictures, batches(pictures, np.array([5, 2, 9]))[0][0]) == [5, 2, 9]


def test_shuffling_depends_on_seed_and_epoch_alone(pictures):
    orders = {
        (seed, epoch): order(pictures, joined(pictures, shuffle=True, seed=seed, epoch=epoch)[0])
        for seed, epoch in ((0, 1), (0, 2), (1, 1), (1, 0))
    }
    assert all(sorted(found) == list(range(COURSE)) for found in orders.values())
    assert len({tuple(found) for found in orders.values()}) == 4
    assert order(pictures, joined(pictures, shuffle=True, seed=0, epoch=2)[0]) == orders[0, 2]


def mirrored(pictures, **options) -> np.ndarray:
    """Which samples of an epoch without shuffling are mirrored; all three parts must agree about each."""
    found, plain = joined(pictures, flip=True, **options), joined(pictures, half_size=options.get("half_size", False))
    same, other = (
        np.array([[(a == b).all() for a, b in zip(parts, wanted)] for parts, wanted in zip(found, expected)])
        for expected in (plain, [part[:, :, ::-1] for part in plain])
    )
    assert (same.all(0) ^ other.all(0)).all()
    return other.all(0)


@pytest.mark.parametrize("half_size", [False, True])
def test_flips_mirror_image_road_and_weight_alike(pictures, half_size):
    masks = [
        mirrored(pictures, seed=seed, epoch=epoch, half_size=half_size) for seed, epoch in ((0, 1), (0, 2), (1, 1))
    ]
    for mask in masks:
        assert 0.4 < mask.mean() < 0.6  # 289 draws: more than three standard deviations to either side
    assert all((one != two).mean() > 0.3 for one, two in ((masks[0], masks[1]), (masks[0], masks[2])))
    np.testing.assert_array_equal(mirrored(pictures, seed=0, epoch=1, half_size=half_size), masks[0])


def test_shuffled_flips_are_pictures_or_mirrors(pictures):
    image, road, weight = joined(pictures, shuffle=True, flip=True, epoch=3)
    for i, parts in zip(order(pictures, image), zip(image, road, weight)):
        plain = [part[0] for part in data.arrays(pictures, np.array([i]))]
        turned = [part[:, ::-1] for part in plain]
        assert any(all((a == b).all() for a, b in zip(parts, wanted)) for wanted in (plain, turned))


def test_colour_changes_the_image_alone_and_anew_each_epoch(pictures):
    plain = data.arrays(pictures, np.arange(COURSE))
    first, again, second, weak = (
        joined(pictures, colour=strength, epoch=epoch) for strength, epoch in ((1, 1), (1, 1), (1, 2), (0.1, 1))
    )
    for found in (first, second, weak):
        assert found[0].min() >= 0 and found[0].max() <= 1 and found[0].dtype == np.float32
        np.testing.assert_array_equal(found[1], plain[1])
        np.testing.assert_array_equal(found[2], plain[2])
    changes = [np.abs(found[0] - plain[0]).mean((1, 2, 3)) for found in (first, second, weak)]
    assert (changes[0] > 0).all() and changes[2].mean() < 0.2 * changes[0].mean()
    np.testing.assert_array_equal(again[0], first[0])
    assert (np.abs(second[0] - first[0]).mean((1, 2, 3)) > 1e-3).mean() > 0.95


def test_colour_does_as_it_says():
    """Brightness and contrast by up to 40 %, white balance by up to 10 %: seen on two flat stripes of grey."""
    images = np.full((40, 4, 4, 3), 80, np.uint8)
    images[:, 2:] = 120
    masks = np.ones((40, 4, 4), bool)
    grey = data.RoadData(images, masks, masks, tuple(f"um_{i:06d}" for i in range(40)), "grey", "0")
    image = joined(grey, colour=1.0)[0] * 255
    dark, light = image[:, 0, 0], image[:, 2, 0]
    brightness, contrast = (dark + light) / 200, (light - dark) / (light + dark) * 5
    assert 0.6 * 0.9 <= brightness.min() < 0.8 and 1.2 < brightness.max() <= 1.4 * 1.1
    assert 0.6 - 1e-4 <= contrast.min() < 0.75 and 1.25 < contrast.max() <= 1.4 + 1e-4
    np.testing.assert_allclose(contrast, contrast[:, :1].repeat(3, 1), rtol=1e-4)  # one for all channels
    balance = brightness.max(1) / brightness.min(1)
    assert np.median(balance) > 1.02 and balance.max() <= 1.1 / 0.9 + 1e-4


def test_zoom_shows_parts_of_the_pictures_with_their_masks():
    rows, columns = np.mgrid[:32, :32].astype(np.uint8) * 8
    images = np.repeat(np.stack([rows, columns, np.zeros_like(rows)], -1)[None], 40, 0)  # each pixel tells its place
    road = np.repeat((rows >= 128)[None], 40, 0)
    places = data.RoadData(images, road, ~road, tuple(f"um_{i:06d}" for i in range(40)), "places", "0")
    image, found, weight = joined(places, zoom=0.5)
    row, column = image[..., 0] * 255 / 8, image[..., 1] * 255 / 8
    height, width = (values.max((1, 2)) - values.min((1, 2)) for values in (row, column))
    assert 0.45 * 31 < height.min() < 0.6 * 31 and 0.9 * 31 < height.max() <= 31.01
    np.testing.assert_allclose(height, width, atol=0.1)  # the shape of things stays
    assert row.min((1, 2)).std() > 2 and column.min((1, 2)).std() > 2  # parts from everywhere
    sure = np.abs(row - 15.5) > 0.6  # not beside the border, where nearest and bilinear may differ
    np.testing.assert_array_equal(found[..., 0][sure] > 0, row[sure] > 15.5)
    np.testing.assert_array_equal(found + weight, 1)
    again, other = joined(places, zoom=0.5)[0], joined(places, zoom=0.5, epoch=2)[0]
    np.testing.assert_array_equal(again, image)
    assert np.abs(other - image).mean() > 0.01


def test_half_size_means_the_image_and_picks_road_and_weight(pictures):
    whole, halves = joined(pictures), joined(pictures, half_size=True)
    rows, columns = (side // 2 for side in pictures.size)
    means = whole[0].reshape(-1, rows, 2, columns, 2, 3).mean((2, 4))
    np.testing.assert_allclose(halves[0], means, atol=1e-6)
    for found, mask in zip(halves[1:], whole[1:]):
        np.testing.assert_array_equal(found, mask[:, 1::2, 1::2])


def test_changes_leave_the_pictures_alone(pictures):
    before = pictures.images.copy(), pictures.road.copy(), pictures.evaluated.copy()
    joined(pictures, shuffle=True, flip=True, zoom=0.5, colour=1.0)
    for one, two in zip(before, (pictures.images, pictures.road, pictures.evaluated)):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"zoom": 1.0}, {"zoom": -0.1}, {"colour": -0.1}, {"colour": 1.5}, {"colour": float("nan")}],
)
def test_dataset_refuses_options_out_of_range(pictures, options):
    with pytest.raises(OptionError, match=r"expected at least 1, at least 0 and less than 1, and a strength"):
        data.dataset(pictures, np.arange(4), **options)


# --- real pictures ---------------------------------------------------------------------------------------------------


def test_real_pictures_at_half_size(kitti_folder):
    roads = data.load(kitti_folder / "half")
    assert roads.images.shape == (240, 256, 256, 3)
    assert Counter(roads.categories.tolist()) == {"um": 79, "umm": 80, "uu": 81}
    assert 0.165 < roads.road.mean() < 0.19 and 0.98 < roads.evaluated.mean() < 0.995
    assert (roads.road & ~roads.evaluated).any()  # some real labels hold road that is not evaluated
    assert_equal(data.load(kitti_folder / "half"), roads)


def test_real_pictures_of_all_published_sizes(kitti_folder):
    folder = kitti_folder / "original"
    whole = [kitti.read_frame(frame) for frame in kitti.frames(folder)]
    assert {image.shape[:2] for image, _ in whole} == {(375, 1242), (376, 1241), (374, 1238), (370, 1226)}
    roads = data.load(folder, cache=False)
    assert roads.images.shape == (6, 256, 256, 3) and roads.road.dtype == bool
    for road, (_, label) in zip(roads.road, whole):
        assert abs(road.mean() - (label[..., 2] > 0).mean()) < 0.005
