"""One rendered scene: the same for the same seed, as KITTI's in what can be counted, and as hard as it should be."""

import hashlib

import numpy as np
import pytest

from roadseg import scenes
from roadseg.errors import OptionError
from roadseg.scenes.street import draw_camera, draw_junction, draw_lanes, draw_light, draw_street

ROAD = scenes.CLASSES.index("road")


@pytest.fixture(scope="module")
def sample() -> list[scenes.Scene]:
    """Eight scenes of each category, each from another street, as far apart as KITTI's numbers allow."""
    return [scenes.render(category, index) for category in scenes.CATEGORIES for index in range(0, 96, 12)]


def by_category(sample):
    return zip(scenes.CATEGORIES, (sample[start : start + 8] for start in (0, 8, 16)), strict=True)


def road(scene):
    return scene.label[..., 2] > 0


def draw_often(draw, count=300) -> list:
    """What a function draws, again and again."""
    rng = np.random.default_rng(0)
    return [draw(rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("category", "index", "variety", "expected"),
    [("um", 0, False, "6ec4b62a1613f977"), ("umm", 5, False, "24bdd8a4c3478fbc"), ("uu", 3, True, "bfee22e4d8bbc977")],
)
def test_the_renderer_draws_what_it_drew(category, index, variety, expected):
    """The pixels of version 2: whoever changes them raises the version, and everybody's scenes are rendered again."""
    scene, digest = scenes.render(category, index, variety=variety), hashlib.sha256()
    assert scene.image.shape == scene.label.shape == (188, 621, 3) and scene.classes.shape == (188, 621)
    for part in (scene.image, scene.label, scene.classes):
        assert part.dtype == np.uint8
        digest.update(part.tobytes())
    assert scenes.VERSION == 2 and digest.hexdigest()[:16] == expected


def test_other_seeds_and_indices_differ():
    one, *others = (scenes.render("uu", index, seed=seed).image.astype(int) for index, seed in ((0, 0), (0, 1), (1, 0)))
    assert all(np.abs(one - other).mean() > 8 for other in others)


@pytest.mark.parametrize(("option", "value"), [("category", "umx"), ("index", -1), ("seed", True), ("seed", "7")])
def test_bad_options_are_named(option, value):
    with pytest.raises(OptionError, match=rf"{option}.*{value!r}"):
        scenes.render(**{"category": "um", "index": 0, "seed": 0} | {option: value})


# --- like KITTI: what a change of the pixels above has to keep --------------------------------------------------------


@pytest.mark.long
def test_classes_agree_with_labels(sample):
    assert set(np.unique([scene.classes for scene in sample])) == set(range(len(scenes.CLASSES)))
    for scene in sample:
        valid = scene.label[..., 0] > 0
        np.testing.assert_array_equal((scene.classes == ROAD)[valid], road(scene)[valid])


@pytest.mark.long
def test_fractions_are_those_of_kitti(sample):
    """KITTI excludes 1.3 % of all pixels, and none in half of its images; 0.161 of the pixels are road in um, 0.236 in
    umm, 0.134 in uu. Its labels begin between rows 85 and 100 of 188, and reach down to the last few rows."""
    excluded = [(scene.label.max(axis=2) == 0).mean() for scene in sample]
    assert 0.005 < np.mean(excluded) < 0.025 and min(excluded) == 0
    fraction = {name: np.mean([road(scene) for scene in some]) for name, some in by_category(sample)}
    assert fraction["umm"] > fraction["um"] > 0.12 and 0.09 < fraction["uu"] < 0.18
    assert 0.14 < np.mean(list(fraction.values())) < 0.21
    rows = [np.flatnonzero(road(scene).any(axis=1)) for scene in sample]
    assert all(75 <= row[0] <= 115 and 183 <= row[-1] < 187 for row in rows)
    assert 86 <= np.median([row[0] for row in rows]) <= 100


def test_categories_differ_in_lines():
    lines = {name: [len(draw_lanes(name, rng)[2]) for rng in draw_often(lambda rng: rng)] for name in scenes.CATEGORIES}
    assert max(lines["uu"]) == 0 and min(lines["um"]) >= 1 and min(lines["umm"]) >= 2
    assert np.mean(lines["umm"]) > np.mean(lines["um"])


def test_streets_differ():
    """Bends to both sides, hills up and down, side roads on both sides, a sun from everywhere, bright and dark."""
    street = draw_street("um", np.random.default_rng(0))
    cameras = draw_often(lambda rng: draw_camera(street, rng))
    bend, crest = (np.array([getattr(camera, name) for camera in cameras]) for name in ("curvature", "crest"))
    assert np.mean(bend > 5e-4) > 0.15 and np.mean(bend < -5e-4) > 0.15  # a radius below two kilometers
    assert np.mean(crest > 1e-4) > 0.05 and np.mean(crest < -2e-4) > 0.15
    junctions = draw_often(draw_junction)
    sides = [junction.side for junction in junctions if junction]
    assert 0.1 < len(sides) / len(junctions) < 0.4 and set(sides) == {-1, 1}
    sun = np.array([light.sun for light in draw_often(draw_light)])
    assert np.abs(sun.mean(axis=0)[[0, 2]]).max() < 0.15 and sun[:, 1].min() > 0.3
    brightness = [street.brightness for street in draw_often(lambda rng: draw_street("um", rng), 30)]
    assert max(brightness) - min(brightness) > 0.1
