"""The bird's-eye view in which the KITTI road benchmark scores: the ground from above, from a camera's calibration.

The view reaches from 10 meters left of the camera to 10 meters right, and from 6 to 46 meters ahead, in cells of 5 x 5
centimeters: (800, 400) cells, the farthest row first. The ground is taken for a plane, and each cell takes one pixel of
the image, or 0 where the camera does not see it. A meter of road counts as much far away as nearby.

A calibration file, ``calib/um_000000.txt`` beside the images, has one matrix a line, its numbers row by row::

    P2: ...              3 x 4, from the rectified reference camera (meters) to pixels of the color image
    R0_rect: ...         3 x 3, from the reference camera to the rectified one
    Tr_cam_to_road: ...  3 x 4, from the reference camera to the road: x right, y down, z ahead, the ground at y = 0

Range, resolution and rounding are those of the benchmark's development kit, so that scores can be compared: a cell
whose center is projected to (u, v) takes the pixel in row floor(v) - 1 and column floor(u) - 1, about one pixel up and
to the left; labels are looked up the same way.
"""

from pathlib import Path

import numpy as np

from roadseg.errors import DataError, explained

ACROSS, AHEAD = (-10, 10), (6, 46)  # meters
CELL = 0.05  # meters
SIZE = (800, 400)  # (height, width) in cells


def read_calibration(path: Path) -> np.ndarray:
    """From the ground to the image: float64 (3, 3), which maps (x, z, 1) in meters to homogeneous pixel coordinates.

    Raises DataError where the file is missing, or a matrix in it is missing or damaged.
    """
    with explained(DataError, path, "unpack data_road.zip again: it holds a calibration file for each image"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        parts = (line.partition(":") for line in lines if line.strip())
        numbers = {name.strip(): np.array(values.split(), np.float64) for name, _, values in parts}
        rectify, to_road = np.eye(4), np.eye(4)
        rectify[:3, :3] = numbers["R0_rect"].reshape(3, 3)
        to_road[:3] = numbers["Tr_cam_to_road"].reshape(3, 4)
        projection = numbers["P2"].reshape(3, 4) @ rectify @ np.linalg.inv(to_road)
        if not np.isfinite(projection).all():
            raise ValueError("not finite")
    except (KeyError, ValueError) as error:  # LinAlgError is a ValueError
        expected = "matrices P2 (3 x 4), R0_rect (3 x 3) and Tr_cam_to_road (3 x 4)"
        raise DataError(
            f"{path}: expected the {expected}, found other lines; replace it by the published file"
        ) from error
    return projection[:, [0, 2, 3]]  # without y, which is 0 on the ground


def from_above(image: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """An image (H, W) or (H, W, channels) as a bird's-eye view (800, 400) or (800, 400, channels) of the same type.

    calibration : for images of this size, as `read_calibration` returns it. Cells outside of the image are 0.
    """
    x = ACROSS[0] + CELL * (np.arange(SIZE[1]) + 0.5)
    z = AHEAD[1] - CELL * (np.arange(SIZE[0]) + 0.5)
    ground = np.stack([*np.meshgrid(x, z), np.ones(SIZE)])
    u, v, depth = np.tensordot(calibration, ground, axes=1)
    column, row = u / depth, v / depth
    seen = (column >= 1) & (column <= image.shape[1]) & (row >= 1) & (row <= image.shape[0])
    view = np.zeros((*SIZE, *image.shape[2:]), image.dtype)
    view[seen] = image[row[seen].astype(int) - 1, column[seen].astype(int) - 1]
    return view
