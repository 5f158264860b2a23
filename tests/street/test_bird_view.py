"""The view from above against geometry by hand: a flat road, and cameras that stand level, look down, or are turned."""

import math
from pathlib import Path

import numpy as np
import pytest

from roadseg.errors import DataError
from roadseg.street.bird_view import SIZE, from_above, read_calibration

FOCAL, MIDDLE, HORIZON, HEIGHT = 700.0, 600.0, 170.0, 1.6  # pixels, and meters above the road
SHAPE = (370, 1200)


def calibration(*, projection=None, rectify=None, to_road=None) -> str:
    """The text of a file, by default of a camera that stands level at HEIGHT; other lines are left alone."""
    matrices = {
        "P0": np.zeros((3, 4)),
        "P2": [[FOCAL, 0, MIDDLE, 0], [0, FOCAL, HORIZON, 0], [0, 0, 1, 0]] if projection is None else projection,
        "R0_rect": np.eye(3) if rectify is None else rectify,
        "Tr_cam_to_road": [[1, 0, 0, 0], [0, 1, 0, -HEIGHT], [0, 0, 1, 0]] if to_road is None else to_road,
    }
    return "\n".join(f"{name}: {' '.join(map(str, np.ravel(matrix)))}" for name, matrix in matrices.items()) + "\n\n"


def written(folder: Path, text: str) -> np.ndarray:
    """What is read of a calibration file with this text."""
    (folder / "calibration.txt").write_text(text)
    return read_calibration(folder / "calibration.txt")


def coordinates() -> np.ndarray:
    """An image (H, W, 2) in which each pixel says its row and column, counted from 1: 0 is outside."""
    return np.moveaxis(np.indices(SHAPE), 0, -1) + 1


def meters(row: int, column: int) -> tuple[float, float]:
    """Where the center of a cell lies: meters to the right and ahead."""
    return -10 + 0.05 * (column + 0.5), 46 - 0.05 * (row + 0.5)


def test_each_cell_takes_the_pixel_that_its_center_is_projected_to(tmp_path):
    view = from_above(coordinates(), written(tmp_path, calibration()))
    assert view.shape == (*SIZE, 2) == (800, 400, 2)
    for cell, pixel in (  # counted from 1, so that the development kit's row is this minus 1
        # 0.025 m right, 6.025 m ahead: 170 + 1120 / 6.025 = 355.9, 600 + 17.5 / 6.025 = 602.9
        ((799, 200), (355, 602)),
        ((0, 0), (194, 448)),  # 9.975 m left: 600 - 6982.5 / 45.975 = 448.1
        ((400, 399), (213, 868)),  # 9.975 m right, 25.975 m ahead: 213.1, 868.8
        ((799, 0), (0, 0)),  # 9.975 m left, 6.025 m ahead: column -559, which the camera does not see
    ):
        assert tuple(view[cell]) == pixel


def test_a_camera_that_looks_down(tmp_path):
    """By the axes of the camera: its depth grows with how far a point lies below and ahead."""
    pitch = 0.05
    cos, sin = math.cos(pitch), math.sin(pitch)
    to_road = [[1, 0, 0, 0.2], [0, cos, sin, -HEIGHT], [0, -sin, cos, 0.5]]
    view = from_above(coordinates(), written(tmp_path, calibration(to_road=to_road)))
    for cell in ((10, 200), (300, 180), (600, 230), (760, 205)):
        x, z = meters(*cell)
        depth = (z - 0.5) * cos + HEIGHT * sin
        u = MIDDLE + FOCAL * (x - 0.2) / depth
        v = HORIZON + FOCAL * (HEIGHT * cos - (z - 0.5) * sin) / depth
        assert tuple(view[cell]) == (math.floor(v), math.floor(u))


def test_the_second_camera_and_its_rectification(tmp_path):
    """A camera 0.3 m further left sees everything further right; turned before rectification, it sees the same."""
    projection = [[FOCAL, 0, MIDDLE, FOCAL * 0.3], [0, FOCAL, HORIZON, 0], [0, 0, 1, 0]]
    beside = written(tmp_path, calibration(projection=projection))
    x, z = meters(500, 220)
    u, v = MIDDLE + FOCAL * (x + 0.3) / z, HORIZON + FOCAL * HEIGHT / z
    assert tuple(from_above(coordinates(), beside)[500, 220]) == (math.floor(v), math.floor(u))
    turned = np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]])
    to_road = np.column_stack([turned, [0, -HEIGHT, 0]])
    text = calibration(projection=projection, rectify=turned, to_road=to_road)
    np.testing.assert_allclose(written(tmp_path, text), beside, atol=1e-9)


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        calibration().replace("R0_rect", "R_rect"),
        calibration().replace("700.0", "seven", 1),
        calibration().replace("700.0", "nan", 1),
        calibration().replace("-1.6", "-1.6 0.0"),
        calibration(to_road=np.zeros((3, 4))),  # singular
    ],
)
def test_a_damaged_or_missing_file_is_named(tmp_path, damaged):
    path = tmp_path / "um_000000.txt"
    if damaged:
        path.write_text(damaged)
    with pytest.raises(DataError, match="um_000000"):
        read_calibration(path)
