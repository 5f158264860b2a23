"""Calibration of rendered scenes, and a drive: what is known of the camera agrees with what is drawn."""

from pathlib import Path

import numpy as np
import pytest

from roadseg import kitti, scenes
from roadseg.errors import OptionError
from roadseg.scenes import driving
from roadseg.scenes.planting import plant_sides
from roadseg.scenes.rendering import make_generator, set_scene
from roadseg.street.bird_view import ACROSS, AHEAD, CELL, from_above, read_calibration


def matrix_of(folder: Path, text: str) -> np.ndarray:
    """What is read of a calibration file with this text."""
    (folder / "calibration.txt").write_text(text)
    return read_calibration(folder / "calibration.txt")


ROWS = slice(500, 780)  # 7 to 21 meters ahead, where hills hardly matter


def test_the_calibration_puts_the_road_where_the_street_has_it(tmp_path):
    street, camera, _ = set_scene("umm", 5, 0)
    scene = scenes.render("umm", 5)
    mask, valid = kitti.decode_label(from_above(scene.label, matrix_of(tmp_path, scene.calibration)))
    z = AHEAD[1] - CELL * (np.arange(len(mask)) + 0.5)
    x = ACROSS[0] + CELL * (np.arange(mask.shape[1]) + 0.5)
    lateral = x[None, :] - camera.line(z)[:, None]
    inside = (lateral > street.left) & (lateral < street.right)
    certain = np.minimum(abs(lateral - street.left), abs(lateral - street.right)) > 0.3  # meters
    beside = valid & certain
    assert mask[ROWS][(beside & inside)[ROWS]].mean() > 0.8  # the rest is hidden by cars
    assert mask[ROWS][(beside & ~inside)[ROWS]].mean() < 0.02  # this street has no junction


def test_the_calibration_agrees_with_the_camera(tmp_path):
    _, camera, _ = set_scene("uu", 3, 7)
    points = np.array([[0, 0, 6], [-5, 0, 10], [4, 0, 40]], float)
    u, v, depth = matrix_of(tmp_path, camera.calibration()) @ [*points[:, [0, 2]].T, np.ones(3)]
    pixels = np.stack([u, v], axis=1) / depth[:, None]
    np.testing.assert_allclose(pixels, camera.project(points) - 0.5)  # the middle of the first pixel is 0, or 0.5


@pytest.fixture(scope="module")
def begun() -> list[scenes.Scene]:
    """The first two scenes of a drive."""
    return list(scenes.drive("um", 0, seed=2, seconds=0.2))


def test_the_ground_moves_a_meter_a_frame(begun, tmp_path):
    """From above, the second image fits the first one best where that is moved by as many cells."""
    matrix = matrix_of(tmp_path, begun[0].calibration)
    lane = np.s_[600:780, 120:280]  # 7 to 16 meters ahead
    views = [from_above(scene.image, matrix).mean(axis=2) for scene in begun]

    def fit(shift: int) -> float:
        details = [view[8:] - view[:-8] for view in (np.roll(views[0], shift, axis=0)[lane], views[1][lane])]
        return np.corrcoef(*(detail.ravel() for detail in details))[0, 1]

    fits = {shift: fit(shift) for shift in (0, 10, 20, 30, 40)}
    assert driving.SPEED / driving.RATE / CELL == 20
    assert max(fits, key=fits.get) == 20 and fits[20] > 0.4


def test_what_stands_beside_the_street_comes_closer_along_it():
    street, camera, _ = set_scene("um", 0, 1)
    first, second = (plant_sides(street, camera, make_generator(3), travel=travel) for travel in (0.0, 7.0))
    (x, _, z), (x_later, _, z_later) = (np.array([thing.foot for thing in found]).T for found in (first, second))
    np.testing.assert_allclose(z_later, z - 7)
    np.testing.assert_allclose(x_later - camera.line(z_later), x - camera.line(z))


def test_a_drive_is_the_same_each_time_and_another_for_each_seed(begun):
    (again,), (other,) = (scenes.drive("um", 0, seed=seed, seconds=0.1) for seed in (2, 1))
    assert (begun[0].image == again.image).all() and (begun[0].image != other.image).any()


@pytest.mark.parametrize("wrong", [{"category": "umx"}, {"seconds": 0}])
def test_bad_options_are_named(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        next(scenes.drive(**wrong))
