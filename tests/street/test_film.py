"""Films: videos through imageio-ffmpeg, where it is installed, and animated GIFs."""

import gc
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from roadseg.cli import main
from roadseg.errors import DataError
from roadseg.street import film

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # imageio-ffmpeg leaves its pipes open
needs_ffmpeg = pytest.mark.skipif(find_spec("imageio_ffmpeg") is None, reason="imageio-ffmpeg is not installed")


@pytest.fixture(autouse=True, scope="module")
def collected_pipes():
    """No other file meets the warnings about these pipes."""
    yield
    gc.collect()


def moving(count: int = 12, size: tuple[int, int] = (41, 61)) -> list[np.ndarray]:
    """A gradient that moves to the right."""
    gradient = np.linspace(0, 255, size[1]).astype(np.uint8)[None, :, None].repeat(size[0], 0).repeat(3, 2)
    return [np.roll(gradient, 3 * i, axis=1) for i in range(count)]


@needs_ffmpeg
def test_a_video_is_written_and_read_again(tmp_path):
    film.write_film(tmp_path / "a.mp4", iter(moving()), rate=6)
    rate, frames = film.read_video(tmp_path / "a.mp4")
    frames = list(frames)
    assert rate == 6 and len(frames) == 12 and frames[0].shape == (40, 60, 3)  # an even number of rows and columns
    for frame, original in zip(frames, moving()):
        assert np.abs(frame.astype(int) - original[:40, :60]).mean() < 20
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.slow
@needs_ffmpeg
def test_predict_takes_videos(weights, tmp_path, capsys):
    film.write_film(tmp_path / "a.mp4", moving(4, (64, 96)), rate=5)
    (tmp_path / "a.mp4").rename(tmp_path / "a.MOV")
    (tmp_path / "text.mp4").write_text("no video")
    files = [str(tmp_path / name) for name in ("text.mp4", "a.MOV", "missing.avi")]
    for option, name in ((), "a_road.mp4"), (("--gif",), "a_road.gif"):
        assert main(["predict", str(weights), *files, "--out", str(tmp_path / "out"), *option]) == 1
        printed = capsys.readouterr()
        assert printed.out.startswith("4 ") and printed.err.count("\n") == 2
        assert (tmp_path / "out" / name).is_file()
    rate, frames = film.read_video(tmp_path / "out" / "a_road.mp4")
    assert rate == 5 and len(list(frames)) == 4


@needs_ffmpeg
def test_a_film_that_fails_half_way_leaves_nothing(tmp_path):
    def frames():
        yield from moving(2)
        raise DataError("the rest is missing")

    for name in ("a.mp4", "a.gif"):
        with pytest.raises(DataError, match="the rest"):
            film.write_film(tmp_path / name, frames(), rate=5)
    assert list(tmp_path.iterdir()) == []


@needs_ffmpeg
@pytest.mark.parametrize("frames", [moving(2), [np.zeros((1, 1, 3), np.uint8)]])
def test_a_film_that_ffmpeg_does_not_finish_is_an_error_and_leaves_the_old_one(tmp_path, monkeypatch, frames):
    def ends_too_soon(*arguments, **options):
        yield
        yield

    if len(frames) > 1:  # as on a full disk; ffmpeg itself refuses the other
        monkeypatch.setattr("imageio_ffmpeg.write_frames", ends_too_soon)
        frames = frames[:1]
    (tmp_path / "a.mp4").write_text("old")
    with pytest.raises(DataError, match="ffmpeg could not write"):
        film.write_film(tmp_path / "a.mp4", frames, rate=5)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_videos_without_ffmpeg_are_one_line(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (tmp_path / "a.mp4").write_bytes(b"anything")
    Image.new("RGB", (30, 20)).save(tmp_path / "b.png")
    files = [str(tmp_path / name) for name in ("a.mp4", "b.png")]
    assert main(["predict", str(weights), *files, "--out", str(tmp_path / "out")]) == 1
    assert "pip install imageio-ffmpeg" in capsys.readouterr().err
    assert (tmp_path / "out" / "b_road.jpg").is_file()


def test_a_gif_is_made_smaller_until_it_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "LARGEST_GIF", 60_000)
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 255, (47, 155, 3), np.uint8) for _ in range(6)]
    film.write_film(tmp_path / "a.gif", frames, rate=10)  # every second one
    assert (tmp_path / "a.gif").stat().st_size <= 60_000
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.info["duration"] == 200 and gif.info["loop"] == 0
        assert gif.width in film.GIF_WIDTHS[1:] and gif.height == round(gif.width * 47 / 155)


@pytest.mark.parametrize(("rate", "count", "duration"), [(1, 10, 1000), (12, 60, 170), (0.03, 1, 33330)])
def test_a_gif_plays_as_fast_as_its_film_and_draws_only_what_it_shows(tmp_path, rate, count, duration):
    drawn = []
    film.write_film(tmp_path / "a.gif", moving(150, (8, 16)), rate=rate, draw=lambda frame: drawn.append(1) or frame)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.info["duration"] == duration
    assert len(drawn) == count


def test_a_gif_has_colors_for_each_of_its_frames(tmp_path):
    film.write_film(tmp_path / "a.gif", [np.full((8, 16, 3), level, np.uint8) for level in (0, 100, 200)], rate=5)
    with Image.open(tmp_path / "a.gif") as gif:
        found = [gif.convert("L").getpixel((0, 0)) for frame in range(3) if gif.seek(frame) is None]
    assert found == pytest.approx([0, 100, 200], abs=2)


def test_a_folder_of_that_name_is_told_before_anything_is_drawn(tmp_path):
    (tmp_path / "a.gif").mkdir()
    with pytest.raises(DataError, match=r"a\.gif"):
        film.write_film(tmp_path / "a.gif", moving(), rate=5, draw=lambda frame: pytest.fail("drawn"))


@pytest.mark.slow
def test_a_drive_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("roadseg.cli.data.DRIVE_SECONDS", 0.3)
    assert main(["data", "--drive", str(tmp_path / "drive.gif"), "--seed", "1"]) == 0
    with Image.open(tmp_path / "drive.gif") as gif:
        assert gif.n_frames == 2
    capsys.readouterr()
    assert main(["data", "--drive", str(tmp_path / "drive.txt")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
