"""Panels: what they show in every state, against other ways to compute it; the controls; the text that is compared."""

import io
import re
from base64 import b64decode
from html import unescape

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from roadseg import metrics, models, plots, runs
from roadseg.backend import keras
from roadseg.errors import OptionError, RunError
from roadseg.widgets import (
    convolution as explore_convolution,
)
from roadseg.widgets import (
    levels as explore_levels,
)
from roadseg.widgets import (
    panel as explore_panel,
)
from roadseg.widgets import (
    panels as explore,
)

EPOCHS = 3
SCORES = {
    "accuracy": accuracy_score,
    "precision": precision_score,
    "recall": recall_score,
    "F1": f1_score,
    "IoU": jaccard_score,
}


def write_run(path, roads, *, seed=0) -> runs.Run:
    """A run of three epochs on the last five pictures whose predictions get better, and are never quite right."""
    rng = np.random.default_rng(seed)
    names = roads.names[-5:]
    (path / "predictions").mkdir(parents=True)
    settings = dict.fromkeys(runs.SETTINGS) | {"validation_names": names, "data": roads.fingerprint}
    runs.write_json(path / "settings.json", settings)
    table = np.column_stack([np.arange(1, EPOCHS + 1), rng.random((EPOCHS, len(runs.CURVES) - 1))])
    runs.write_csv(path / "curves.csv", runs.CURVES, table)
    for epoch in range(1, EPOCHS + 1):
        certainty = 0.2 * epoch
        probability = certainty * roads.road[-5:] + (1 - certainty) * rng.random(roads.road[-5:].shape)
        eight_bits = np.rint(255 * probability).astype(np.uint8)
        runs.write_arrays(path / "predictions" / runs.prediction_name(epoch), probability=eight_bits)
    return runs.Run(path)


@pytest.fixture
def run(tmp_path, roads):
    return write_run(tmp_path / "run", roads)


@pytest.fixture(scope="module")
def network():
    """A small U-Net, its weights as they come from initialisation."""
    keras.utils.set_random_seed(0)
    return models.unet((32, 32, 3), filters=(4, 8, 16))


@pytest.fixture
def opened(monkeypatch):
    """What the calls would show: panel, figure and caption of each."""
    calls = []
    for module in (explore, explore_convolution, explore_levels):
        monkeypatch.setattr(module, "shown", lambda *shown: calls.append(shown))
    monkeypatch.setattr(plots, "show", lambda figure, caption: calls.append((None, figure, caption)))
    return calls


def controls(panel) -> dict:
    """The controls of a panel by their labels."""
    return {control.description: control for control in panel.children[0].children}


def page(panel) -> str:
    return panel.children[1].value


def picture(html: str) -> np.ndarray:
    """The picture in a page."""
    return np.asarray(Image.open(io.BytesIO(b64decode(re.search("base64,([^']+)'", html)[1]))))


def table(html: str) -> dict[str, list[str]]:
    """The table in a page: cells by the first cell of their row."""
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", html)]
    return {name: cells for name, *cells in rows}


def words(html: str) -> str:
    return unescape(re.sub("<[^>]+>", "", html))


def places(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The enlarged picture at the middle of each of its original pixels."""
    rows, columns = ((np.arange(n) + 0.5) * size / n for n, size in zip(shape, image.shape[:2]))
    return image[np.ix_(rows.astype(int), columns.astype(int))]


def halves(html: str, shape: tuple[int, int]) -> list[np.ndarray]:
    """Left and right picture of a page in their own size, uint8 (H, W, 4)."""
    image = picture(html)
    width = (image.shape[1] - explore_panel.GAP) // 2
    return [places(image[:, :width], shape), places(image[:, -width:], shape)]


@pytest.mark.parametrize("value", [0, 0.2, 0.43, 0.5, 0.6000000000000001, 0.97])
def test_threshold_gives_the_scores_of_all_pictures(value, run, roads, opened):
    explore.threshold(run, roads)
    ((panel, _, _),) = opened
    controls(panel)["threshold"].value = value
    evaluated = roads.evaluated[-5:]
    truth = roads.road[-5:][evaluated]
    called = (run.prediction() / 255 >= round(value, 2))[evaluated]
    found = table(page(panel))
    assert found["all validation pictures"] == list(SCORES)
    assert found[f"threshold {value:.2f}"] == [f"{score(truth, called):.3f}" for score in SCORES.values()]


def test_threshold_gives_the_best_f1(run, roads, opened):
    explore.threshold(run, roads)
    curve = metrics.curve(run.prediction(), roads.road[-5:], roads.evaluated[-5:])
    assert table(page(opened[0][0]))[f"best F1, at {curve.threshold:.3f}"][3] == f"{curve.max_f1:.3f}"


def test_a_score_without_a_denominator_is_a_dash(run, roads, opened):
    path = run.path / "predictions" / runs.prediction_name(EPOCHS)
    runs.write_arrays(path, probability=np.zeros_like(run.prediction()))
    explore.threshold(run, roads)
    assert table(page(opened[0][0]))["threshold 0.50"][1] == "–"  # nothing is called road, so precision is unknown


def test_threshold_shows_mask_and_errors_of_the_chosen_picture(run, roads, opened):
    explore.threshold(run, roads, first=roads.names[-4])
    panel = opened[0][0]
    moved = controls(panel)
    assert moved["picture"].value == roads.names[-4]
    moved["picture"].value, moved["threshold"].value = roads.names[-2], 0.61
    called = run.prediction()[3] / 255 >= 0.61
    mask, errors = halves(page(panel), roads.size)
    np.testing.assert_array_equal(mask[..., 0], 255 * called)
    np.testing.assert_array_equal(mask[..., 3], 255)
    expected = np.rint(255 * plots.error_picture(roads.images[-2], roads.road[-2], roads.evaluated[-2], called))
    border = (errors[..., :3] == np.rint(255 * np.array(to_rgb(plots.RIGHT)))).all(axis=-1)
    np.testing.assert_array_equal(errors[~border][:, :3], expected[~border])
    assert border.any() and roads.road[-2][border].all() and border.sum() < roads.road[-2].sum() / 2
    assert f"alt='At threshold 0.61 {called.mean():.0%}" in page(panel)


def test_threshold_figure_shows_the_same(run, roads, opened):
    explore.threshold(run, roads)
    _, figure, _ = opened[0]
    *pictures, scores = figure.axes
    assert [cell.get_title() for cell in pictures] == [f"threshold {value}" for value in explore.THRESHOLDS]
    curve = metrics.curve(run.prediction(), roads.road[-5:], roads.evaluated[-5:])
    for line, (key, name) in zip(scores.lines, explore.SCORES.items()):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_ydata(), getattr(curve, key))
    assert scores.lines[-1].get_xdata()[0] == curve.threshold
    assert f"{curve.max_f1:.3f}" in figure.get_label()


def test_threshold_outside_of_its_range(run, roads):
    one = explore.Picture(roads.images[0], roads.road[0], roads.evaluated[0])
    curve = metrics.curve(run.prediction(), roads.road[-5:])
    with pytest.raises(OptionError, match=r"expected a number in \[0, 1\], found 1.2"):
        explore.threshold_view(one, run.prediction()[0], curve, threshold=1.2)


@pytest.mark.parametrize("epoch", [1, 2, EPOCHS])
def test_epochs_shows_each_prediction_with_its_curves(epoch, run, roads, opened):
    explore.epochs(run, roads)
    panel = opened[0][0]
    moved = controls(panel)
    moved["epoch"].value, moved["picture"].value = epoch, roads.names[-1]
    probability, errors = halves(page(panel), roads.size)
    values = run.prediction(epoch)[-1]
    np.testing.assert_array_equal(probability, colormaps["cividis"](values / 255, bytes=True))
    wrong = (values >= 128) & ~roads.road[-1] & roads.evaluated[-1]
    assert (errors[wrong][:, 0] > errors[wrong][:, 2]).all()  # false road is vermillion
    found = table(page(panel))
    for name, prefix in (("training", ""), ("validation", "val_")):
        assert found[name] == [f"{run.curves[prefix + key][epoch - 1]:.3f}" for key in ("loss", "accuracy")]
    assert (moved["epoch"].min, moved["epoch"].max) == (1, EPOCHS)


def test_epoch_figure_shows_the_same(run, roads, opened):
    explore.epochs(run, roads)
    _, figure, _ = opened[0]
    used = [cell for cell in figure.axes if cell.images]
    assert len(used) == 2 * EPOCHS
    for epoch, (left, right) in enumerate(zip(used[::2], used[1::2]), start=1):
        values = run.prediction(epoch)[0]
        np.testing.assert_array_equal(left.images[0].get_array(), values / 255)
        i = roads.names.index(run.validation_names[0])
        counted = roads.evaluated[i]
        own = f1_score(roads.road[i][counted], values[counted] >= 128)
        assert (left.get_title(), right.get_title()) == (f"after epoch {epoch}", f"F1 {own:.2f}")


def by_keras(signal, kernel, stride, padding) -> np.ndarray:
    layer = keras.layers.Conv1DTranspose(1, len(kernel), stride, padding=padding, use_bias=False)
    layer.build((None, len(signal), 1))
    layer.set_weights([np.reshape(kernel, (-1, 1, 1))])
    return np.asarray(layer(np.reshape(np.asarray(signal, np.float32), (1, -1, 1)))).ravel()


@pytest.mark.parametrize("padding", explore_convolution.PADDINGS)
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [*explore_convolution.KERNELS.values(), (3.0,), (1.0, 2.0, -4.0, 8.0)])
def test_scatter_is_keras_transposed_convolution(kernel, stride, padding):
    signal = (2.0, -1.0, 0.0, 3.0)
    parts = explore_convolution.scatter(signal, kernel, stride=stride, padding=padding)
    np.testing.assert_allclose(parts.output, by_keras(signal, kernel, stride, padding), atol=1e-6)
    np.testing.assert_allclose(parts.matrix @ np.array(signal), parts.output)


def test_copies_are_the_kernel_times_each_number():
    parts = explore_convolution.scatter((3.0, 5.0), (1.0, 2.0, 1.0), stride=2, padding="valid")
    np.testing.assert_array_equal(parts.copies, [[3, 6, 3, 0, 0], [0, 0, 5, 10, 5]])
    np.testing.assert_array_equal(parts.output, [3, 6, 8, 10, 5])


@pytest.mark.parametrize(
    ("signal", "kernel", "stride", "padding"),
    [((), (1,), 1, "valid"), ((1,), (), 1, "valid"), ((1,), (1,), 0, "valid"), ((1,), (1,), 1, "full")],
)
def test_scatter_refuses_what_is_no_convolution(signal, kernel, stride, padding):
    with pytest.raises(OptionError, match="expected a signal, a kernel, a stride of at least 1"):
        explore_convolution.scatter(signal, kernel, stride=stride, padding=padding)


def test_transposed_convolution_follows_its_controls(opened):
    explore.transposed_convolution()
    panel = opened[0][0]
    assert "5 numbers become 10" in words(page(panel)) and "meet at a place: 1." in words(page(panel))
    moved = controls(panel)
    before = picture(page(panel))
    moved["signal and kernel"].value, moved["stride and padding"].value = "2 2 2 0 1, kernel 1 1 1", "stride 2, same"
    assert 'Conv1DTranspose(1, 3, strides=2, padding="same")' in words(page(panel))
    assert "5 numbers become 10" in words(page(panel)) and "meet at a place: 1 to 2." in words(page(panel))
    assert "adds up to 2 2 4 2 4 2 2 0 1 1;" in page(panel)
    assert (picture(page(panel)) != before).any()
    moved["signal and kernel"].value = "1 2 3 4 5, kernel ½ 1 ½"
    assert "adds up to 0.5 1 1.5 2 2.5 3 3.5 4 4.5 5;" in page(panel)


@pytest.mark.parametrize("signal", explore_convolution.SIGNALS)
@pytest.mark.parametrize("kernel", explore_convolution.KERNELS)
def test_every_signal_meets_every_kernel(signal, kernel):
    figure = explore_convolution.convolution_figure(f"{signal}, kernel {kernel}", "stride 2, valid")
    numbers = by_keras(explore_convolution.SIGNALS[signal], explore_convolution.KERNELS[kernel], 2, "valid")
    (dots,) = figure.axes[1].lines
    np.testing.assert_allclose(dots.get_ydata(), numbers, atol=1e-6)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [f"{n} ×" for n in signal.split()]


def test_convolution_figure_draws_copies_sum_and_matrix():
    figure = explore_convolution.convolution_figure("2 2 2 0 1, kernel 1 −1", "stride 1, valid")
    copies, total, matrix = figure.axes
    assert [text.get_text() for text in copies.texts] == ["2", "−2"] * 3 + ["0", "0", "1", "−1"]
    (dots,) = total.lines
    np.testing.assert_array_equal(dots.get_ydata(), [2, 0, 0, -2, 1, -1])
    assert len(matrix.texts) == 10 and {text.get_text() for text in matrix.texts} == {"1", "−1"}


def test_padding_is_hatched():
    def hatched(step):
        return [
            len(axes.patches)
            for axes in explore_convolution.convolution_figure("2 2 2 0 1, kernel 1 1 1", step).axes[:1]
        ]

    assert hatched("stride 1, valid") == [0] and hatched("stride 2, same") == [1] and hatched("stride 1, same") == [2]


def test_two_static_figures_of_the_transposed_convolution(opened):
    explore.transposed_convolution()
    (_, first, _), (_, every, _) = opened
    assert "kernel 1 1 1, laid down with stride 2" in first.get_label()
    assert len(every.axes) == len(explore_convolution.KERNELS) * len(explore_convolution.STRIDES)
    assert "turns 2 2 2 0 1 into 2 2 4 2 4 2 2 0 1 1 1" in every.get_label()


def test_unet_levels_tells_shape_and_parameters(network, roads, opened):
    explore.unet_levels(network, roads.images[0])
    panel = opened[0][0]
    level = controls(panel)["level"]
    assert level.options == ("encoder 1", "encoder 2", "bottom", "decoder 2", "decoder 1", "head")
    told = {}
    for name in level.options:
        level.value = name
        size, parameters = re.match(r".*?: (.*), ([\d,]+) parameters", words(page(panel))).groups()
        told[name] = size, int(parameters.replace(",", ""))
    assert told["encoder 2"] == ("16 × 16 × 8", 4 * 9 * 8 + 8 + 8 * 9 * 8 + 8)
    assert told["head"] == ("32 × 32 × 1", 4 + 1)
    assert sum(count for _, count in told.values()) == network.count_params()


def test_feature_maps_are_those_of_the_network(network, roads):
    image = roads.images[0]
    maps = explore_levels.feature_maps(network, image)
    batch = image[None] / np.float32(255)
    np.testing.assert_allclose(maps[-1], network(batch)[0], atol=1e-6)
    bottom = keras.Model(network.input, network.get_layer("bottom_conv2").output)
    np.testing.assert_allclose(maps[2], bottom(batch)[0], atol=1e-6)


def test_tiles_are_scaled_one_by_one():
    maps = np.zeros((2, 4, 3), np.float32)
    maps[..., 0] = np.arange(8).reshape(2, 4)
    maps[0, 0, 1] = 0.001
    canvas = explore_levels.tiled(maps)
    height, width = np.array(explore_levels.TILES) // 2
    first, second, third = (
        places(canvas[row : row + height - 2, column : column + width - 2], (2, 4))
        for row, column in ((0, 0), (0, width), (height, 0))
    )
    np.testing.assert_array_equal(first, colormaps["cividis"](maps[..., 0] / 7, bytes=True))
    np.testing.assert_array_equal(second, colormaps["cividis"](maps[..., 1] / maps[..., 1].max(), bytes=True))
    np.testing.assert_array_equal(third, colormaps["cividis"](np.zeros((2, 4)), bytes=True))
    assert (canvas[height:, width:] == 0).all()  # no fourth map: nothing there


def test_maps_without_any_activity_are_counted(network, roads):
    level = explore_levels.drawing_levels.levels(network)[0]
    maps = np.zeros((2, 4, 3))
    maps[1, 1, 2] = -1
    assert "0 everywhere: 2 of 3." in explore_levels.level_view(level, maps).alt


def test_level_figure_shows_all_of_them(network, roads, opened):
    explore.unet_levels(network, roads.images[0], first="bottom")
    panel, figure, _ = opened[0]
    assert controls(panel)["level"].value == "bottom" and words(page(panel)).startswith("bottom: 8 × 8 × 16")
    used = [cell for cell in figure.axes if cell.images]
    assert len(used) == 1 + 6 and used[3].get_title() == "bottom: 8 × 8 × 16\n3,488 parameters"
    np.testing.assert_array_equal(used[0].images[0].get_array(), roads.images[0])


def every_panel(run, roads, network):
    explore.threshold(run, roads)
    explore.epochs(run, roads)
    explore.transposed_convolution()
    explore.unet_levels(network, roads.images[0])


def test_every_control_is_a_labelled_slider_and_every_picture_has_words(run, roads, network, opened):
    """Sliders, because JupyterLab takes the arrow keys of everything else."""
    import ipywidgets

    every_panel(run, roads, network)
    panels = [panel for panel, _, _ in opened if panel]
    assert len(panels) == 4
    sliders = ipywidgets.FloatSlider | ipywidgets.IntSlider | ipywidgets.SelectionSlider
    for panel in panels:
        assert 1 <= len(controls(panel)) <= 2
        assert all(label and isinstance(control, sliders) for label, control in controls(panel).items())
        (alt, width, height) = re.search("alt='(.*?)' width='(.*?)' height='(.*?)'", page(panel)).groups()
        assert len(alt) > 30 and picture(page(panel)).shape[:2] == (int(height), int(width))
    for _, figure, caption in opened:
        assert len(figure.get_label()) > 30 and caption.endswith(".")


@pytest.mark.slow
def test_text_is_the_same_whatever_the_run(tmp_path, roads, network, monkeypatch):
    """What nbval compares holds no number of a run and no identity of a widget."""

    def texts(run):
        bundles = []
        monkeypatch.setattr(explore_panel, "display", lambda bundle, **_: bundles.append(bundle))
        monkeypatch.setattr("IPython.display.display", lambda bundle, **_: bundles.append(bundle))
        every_panel(run, roads, network)
        return [bundle["text/plain"] for bundle in bundles], bundles

    first, bundles = texts(write_run(tmp_path / "one", roads, seed=1))
    second, _ = texts(write_run(tmp_path / "two", roads, seed=2))
    assert first == second and len(first) == 4 * 3 + 2
    assert first[0].startswith("In a running notebook this is a panel with sliders: threshold, picture.")
    kinds = [next(iter(set(bundle) - {"text/plain"})) for bundle in bundles]
    panel = ["application/vnd.jupyter.widget-view+json"]
    drawing, photograph = ["image/png", "text/markdown"], ["image/jpeg", "text/markdown"]
    assert kinds == 2 * (panel + photograph) + panel + 2 * drawing + panel + photograph  # a panel, its figure below


@pytest.mark.parametrize("call", [explore.threshold, explore.epochs])
def test_a_run_on_other_pictures(call, run, roads):
    from dataclasses import replace

    with pytest.raises(OptionError, match="trained on other pictures than these: pass those"):
        call(run, replace(roads, fingerprint="another"))


@pytest.mark.parametrize("call", [explore.threshold, explore.epochs])
def test_an_unknown_picture(call, run, roads):
    with pytest.raises(OptionError, match=f"'{roads.names[0]}': choose .* such as {roads.names[-5]}"):
        call(run, roads, first=roads.names[0])


@pytest.mark.parametrize("call", [explore.threshold, explore.epochs])
def test_a_run_without_predictions(call, run, roads):
    (run.path / "predictions" / runs.prediction_name(EPOCHS)).unlink()
    with pytest.raises(RunError, match=r"epoch-03.npz is missing or damaged"):
        call(run, roads)


def test_an_unknown_level(network, roads):
    with pytest.raises(OptionError, match=r"no level is called 'decoder 9': choose one of encoder 1, .*, head"):
        explore.unet_levels(network, roads.images[0], first="decoder 9")


@pytest.mark.parametrize("image", [np.zeros((16, 32, 3), np.uint8), np.zeros((32, 32, 3), np.float32)])
def test_an_image_that_does_not_fit(image, network):
    with pytest.raises(OptionError, match=r"expected uint8 \(32, 32, 3\), found"):
        explore.unet_levels(network, image)
