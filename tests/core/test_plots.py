"""Every figure is drawn, says its numbers in words, leaves the reader's settings alone and can be encoded."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_rgb
from PIL import Image

from roadseg import metrics, plots
from roadseg.training import Progress


def curves(epochs: int, start: float = 0.8) -> dict[str, np.ndarray]:
    """Curves of a run, as `Run.curves` has them."""
    epoch = np.arange(1, epochs + 1)
    names = ("loss", "val_loss", "accuracy", "val_accuracy")
    return {"epoch": epoch, **{name: start + 0.01 * epoch + 0.001 * i for i, name in enumerate(names)}}


def steps(end: float = 0.5) -> dict[str, np.ndarray]:
    """Steps of a run, as `Run.steps` has them, with this accuracy in the last four."""
    return {"step": np.arange(1, 9), "loss": np.arange(8.0), "accuracy": np.r_[np.linspace(0.6, 0.8, 4), [end] * 4]}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Figures of few steps and few dots."""
    monkeypatch.setattr(plots, "STEP_WINDOW", 4)
    for name in ("DOTS", "FILM_DOTS"):
        monkeypatch.setattr(plots, name, 40)


def test_every_figure_says_its_numbers_and_leaves_the_settings_alone(roads):
    before, names = dict(rcParams), roads.names[:2]
    mask, image, square = roads.masks[0], roads.images[0], np.eye(4)
    sweep = metrics.threshold_sweep(0.4 * mask + 0.6 * np.random.default_rng(0).random(mask.shape), mask)
    max_f, ap = f"{sweep.max_f1:.3f}", f"{sweep.average_precision:.3f}"
    stored, seeds = [curves(3, 0.5), curves(3, 0.6)], {"a": [0.6], "b": [0.9, 0.91]}
    figures = {
        names[1]: plots.gallery(roads, [0, 1]),
        "level 2 14 x 14": plots.receptive_fields(image, {"level 1": 5, "level 2": 14}, center=(3, 20)),
        "mask and its weight": plots.sample(image / 255, mask, roads.valid[0]),
        f"{names[0]}, F1 1.00; {names[1]}, F1 1.00": plots.comparison(roads, names, roads.masks[:2].astype(float)),
        "Streets. Rows: um; columns: given, made": plots.image_rows(
            {"um": {"given": image, "made": square}}, describe="Streets."
        ),
        "mine: loss 0.831, accuracy 0.833; stored: loss 0.531": plots.curves({"mine": curves(3), "stored": stored}),
        "a: loss 5.500; b: loss 5.500": plots.steps({"a": steps(), "b": steps()}, background=0.82, per_epoch=4),
        "a F1 0.500; b F1 nan": plots.bars({"a": {"F1": 0.5}, "b": {}}, columns=["F1"]),
        "road, median 0.25": plots.histograms({"road": np.array([0.1, 0.4]), "rest": np.array([0.9])}),
        f"F1 {max_f} at threshold {sweep.threshold:.2f}, average precision {ap}": plots.thresholds(sweep),
        f"U-Net: MaxF {max_f}, AP {ap}": plots.precision_recall({"U-Net": sweep}),
        "y by x: a from 0.600 to 0.100": plots.lines({"a": [0.6, 0.4, 0.1]}, along=(1, 2, 3), labels="xy"),
        "softmax: ROAD 0.75, CARS 1.00": plots.confusion({"softmax": np.array([[3, 1], [0, 2]])}, ("ROAD", "CARS")),
        "learned: -2, 0.5": plots.copies({"learned": np.array([[-3, 0], [1, 0.5]])}),
        "fast, b: 0.900, 0.910. mark 0.860": plots.spread({"fast": seeds}, unit="MaxF", mark=("mark", 0.86)),
    }
    shown = [cell.images[0].get_array() for cell in figures[f"{names[0]}, F1 1.00; {names[1]}, F1 1.00"].axes[:3]]
    for found, expected in zip(shown, (image, mask, mask)):
        np.testing.assert_array_equal(found, expected)
    for words, figure in figures.items():
        assert words in figure.get_label()
        image = Image.open(io.BytesIO(plots.encoded(figure)))
        assert image.width == round(40 * plots.WIDTH) and image.mode == "P"
        assert image.convert("RGBA").getpixel((0, 0))[3] == 0  # the ground is that of the reader's theme
    assert dict(rcParams) == before


def test_any_number_of_curves_and_series_is_in_the_legend():
    sweep = metrics.threshold_sweep(np.array([0.2, 0.9]), np.array([False, True]))
    named = {str(i): sweep for i in range(8)}
    assert len(plots.precision_recall(named).axes[1].get_legend().get_texts()) == 8
    series = {str(i): {f"series {i}": [0.5]} for i in range(8)}
    assert len(plots.spread(series, unit="MaxF", mark=("mark", 0.5)).legends[0].get_texts()) == 9


def test_error_overlay_has_a_color_for_each_kind_of_error():
    image = np.full((2, 3, 3), 100, np.uint8)
    mask, predicted, valid = np.array([[[1, 1, 0], [0, 1, 0]], [[1, 0, 1], [0, 1, 1]], [[1, 1, 1], [1, 0, 0]]], bool)
    colors = [to_rgb(color) for color in (plots.FOUND, plots.MISSED, plots.FALSE)]
    overlay = plots.error_overlay(image, mask, valid, predicted)
    np.testing.assert_allclose(overlay[0], 0.35 * 100 / 255 + 0.65 * np.array(colors))
    np.testing.assert_allclose(overlay[1], 100 / 255)  # background, then two excluded pixels, stay gray


def test_curves_are_dashed_in_training_and_solid_in_validation():
    loss, _ = plots.curves({"mine": curves(3), "stored": [curves(3, 0.5), curves(3, 0.6)]}).axes
    assert [line.get_linestyle() for line in loss.lines[:6]] == ["--", "-"] * 3
    colors = [line.get_color() for line in loss.lines[:6]]
    assert colors == [plots.COLORS[0]] * 2 + [plots.COLORS[1]] * 4  # all runs of a label share one
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), curves(3)["val_loss"])


def test_each_network_has_one_color_and_no_error_has_it():
    assert plots.colors_of(["KITTI, simple model", "unet, reported"]) == [plots.SIMPLE, plots.UNET]
    colors = plots.colors_of(["U-Net, 1e-3", "U-Net, 1e-4", "a", "b"])
    assert colors[0] == plots.UNET and len(set(colors)) == 4
    assert not {plots.FOUND, plots.MISSED, plots.FALSE} & {plots.UNET, plots.SIMPLE, plots.WITHOUT_SKIPS, *plots.COLORS}


def test_steps_of_a_run_shorter_than_the_window(monkeypatch):
    monkeypatch.setattr(plots, "STEP_WINDOW", 34)
    figure = plots.steps({"a": steps()}, per_epoch=4)
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[2.0, 3.5]]  # the mean of all eight


@pytest.mark.parametrize("ends", [(0.834, 0.818), (0.82, 0.9)])
def test_labels_stay_apart(ends):
    named = {name: steps(end) for name, end in zip(("U-Net at 1e-4", "simple model"), ends)}
    figure = plots.steps(named, background=0.82, per_epoch=4)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[1].texts]
    assert len(boxes) == 3 and not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])


def test_table_formats_numbers():
    rows = {"a": {"x": np.float32(0.12345), "n": 53761, "t": "a|b"}, "b": {"x": float("nan"), "n": None, "t": True}}
    lines = plots.table(rows, columns=("x", "n", "t")).data.splitlines()
    assert lines[1:] == ["|---|---:|---:|---|", r"| a | 0.123 | 53,761 | a\|b |", "| b | – | – | True |"]


@pytest.fixture
def shown(monkeypatch) -> list:
    """What `display` and its handles are given: 0, or which handle it is that is updated; the bundle; the metadata."""
    calls = []

    def display(bundle, *, raw, metadata, display_id):
        calls.append((0, bundle, metadata))
        place = len(calls)
        return SimpleNamespace(update=lambda bundle, *, raw, metadata: calls.append((place, bundle, metadata)))

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("IPython.get_ipython", object)
    return calls


def test_show_gives_alternative_text_and_the_words_below(shown):
    figure = plots.bars({"a <b>": {"F1": 0.5}}, columns=["F1"])
    plots.show(figure, "One score.")
    (_, bundle, metadata), (_, caption, _) = shown
    assert set(bundle) == {"image/png", "text/plain"} and bundle["text/plain"] == "One score."
    assert metadata["image/png"]["alt"] == figure.get_label()
    assert "One score." in caption["text/markdown"] and "a &lt;b&gt; F1 0.500" in caption["text/markdown"]


def test_live_is_one_figure_that_grows(shown, roads):
    callback, names, title = plots.live(roads), roads.names[2:5], "simple, small, seed 0"
    for epoch in range(3):
        prediction = np.zeros((3, 32, 32), np.uint8) if epoch else None
        callback(Progress(title, epoch, 2, curves(epoch), prediction, names, 1.5, 1.5 * (2 - epoch)))
        if not epoch:
            callback(Progress(title, epoch, 2, curves(epoch), prediction, names, 9.0, 75.0, 0.25))
            assert "25%" in shown[-1][1]["text/markdown"] and "1:15" in shown[-1][1]["text/markdown"]
    assert [place for place, _, _ in shown] == [0, 0, 2, 1, 2, 1, 2]  # the figure, and its words
    assert len({bundle["text/plain"] for _, bundle, _ in shown}) == 1  # so that two runs of a notebook compare equal
    (growing,), (last,) = ([entry["alt"] for entry in shown[i][2].values()] for i in (-4, -2))
    assert "epoch 1 of 2" in growing and "0.811" in growing
    assert names[0] in last and "epoch" not in last  # the curves do not stay
    assert "epoch 2, 82.3%" in shown[-1][1]["text/markdown"]


def luminance(color: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(color)]
    return float(np.dot((0.2126, 0.7152, 0.0722), parts)) + 0.05


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])  # of JupyterLab's themes
def test_ink_and_lines_can_be_seen_in_both_themes(ground):
    scores = [color for color, _ in plots.SCORE_LINES.values()]
    for color in (plots.INK, plots.UNET, plots.SIMPLE, plots.WITHOUT_SKIPS, *plots.COLORS, *scores):
        pair = sorted((luminance(color), luminance(ground)))
        assert pair[1] / pair[0] >= 3, color


def test_in_a_script_figures_are_their_words(roads, capsys):
    callback, prediction = plots.live(roads), np.zeros((3, 32, 32), np.uint8)
    for fraction in (0.0, 0.5):
        callback(Progress("simple, small, seed 0", 1, 2, curves(1), prediction, roads.names[2:5], 1.5, 1.5, fraction))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_film_has_all_figures_and_keeps_rare_colors(shown, roads):
    frames = []
    for i in range(3):
        wrong = plots.error_overlay(roads.images[i], roads.masks[i], roads.valid[i], ~roads.masks[i])
        frames.append(plots.image_rows({f"{i}": {"errors": wrong}}, describe="Errors."))
    plots.play(frames, "A film.", pause=0.5)
    image = Image.open(io.BytesIO(shown[0][1]["image/png"]))
    assert image.n_frames == 3 and image.info["duration"] == 500
    legend = Image.open(io.BytesIO(plots.encoded(plots.comparison(roads, roads.names[:1], roads.masks[:1] * 1.0))))
    there = {color for _, color in legend.convert("RGBA").getcolors(256)}
    for color in (plots.FOUND, plots.MISSED, plots.FALSE):
        assert min(np.abs(np.subtract(one[:3], 255 * np.array(to_rgb(color)))).max() for one in there) < 12, color
