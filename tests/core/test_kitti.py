"""KITTI road on disk: pairs of image and label, what labels mean, and files that are not what they should be."""

import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import BLACK, BLUE, MAGENTA, RED, write_roads
from PIL import Image

from roadseg import data, kitti
from roadseg.errors import DataError, RoadsegError

LABEL = np.array([[RED] * 6, [MAGENTA] * 6, [BLACK] * 6, [BLUE] * 6], np.uint8)


@pytest.fixture
def root(tmp_path) -> Path:
    """A data set of three images, 6 x 4 pixels, one of each category."""
    return write_roads(tmp_path / "data_road", count=1, size=(4, 6))


@pytest.fixture
def frame(root) -> kitti.Frame:
    """The first frame of it."""
    return kitti.list_frames(root)[0]


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


# --- frames ----------------------------------------------------------------------------------------------------------


def test_frames_pair_images_with_road_labels_and_ignore_other_files(root):
    for name in ("gt_image_2/um_lane_000000.png", "image_2/.DS_Store", "image_2/um_1.png"):
        (root / "training" / name).touch()
    images, labels = root / "training/image_2", root / "training/gt_image_2"
    assert kitti.list_frames(root) == [
        kitti.Frame(f"{kind}_000000", images / f"{kind}_000000.png", labels / f"{kind}_road_000000.png")
        for kind in ("um", "umm", "uu")
    ]


def test_folders_may_be_nested_and_spelled_in_any_case(root):
    expected = [frame.name for frame in kitti.list_frames(root)]
    (root / "training").rename(root / "Training")
    root.rename(root.with_name("DATA_ROAD"))
    assert [frame.name for frame in kitti.list_frames(root.parent)] == expected


@pytest.mark.parametrize(
    ("part", "damage", "named"),
    [
        ("image_2", Path.unlink, "um_road_000000.png"),
        ("gt_image_2", Path.unlink, "um_000000.png"),
        ("image_2", become_folder, "um_000000.png"),
    ],
)
def test_files_that_make_no_pair_are_named(root, part, damage, named):
    damage(min((root / "training" / part).iterdir()))
    with pytest.raises(DataError, match=named):
        kitti.list_frames(root)


def test_a_folder_that_is_no_data_set_is_named_with_what_it_holds(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        kitti.list_frames(tmp_path / "nowhere")
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"holiday\.jpg"):
        kitti.list_frames(tmp_path)
    for name in ("image_2", "gt_image_2"):
        (tmp_path / "training" / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"um_000000\.png"):  # an example of the files that are missing
        kitti.list_frames(tmp_path)


# --- images and labels -----------------------------------------------------------------------------------------------


def test_colors_tell_mask_and_valid():
    mask, valid = kitti.decode_label(LABEL)
    assert mask.dtype == valid.dtype == bool and mask.shape == valid.shape == (4, 6)
    assert mask[:, 0].tolist() == [False, True, False, True]
    assert valid[:, 0].tolist() == [True, True, False, False]


def test_gray_images_and_labels_with_a_palette_become_rgb(frame):
    Image.new("L", (6, 4), 255).save(frame.image)
    Image.fromarray(LABEL).quantize().save(frame.label, transparency=b"\0\x80\xff")
    image, label = kitti.read_frame(frame)
    np.testing.assert_array_equal(image, np.full((4, 6, 3), 255))
    np.testing.assert_array_equal(label, LABEL)


BAD_LABELS = {
    "white on black": lambda label: np.where(label[..., 2:] > 0, 255, 0).repeat(3, axis=-1),
    "BGR": lambda label: label[..., ::-1],
    "interpolated": lambda label: Image.fromarray(label).resize((6, 4), Image.Resampling.BILINEAR, (0, 0, 6, 3)),
    "all excluded": lambda label: np.zeros_like(label),
    "gray": lambda label: label[..., 0],
    "another size": lambda label: label[:, :-1],
}


@pytest.mark.parametrize("change", BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_in_other_colors_or_sizes_are_refused(frame, change):
    label = np.asarray(Image.open(frame.label))
    Image.fromarray(np.asarray(change(label), np.uint8)).save(frame.label)
    with pytest.raises(DataError, match=r"um_road_000000\.png"):
        kitti.read_frame(frame)


@pytest.mark.parametrize("color", [MAGENTA, RED])
def test_labels_of_one_class_and_labels_in_place_of_images_are_refused(root, frame, color):
    for one in kitti.list_frames(root):
        Image.new("RGB", (6, 4), color).save(one.label)
    with pytest.raises(DataError, match=r"gt_image_2.*(100|0)\.0%"):
        data.load(root, cache=False)
    frame.image.write_bytes(frame.label.read_bytes())
    with pytest.raises(DataError, match=r"um_000000\.png"):
        kitti.read_frame(frame)


STILL = Image.new("RGB", (6, 4))
BAD_FILES = {
    "missing": Path.unlink,
    "jpeg": lambda path: STILL.save(path, format="JPEG"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-14]),
    "changed": lambda path: path.write_bytes((was := path.read_bytes())[:-13] + bytes([was[-13] ^ 1]) + was[-12:]),
    "too large": lambda path: Image.new("1", (90_000, 1_000)).save(path),
    "animated": lambda path: STILL.save(path, save_all=True, append_images=[Image.new("RGB", (6, 4), RED)]),
    "16 bits": lambda path: Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(path),
}


@pytest.mark.parametrize("damage", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_image_is_named(frame, damage):
    damage(frame.image)
    with pytest.raises(DataError, match=r"um_000000\.png"):
        kitti.read_frame(frame)


# --- strange files ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="file names and special files as Linux has them")
@pytest.mark.parametrize("link", ["fifo", "um_000000.png", "/dev/zero"])
def test_strange_folders(tmp_path, link):
    root = write_roads(Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff\n")), count=1, size=(4, 6))
    (root / "training" / "loop").symlink_to(root)
    Path(os.fsdecode(os.fsencode(root / "training/image_2") + b"/x\xff\n\x1b")).touch()
    os.mkfifo(root / "training/image_2/fifo")
    assert len(data.load(root, size=(4, 6))) == 3
    (root / "training/image_2/um_000000.png").unlink()
    (root / "training/image_2/um_000000.png").symlink_to(link)
    with pytest.raises(RoadsegError) as error:
        data.load(root, size=(4, 6))
    assert str(error.value).isprintable()


# --- real images -----------------------------------------------------------------------------------------------------


def test_real_labels_have_the_published_fractions(kitti_folder):
    frames = kitti.list_frames(kitti_folder / "half")
    assert Counter(frame.name.split("_")[0] for frame in frames) == {"um": 79, "umm": 80, "uu": 81}
    labels = [kitti.decode_label(kitti.read_frame(frame)[1]) for frame in frames]
    mask, valid = (np.concatenate([pair[i].ravel() for pair in labels]) for i in (0, 1))
    assert mask.mean() == pytest.approx(0.177, abs=0.005)
    assert 1 - valid.mean() == pytest.approx(0.013, abs=0.005)
    assert (mask & ~valid).any()  # some real labels hold road that is excluded
