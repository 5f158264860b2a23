"""Random damage: files and folders are read right, or refused with one of the package's own errors."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import write_roads

from roadseg import data, kitti
from roadseg.errors import RoadsegError

IMAGE, LABEL = "training/image_2/um_000000.png", "training/gt_image_2/um_road_000000.png"


def damaged(content: bytes, seed: int) -> bytes:
    """One to three bytes changed, and at times the end lost."""
    rng, changed = np.random.default_rng(seed), bytearray(content)
    for _ in range(rng.integers(1, 4)):
        changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed[: rng.integers(len(changed))] if rng.random() < 0.2 else changed)


@pytest.mark.parametrize("file", [IMAGE, LABEL])
def test_damaged_images(tmp_path, file):
    frame, _, _ = kitti.list_frames(write_roads(tmp_path, count=1, size=(7, 9)))
    whole, expected = (tmp_path / file).read_bytes(), kitti.read_frame(frame)
    for seed in range(200):
        (tmp_path / file).write_bytes(damaged(whole, seed))
        try:
            np.testing.assert_equal(kitti.read_frame(frame), expected)
        except RoadsegError as error:
            assert Path(file).name in str(error)


@pytest.mark.skipif(sys.platform != "linux", reason="file names and special files as Linux has them")
@pytest.mark.parametrize("link", ["fifo", "um_000000.png", "/dev/zero"])
def test_strange_folders(tmp_path, link):
    root = write_roads(Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff\n")), count=1, size=(4, 6))
    (root / "training" / "loop").symlink_to(root)
    Path(os.fsdecode(os.fsencode(root / "training/image_2") + b"/x\xff\n\x1b")).touch()
    os.mkfifo(root / "training/image_2/fifo")
    assert len(data.load(root, size=(4, 6))) == 3
    (root / IMAGE).unlink()
    (root / IMAGE).symlink_to(link)
    with pytest.raises(RoadsegError) as error:
        data.load(root, size=(4, 6))
    assert str(error.value).isprintable()
