"""What the experiments need besides the runs: smaller pictures, four classes, thin lines, and measures by hand."""

import numpy as np
import pytest

from roadseg.errors import DataError, OptionError
from roadseg.scenes import rendering as scenes
from roadseg.workbook import analysis as evidence


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Three scenes on the disk."""
    return scenes.write(tmp_path_factory.mktemp("rendered") / "scenes", counts={"um": 1, "umm": 1, "uu": 1}, workers=1)


def test_four_classes_are_the_renderers_own(rendered):
    scene = scenes.render("umm", 0)
    found = evidence.four_classes(scene.classes.shape, root=rendered)
    assert found.names == ("um_000000", "umm_000000", "uu_000000") and len(found) == 3
    np.testing.assert_array_equal(found.classes[1], scene.classes)
    np.testing.assert_array_equal(found.images[1], scene.image)
    assert evidence.NAMES[1] == "ROAD"


def test_four_classes_are_never_mixed_by_resizing(rendered):
    found = evidence.four_classes((32, 48), root=rendered)
    assert found.images.shape == (3, 32, 48, 3) and found.classes.shape == (3, 32, 48)
    assert set(np.unique(found.classes)) <= set(range(len(evidence.NAMES)))


def test_a_folder_without_classes_is_told(tmp_path):
    with pytest.raises(DataError, match="training/classes_2"):
        evidence.four_classes(root=tmp_path)


def test_shrunk_averages_images_and_picks_labels(roads):
    small = evidence.shrunk(roads, 4)
    assert small.size == (8, 8) and small.names == roads.names and small.road.dtype == bool
    assert small.images[3, 2, 5].tolist() == np.rint(roads.images[3, 8:12, 20:24].mean((0, 1))).tolist()
    np.testing.assert_array_equal(small.road, roads.road[:, 2::4, 2::4])
    np.testing.assert_array_equal(small.evaluated, roads.evaluated[:, 2::4, 2::4])
    assert small.fingerprint != roads.fingerprint  # or runs on small pictures would be taken for those on large ones


@pytest.mark.parametrize("factor", [0, 3])
def test_shrunk_needs_a_factor_that_divides(roads, factor):
    with pytest.raises(OptionError, match="divides 32 and 32"):
        evidence.shrunk(roads, factor)


def test_thin_lines_are_thin_bright_and_repeatable():
    images, masks = evidence.thin_lines(20, size=32)
    assert images.shape == (20, 32, 32, 3) and masks.shape == (20, 32, 32, 1)
    assert images.dtype == masks.dtype == np.float32 and images.min() >= 0 and images.max() <= 1
    assert 0.03 < masks.mean() < evidence.LINES / 32 and set(np.unique(masks)) == {0, 1}
    bright = images.mean(-1, keepdims=True)
    assert bright[masks == 1].mean() > bright[masks == 0].mean() + 0.3
    np.testing.assert_array_equal(images, evidence.thin_lines(20, size=32)[0])
    assert not np.array_equal(masks, evidence.thin_lines(20, size=32, seed=1)[1])


def test_standing_counts_the_steps_before_accuracy_leaves():
    accuracy = np.repeat([0.5, 0.8, 0.95], [10, 60, 30])
    assert evidence.standing(accuracy, 0.8, window=10) == 72  # the second step above: 0.8 + 2 x 0.015
    assert evidence.standing(accuracy[:70], 0.8, window=10) == 70  # never


def test_distance_to_edge_counts_from_both_sides():
    road = np.zeros((1, 7, 9), bool)
    road[0, 3:, 2:] = True  # touches the picture's own border, which is no edge
    distance = evidence.distance_to_edge(road, most=4)
    assert distance[0, 5].tolist() == [2, 1, 1, 2, 3, 3, 3, 3, 3]
    assert distance[0, :, 8].tolist() == [3, 2, 1, 1, 2, 3, 4]
    assert (evidence.distance_to_edge(np.ones((1, 5, 5), bool), most=4) == 4).all()


def test_on_grid_takes_the_majority_of_each_cell():
    mask = np.array([[[1, 1, 0, 0], [1, 0, 0, 1]]], bool)
    assert evidence.on_grid(mask, 2).tolist() == [[[True, True, False, False]] * 2]
    np.testing.assert_array_equal(evidence.on_grid(mask, 1), mask)


def test_clearest_finds_the_map_that_knows_and_turns_it():
    rng = np.random.default_rng(0)
    road = rng.random((8, 8)) < 0.4
    share = road.reshape(4, 2, 4, 2).mean((1, 3))
    features = np.stack([np.zeros((4, 4)), rng.random((4, 4)), 5 - 2 * share], axis=-1)  # dead, chance, turned round
    found, agreement = evidence.clearest(features, road)
    assert agreement == pytest.approx(1)
    assert np.corrcoef(found.ravel(), share.ravel())[0, 1] == pytest.approx(1)
    assert evidence.clearest(features[..., :1], road)[1] == 0


def test_confusion_has_the_truth_in_rows():
    matrix = evidence.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_blur_lowers_sharpness():
    sharp = np.zeros((1, 4, 4, 1))
    sharp[:, :, 2:] = 1
    assert evidence.sharpness(sharp) == pytest.approx(1 / 3)
    soft = np.broadcast_to(np.linspace(0, 0.5, 4)[:, None], (1, 4, 4, 1))
    assert evidence.sharpness(soft) < evidence.sharpness(sharp)
