"""Photos: whatever can be read is read upright, everything else is one line, and the others go on."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg import kitti, models, training
from roadseg.cli import main
from roadseg.errors import DataError, RunError
from roadseg.street import photos


def shades(height: int = 40, width: int = 60) -> np.ndarray:
    """An image whose corners differ."""
    rows, columns = np.indices((height, width))
    return np.stack([rows * 255 // height, columns * 255 // width, 0 * rows + 90], axis=-1).astype(np.uint8)


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "JPEG"), ("a.webp", "WEBP"), ("wrong.txt", "PNG")])
def test_photos_are_turned_as_their_exif_data_say(tmp_path, name, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(shades()).save(tmp_path / name, kind, quality=95, exif=exif)
    found = photos.open_photo(tmp_path / name)
    assert found.dtype == np.uint8 and np.abs(found.astype(int) - np.rot90(shades(), 3)).mean() < 6


def test_a_second_image_inside_a_jpeg_of_a_phone_is_left_alone(tmp_path):
    first, second = Image.fromarray(shades()), Image.fromarray(shades(10, 10))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert photos.open_photo(tmp_path / "a.jpg").shape == (40, 60, 3)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
MOVING = [Image.fromarray(np.roll(shades(), i, 0)) for i in range(3)]
BAD = {
    "text.jpg": lambda path: path.write_text("not an image"),
    "truncated.jpg": lambda path: (NOISE.save(path, "JPEG"), path.write_bytes(path.read_bytes()[:3000])),
    "cmyk.jpg": lambda path: Image.fromarray(shades()).convert("CMYK").save(path),
    "moving.webp": lambda path: MOVING[0].save(path, save_all=True, append_images=MOVING[1:]),
    "gif.png": lambda path: Image.fromarray(shades()).save(path, "GIF"),
    "missing.jpg": lambda path: None,
}


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_network_comes_from_a_run_its_name_or_its_weights(roads, weights, tmp_path):
    run = training.train("simple", "reported", roads, epochs=1, out=tmp_path / "runs", log=lambda line: None)
    for place, which in {run.path: "last", run.path.name: "last", run.path / "best.weights.h5": "best"}.items():
        for one, other in zip(photos.open_network(str(place)).get_weights(), run.model(which).get_weights()):
            np.testing.assert_array_equal(one, other)
    assert photos.open_network(weights).count_params() == 485_817
    standardized = models.unet(weights="scenes")
    standardized.save_weights(tmp_path / "mine.weights.h5")
    image = roads.images[:1].repeat(8, 1).repeat(8, 2)
    predictions = [
        training.predict(one, image) for one in (standardized, photos.open_network(tmp_path / "mine.weights.h5"))
    ]
    np.testing.assert_array_equal(*predictions)
    models.simple_model((32, 32, 3)).save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "text.weights.h5").write_text("no weights")
    for name in ("other.weights.h5", "text.weights.h5", "missing.weights.h5"):
        with pytest.raises(RunError, match=name):
            photos.open_network(tmp_path / name)
    with pytest.raises(RunError, match="no-run"):
        photos.open_network("no-run")


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_a_probability_has_the_size_of_its_photo():
    network = models.simple_model((32, 32, 3))
    for size in ((1, 1), (300, 90)):
        probability = photos.find_road(network, shades(*size))
        assert probability.shape == size and probability.dtype == np.float32
        assert 0 <= probability.min() <= probability.max() <= 1


def test_the_road_is_tinted_and_outlined():
    photo, probability = np.full((100, 100, 3), 100, np.uint8), np.zeros((100, 100), np.float32)
    probability[40:, 30:70] = 0.9
    drawn = photos.draw_road(photo, probability)
    blue = (0, 114, 178)  # #0072B2
    np.testing.assert_array_equal(drawn[10:35, :25], photo[10:35, :25])
    assert tuple(drawn[41, 50]) == tuple(drawn[70, 31]) == blue
    inside = 0.6 * 100 + 0.4 * np.array(blue)
    assert np.abs(drawn[70, 50] - inside).max() <= 1
    np.testing.assert_array_equal(drawn[99, 50], drawn[70, 50])  # no line where the photo ends


# --- the command ------------------------------------------------------------------------------------------------------


def test_predict_writes_what_it_can_and_names_the_rest(weights, tmp_path, capsys):
    folder, out = tmp_path / "mine", tmp_path / "out"
    (folder / "album").mkdir(parents=True)
    (folder / "empty").mkdir()
    for name, make in BAD.items():
        make(folder / name)
    Image.fromarray(shades()).save(folder / "street.JPG")
    Image.fromarray(shades(90, 30)).save(folder / "album" / "street.webp")
    (folder / "notes.txt").write_text("nothing to see")
    (folder / "._street.jpg").write_text("what a Mac leaves beside each file")
    arguments = [str(folder), str(folder / "album"), str(folder / "empty"), str(folder / "missing.jpg")]
    assert main(["predict", str(weights), *arguments, "--out", str(out), "--probability"]) == 1
    printed = capsys.readouterr()
    passed_over, *lines = printed.err.splitlines()
    assert all(name in passed_over for name in ("album", "empty", "notes.txt")) and "street" not in passed_over
    assert len(lines) == len(BAD) + 1 and all(line.startswith("roadseg: error: ") for line in lines)
    assert sorted(Path(line.split(": ")[2]).name for line in lines) == sorted([*BAD, "empty"])
    assert printed.out.startswith("2 ") and str(out) in printed.out
    sizes = {"street": (60, 40), "street_2": (30, 90)}
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}_{ending}" for name in sizes for ending in ("road.jpg", "probability.png")
    )
    for name, size in sizes.items():
        with Image.open(out / f"{name}_road.jpg") as road, Image.open(out / f"{name}_probability.png") as probability:
            assert road.size == probability.size == size and (road.mode, probability.mode) == ("RGB", "L")


def test_test_time_augmentation_gives_other_probabilities(weights, tmp_path):
    Image.fromarray(shades()).save(tmp_path / "street.png")
    found = []
    for option in ([], ["--tta"]):
        out = tmp_path / f"out{len(option)}"
        assert (
            main(["predict", str(weights), str(tmp_path / "street.png"), "--probability", "--out", str(out), *option])
            == 0
        )
        found.append((out / "street_probability.png").read_bytes())
    assert found[0] != found[1]


def test_a_result_that_cannot_be_written_is_one_line(weights, tmp_path, capsys):
    files = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for file in files:
        Image.fromarray(shades()).save(file)
    (tmp_path / "out" / "a_road.jpg" / "full").mkdir(parents=True)
    for out, code in ((tmp_path / "out", 1), (tmp_path / "a.png" / "out", 2)):
        assert main(["predict", str(weights), *files, "--out", str(out)]) == code
        assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "out" / "b_road.jpg").is_file()


def test_no_photo_is_overwritten_by_a_result(weights, tmp_path, capsys):
    for name in ("street.jpg", "street_road.png", "other.jpg"):
        Image.fromarray(shades()).save(tmp_path / name)
    before = (tmp_path / "street_road.png").read_bytes()
    assert main(["predict", str(weights), str(tmp_path), "/", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("street.jpg") == 1
    assert (tmp_path / "street_road.png").read_bytes() == before and not (tmp_path / "street_road.jpg").exists()
    assert (tmp_path / "other_road.jpg").is_file()


def test_a_photo_that_is_too_large_is_told_as_that(tmp_path, monkeypatch):
    Image.new("L", (300, 300)).save(tmp_path / "huge.png")
    monkeypatch.setattr(kitti, "LARGEST_IMAGE", 40_000)
    for pixels in (10_000, 50_000):  # with Pillow's error, and with its warning
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
        caught = pytest.raises(DataError, match=r"huge\.png.*at most")
        with warnings.catch_warnings(record=True, action="always") as seen, caught:
            photos.open_photo(tmp_path / "huge.png")
        assert seen == []
