"""The weights that ship: whole, small, better than any baseline, and a place to start from."""

import hashlib

import numpy as np
import pytest

from roadseg import baselines, data, metrics, models, recipes, runs, scenes, training
from roadseg.cli import main
from roadseg.errors import DataError, OptionError

FILE = models.WEIGHTS / "scenes.npz"
CARD = models.read_card("scenes")


@pytest.fixture(scope="module")
def network():
    return models.unet(weights="scenes")


@pytest.fixture(scope="module")
def unseen() -> data.RoadData:
    """Scenes of streets that the weights have not been trained on, of another seed."""
    found = [scenes.render(kind, index, seed=77) for kind in scenes.CATEGORIES for index in (0, 4)]
    images = np.stack([data.resize(scene.image, (256, 256), data.Image.Resampling.BILINEAR) for scene in found])
    labels = np.stack([data.resize(scene.label, (256, 256), data.Image.Resampling.NEAREST) for scene in found])
    masks, valid = labels[..., 2] > 0, labels[..., 0] > 0
    return data.RoadData(images, masks, valid, tuple(f"um_{i:06d}" for i in range(len(found))), "scenes", "unseen")


def max_f(probability, roads) -> float:
    return metrics.threshold_sweep(probability, roads.masks, roads.valid).max_f1


def test_the_file_is_small_and_what_the_card_says(network):
    assert FILE.stat().st_size <= 2.2e6 and CARD["parameters"] == network.count_params() == 485_817
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == CARD["sha256"]


@pytest.mark.slow
def test_better_than_the_best_baseline_on_streets_not_seen_before(network, unseen):
    # fitted on these very images
    fitted = [fit(unseen.images, unseen.masks)(unseen.images) for fit in baselines.BASELINES.values()]
    assert max_f(training.predict(network, unseen.images), unseen) > 0.05 + max(max_f(each, unseen) for each in fitted)


@pytest.mark.long
def test_as_good_on_real_images_as_the_card_says(network, kitti_folder):
    real = data.load(kitti_folder / "half")
    augmented = models.with_test_time_augmentation(network)
    for model, name in ((network, "real images"), (augmented, "real images with test-time augmentation")):
        assert max_f(training.predict(model, real.images), real) > CARD[name]["all"] - 0.01


def test_a_tampered_file_is_refused(tmp_path, monkeypatch):
    content = bytearray(FILE.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "scenes.npz").write_bytes(content)
    (tmp_path / "scenes.json").write_bytes(FILE.with_suffix(".json").read_bytes())
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    with pytest.raises(DataError, match=r"scenes\.npz"):
        models.unet(weights="scenes")
    (tmp_path / "scenes.npz").unlink()
    with pytest.raises(DataError, match=r"scenes\.npz"):
        models.unet(weights="scenes")


@pytest.mark.parametrize("options", [{"weights": "../x"}, {"classes": 4}, {"skip_connections": False}])
def test_weights_that_are_unknown_or_do_not_fit(options):
    with pytest.raises(OptionError, match="scenes"):
        models.unet(**{"weights": "scenes", **options})


def test_a_recipe_starts_from_them_only_where_they_fit(roads, tmp_path):
    recipe = recipes.get_recipe("fast", name="own", epochs=1, start="scenes", standardize=False)
    with pytest.raises(OptionError, match="scenes"):
        training.train("unet", recipe, roads, out=tmp_path)


def test_a_run_that_starts_from_other_weights_is_another_run(roads, monkeypatch):
    def stop(settings, *, out):
        raise LookupError(runs.key(settings))

    monkeypatch.setattr(runs, "find", stop)
    keys = set()
    for card in ({"sha256": "one"}, {"sha256": "other"}):
        monkeypatch.setattr(models, "read_card", {"scenes": card}.get)
        with pytest.raises(LookupError) as found:
            training.train("unet", "transfer", roads)
        keys.add(str(found.value))
    assert len(keys) == 2


def test_photos_need_no_run(tmp_path):
    data.Image.fromarray(scenes.render("um", 0).image).save(tmp_path / "a.png")
    assert main(["predict", "scenes", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "a_road.jpg").is_file()
