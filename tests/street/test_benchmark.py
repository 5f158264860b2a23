"""The benchmark's own view: scores against sums by hand, and the zip for its server."""

import io
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from roadseg import data, kitti, plots
from roadseg.backend import tf
from roadseg.cli import main
from roadseg.errors import DataError
from roadseg.street import benchmark, photos

SIZES = {"um_000000": (94, 311), "umm_000003": (96, 312), "uu_000001": (90, 300)}
CAMERA = """
P2: 180 0 155 0 0 180 42 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_cam_to_road: 1 0 0 0 0 1 0 -1.65 0 0 1 0
"""


class RedIsRoad:
    """A network that takes the red channel for the probability of road."""

    input_shape = (None, 48, 156, 3)

    def __call__(self, images, training):
        return tf.constant(images[..., :1])


def ground(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Meters right and ahead of the ground that each pixel shows, for the cells that take it."""
    rows, columns = np.indices(size)
    with np.errstate(divide="ignore"):
        z = np.where(rows + 1.5 > 42, 180 * 1.65 / (rows + 1.5 - 42), np.inf)
    return (columns + 1.5 - 155) / 180 * np.where(np.isfinite(z), z, 1e9), z


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three images whose road is 8 m wide, and whose red says 1.0 in its middle 4 m and 0.2 elsewhere."""
    root = tmp_path / "data_road"
    for part in ("image_2", "gt_image_2", "calib"):
        (root / "training" / part).mkdir(parents=True)
    for name, size in SIZES.items():
        x, _ = ground(size)
        category, number = name.split("_")
        image = np.where((abs(x) < 2)[..., None], [255, 0, 0], [51, 0, 0]).astype(np.uint8)
        label = np.where((abs(x) < 4)[..., None], [255, 0, 255], [255, 0, 0]).astype(np.uint8)
        label[:20] = 0
        Image.fromarray(image).save(root / f"training/image_2/{name}.png")
        Image.fromarray(label).save(root / f"training/gt_image_2/{category}_road_{number}.png")
        (root / f"training/calib/{name}.txt").write_text(CAMERA)
    return root


@pytest.fixture
def run() -> SimpleNamespace:
    settings = {"data": "other", "size": [94, 311]}
    return SimpleNamespace(model=RedIsRoad, settings=settings, validation_names=(), path=Path("run"))


def test_scores_from_above(folder, run):
    """At a low threshold all of the 20 m are road, of which 8 are; at a high one the middle 4 m are."""
    roads = data.load(folder, size=(94, 311), cache=False)
    scores = benchmark.evaluate_bird_view(run, roads, folder, images="all")
    assert scores.keys() == {"um", "umm", "uu", "all"}
    for row in scores.values():
        assert row["precision"] == pytest.approx(1, abs=0.02)
        assert row["recall"] == pytest.approx(0.5, abs=0.02)
    row = scores["um"]  # which is not resized, so that nothing lies between 0.2 and 1
    found = [row[name] for name in ("max_f", "pre", "rec", "fpr", "fnr")]
    assert found == pytest.approx([2 / 3, 1, 0.5, 0, 0.5], abs=0.02)
    # recalls 0 to 0.5 at precision 1; 0.6 to 1 at the road's part of what the camera sees, |x| < 155 / 180 z
    nearest = 10 * 180 / 155  # meters ahead where it sees all 20 m
    seen = 20 * 40 - 2 * (10 * (nearest - 6) - 155 / 180 * (nearest**2 - 6**2) / 2)
    assert row["average_precision"] == pytest.approx((6 + 5 * (8 * 40) / seen) / 11, abs=0.02)


def test_both_views_of_one_prediction(folder):
    (frame,) = [frame for frame in kitti.list_frames(folder) if frame.name == "umm_000003"]
    camera, above = benchmark.look(folder, frame, np.full((8, 8), 0.25, np.float32))
    assert camera.image.shape == (96, 312, 3) and above.image.shape == (800, 400, 3)
    assert set(np.unique(above.probability)) == {0, 64} and set(np.unique(camera.probability)) == {64}
    assert not above.valid[above.probability == 0].any()  # what the camera does not see does not count
    eight_bits = benchmark.look(folder, frame, np.full((8, 8), 64, np.uint8))[1]
    np.testing.assert_array_equal(eight_bits.probability, above.probability)
    figure = benchmark.draw_views(camera, above)
    assert len(figure.axes) == 2 and plots.encoded(figure).startswith(b"\x89PNG")
    assert "F1 0." in figure.get_label()


# --- the zip ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def testing(folder, monkeypatch) -> Path:
    """The folder with the same three as test images."""
    assert not (folder / "testing").exists()
    for part in ("image_2", "calib"):
        (folder / "testing").mkdir(exist_ok=True)
        (folder / "training" / part).rename(folder / "testing" / part)
    (folder / "training/image_2").mkdir()
    monkeypatch.setattr(benchmark, "test_names", lambda: list(SIZES))
    return folder


def test_the_command_writes_a_zip_of_views_from_above(testing, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(photos, "open_network", lambda place: RedIsRoad())
    path = tmp_path / "results.zip"
    assert main(["submit", "a-run", "--data", str(testing), "--out", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    with zipfile.ZipFile(path) as zipped:
        assert zipped.namelist() == ["um_road_000000.png", "umm_road_000003.png", "uu_road_000001.png"]
        with Image.open(io.BytesIO(zipped.read("um_road_000000.png"))) as image:
            assert (image.mode, image.size) == ("L", (400, 800))
            view = np.asarray(image)
    middle, side, unseen = view[600, 200], view[600, 300], view[799, 0]
    assert (middle, side, unseen) == (255, 51, 0)


def test_test_time_augmentation_gives_other_results(testing, tmp_path):
    zips = [tmp_path / name for name in ("alone.zip", "averaged.zip")]
    for path, option in zip(zips, ([], ["--tta"])):
        assert main(["submit", "scenes", "--data", str(testing), "--out", str(path), *option]) == 0
    assert zips[0].read_bytes() != zips[1].read_bytes()


def test_a_zip_that_the_server_would_refuse_is_an_error(testing, tmp_path):
    path = tmp_path / "results.zip"
    benchmark.write_submission(RedIsRoad(), testing, path)
    benchmark.check_submission(path)
    with zipfile.ZipFile(path) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    color = io.BytesIO()
    Image.new("RGB", (400, 800)).save(color, "PNG")
    first = next(iter(members))
    for changed in (members | {"more.png": b""}, dict([*members.items()][1:]), members | {first: color.getvalue()}):
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in changed.items():
                zipped.writestr(name, content)
        with pytest.raises(DataError, match="expected"):
            benchmark.check_submission(path)


def test_a_missing_test_image_is_named(testing, tmp_path):
    (testing / "testing/image_2/uu_000001.png").unlink()
    with pytest.raises(DataError, match="uu_000001"):
        benchmark.write_submission(RedIsRoad(), testing, tmp_path / "results.zip")
    assert not (tmp_path / "results.zip").exists()
