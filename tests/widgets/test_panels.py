"""Panels: what they show in every state, against other ways to compute it; the sliders; the text that is compared."""

import io
import re
from base64 import b64decode
from dataclasses import replace
from datetime import datetime
from html import unescape

import ipywidgets
import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score
from students import panel_of, write_run

from roadseg import metrics, models, plots, runs, widgets
from roadseg.backend import keras
from roadseg.errors import OptionError, RunError
from roadseg.widgets import convolution, feature_maps, predictions
from roadseg.widgets.levels import levels

EPOCHS = 3
SCORES = {
    "accuracy": accuracy_score,
    "precision": precision_score,
    "recall": recall_score,
    "F1": f1_score,
    "IoU": jaccard_score,
}


@pytest.fixture
def run(tmp_path, roads):
    """A run of three epochs on the last five images whose predictions get better, and are never quite right."""
    return make_run(tmp_path / "run", roads)


def make_run(path, roads, *, seed=0) -> runs.Run:
    rng, masks = np.random.default_rng(seed), roads.masks[-5:]
    mixed = [0.2 * epoch * masks + (1 - 0.2 * epoch) * rng.random(masks.shape) for epoch in range(1, EPOCHS + 1)]
    columns = {name: rng.random(EPOCHS) for name in runs.CURVES[1:]}
    return write_run(path, roads, [np.rint(255 * one).astype(np.uint8) for one in mixed], columns=columns)


@pytest.fixture(scope="module")
def network():
    """A small U-Net with its initial weights."""
    keras.utils.set_random_seed(0)
    return models.unet((32, 32, 3), filters=(4, 8, 16))


@pytest.fixture
def shown(monkeypatch):
    """What the calls would show: panel, figure and caption of each."""
    monkeypatch.setattr(plots, "DOTS", 40)
    calls = []
    keep = lambda figure, caption, alive=None: calls.append((alive and panel_of(alive), figure, caption))  # noqa: E731
    monkeypatch.setattr(plots, "show", keep)
    return calls


def sliders(panel) -> dict:
    """The sliders of a panel by their labels."""
    return {slider.description: slider for slider in panel.children[0].children}


def page(panel) -> str:
    return panel.children[1].value


def image(panel) -> np.ndarray:
    """The image in a page."""
    return np.asarray(Image.open(io.BytesIO(b64decode(re.search("base64,([^']+)'", page(panel))[1]))))


def table(panel) -> dict[str, list[str]]:
    """The table in a page: cells by the first cell of their row."""
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", page(panel))]
    return {name: cells for name, *cells in rows}


def words(panel) -> str:
    return unescape(re.sub("<[^>]+>", "", page(panel)))


# --- predictions ------------------------------------------------------------------------------------------------------


def test_threshold_gives_the_scores_of_all_images(run, roads, shown):
    widgets.threshold(run, roads)
    ((panel, figure, _),) = shown
    value = 0.6000000000000001  # as a slider says 0.6
    sliders(panel)["threshold"].value = value
    valid = roads.valid[-5:]
    truth, predicted = roads.masks[-5:][valid], (run.prediction() / 255 >= round(value, 2))[valid]
    found = table(panel)
    assert found["all validation images"] == list(SCORES)
    assert found[f"threshold {value:.2f}"] == [f"{score(truth, predicted):.3f}" for score in SCORES.values()]
    sweep = metrics.threshold_sweep(run.prediction(), roads.masks[-5:], roads.valid[-5:])
    assert found[f"best F1 (MaxF), at {sweep.threshold:.3f}"][3] == f"{sweep.max_f1:.3f}"
    *images, scores = figure.axes  # and the figure shows the same
    assert [cell.get_title() for cell in images] == [f"threshold {value}" for value in predictions.THRESHOLDS]
    for line, (key, name) in zip(scores.lines, predictions.SCORES.items()):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_ydata(), getattr(sweep, key))
    assert scores.lines[-1].get_xdata()[0] == sweep.threshold and f"{sweep.max_f1:.3f}" in figure.get_label()


def test_a_score_without_a_denominator_is_a_dash(run, roads, shown):
    path = run.path / "predictions" / runs.prediction_name(EPOCHS)
    runs.write_arrays(path, probability=np.zeros_like(run.prediction()))
    widgets.threshold(run, roads)
    assert table(shown[0][0])["threshold 0.50"][1] == "–"  # nothing is predicted as road: precision is unknown


def test_threshold_shows_mask_and_errors_of_the_chosen_image(run, roads, shown):
    widgets.threshold(run, roads)
    panel = shown[0][0]
    moved = sliders(panel)
    moved["image"].value, moved["threshold"].value = roads.names[-2], 0.61
    predicted = run.prediction()[3] / 255 >= 0.61
    mask, errors = image(panel)[:, :32], image(panel)[:, -32:]
    np.testing.assert_array_equal(mask[..., 0], 255 * predicted)
    np.testing.assert_array_equal(mask[..., 3], 255)
    expected = np.rint(255 * plots.error_overlay(roads.images[-2], roads.masks[-2], roads.valid[-2], predicted))
    border = (errors[..., :3] == 255).all(axis=-1)
    np.testing.assert_array_equal(errors[~border][:, :3], expected[~border])
    assert border.any() and roads.masks[-2][border].all() and border.sum() < roads.masks[-2].sum() / 2
    assert f"alt='At threshold 0.61 {predicted.mean():.0%}" in page(panel)


def test_epochs_shows_each_prediction_with_its_curves(run, roads, shown):
    widgets.epochs(run, roads)
    ((panel, figure, _),) = shown
    moved = sliders(panel)
    assert (moved["epoch"].min, moved["epoch"].max) == (1, EPOCHS)
    moved["epoch"].value, moved["image"].value = 2, roads.names[-1]
    values, valid = run.prediction(2)[-1], roads.valid[-1]
    np.testing.assert_array_equal(image(panel)[:, :32], colormaps["cividis"](values, bytes=True))
    wrong = (values >= 128) & ~roads.masks[-1] & valid
    red, _, blue, _ = np.moveaxis(image(panel)[:, -32:], -1, 0).astype(int)
    assert (red[wrong] > blue[wrong]).all()  # false road is vermilion
    for name, prefix in (("training", ""), ("validation", "val_")):
        assert table(panel)[name] == [f"{run.curves[prefix + key][1]:.3f}" for key in ("loss", "accuracy")]
    assert f": {f1_score(roads.masks[-1][valid], values[valid] >= 128):.2f}." in words(panel)
    used = [cell for cell in figure.axes if cell.images]  # and the figure shows the first image's
    mask, valid = roads.masks[-5], roads.valid[-5]
    assert len(used) == 2 * EPOCHS
    for epoch, (left, right) in enumerate(zip(used[::2], used[1::2]), start=1):
        values = run.prediction(epoch)[0]
        np.testing.assert_array_equal(left.images[0].get_array(), values / 255)
        f1 = f1_score(mask[valid], values[valid] >= 128)
        assert (left.get_title(), right.get_title()) == (f"after epoch {epoch}", f"F1 {f1:.2f}")


@pytest.mark.parametrize("call", [widgets.threshold, widgets.epochs])
def test_data_and_predictions_that_do_not_fit(call, run, roads):
    with pytest.raises(OptionError, match="other data"):
        call(run, replace(roads, fingerprint="another"))
    (run.path / "predictions" / runs.prediction_name(EPOCHS)).unlink()
    with pytest.raises(RunError, match=r"epoch-03\.npz"):
        call(run, roads)


# --- transposed convolution -------------------------------------------------------------------------------------------


def by_keras(layer, kernel, signal) -> np.ndarray:
    layer.build((None, len(signal), 1))
    layer.set_weights([np.reshape(kernel, (-1, 1, 1))])
    return np.asarray(layer(np.reshape(np.asarray(signal, np.float32), (1, -1, 1)))).ravel()


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3.0,), (0.5, 1.0, 0.5), (1.0, 2.0, -4.0, 8.0)])
def test_scatter_is_keras_transposed_convolution_and_the_convolutions_adjoint(kernel, stride, padding):
    signal = (2.0, -1.0, 0.0, 3.0)
    shifted, copies, kept = convolution.scatter(signal, kernel, stride=stride, padding=padding)
    layer = keras.layers.Conv1DTranspose(1, len(kernel), stride, padding=padding, use_bias=False)
    np.testing.assert_allclose(copies.sum(axis=0)[kept], by_keras(layer, kernel, signal), atol=1e-6)
    np.testing.assert_allclose(shifted[:, kept].T @ signal, copies.sum(axis=0)[kept])
    wide = np.arange(shifted[:, kept].shape[1]) ** 2.0
    layer = keras.layers.Conv1D(1, len(kernel), stride, padding=padding, use_bias=False)
    np.testing.assert_allclose(shifted[:, kept] @ wide, by_keras(layer, kernel, wide)[: len(signal)], rtol=1e-5)


def test_transposed_convolution_follows_its_sliders(shown):
    widgets.transposed_convolution()
    (panel, first, _), (_, every, _) = shown
    moved = sliders(panel)
    moved["signal and kernel"].value, moved["stride and padding"].value = "2 2 2 0 1 and 1 1 1", "stride 2, same"
    assert 'Conv1DTranspose(1, 3, strides=2, padding="same"' in words(panel)
    assert "adds up to 2 2 4 2 4 2 2 0 1 1;" in page(panel)
    assert "kernel 1 1 1" in first.get_label() and "stride 2" in first.get_label()
    assert len(every.axes) == len(convolution.KERNELS) * len(convolution.STRIDES)
    assert "turns 2 2 2 0 1 into 2 2 4 2 4 2 2 0 1 1 1" in every.get_label()


def test_convolution_figure_draws_copies_sum_and_matrix():
    figure = convolution.convolution_figure("2 2 2 0 1 and 1 −1", "stride 1, valid")
    copies, matrix, total = (next(c for c in figure.axes if c.get_title().startswith(w)) for w in ("c", "as", "their"))
    assert [text.get_text() for text in copies.texts] == ["2", "−2"] * 3 + ["0", "0", "1", "−1"]
    assert [label.get_text() for label in copies.get_yticklabels()] == ["2 ×", "2 ×", "2 ×", "0 ×", "1 ×"]
    (dots,) = total.lines
    np.testing.assert_array_equal(dots.get_ydata(), [2, 0, 0, -2, 1, -1])
    assert len(matrix.texts) == 10 and {text.get_text() for text in matrix.texts} == {"1", "−1"}
    for step, cut in (("stride 1, valid", 0), ("stride 3, same", 0), ("stride 1, same", 2)):  # which is hatched
        figure = convolution.convolution_figure("2 2 2 0 1 and 1 1 1", step)
        assert len(figure.axes[0].patches) == cut


# --- levels of a U-Net ------------------------------------------------------------------------------------------------


def test_unet_levels_names_each_shape(network, roads, shown):
    widgets.unet_levels(network, roads.images[0])
    ((panel, figure, _),) = shown
    level = sliders(panel)["level"]
    assert level.options == ("encoder 1", "encoder 2", "bottleneck", "decoder 2", "decoder 1", "head")
    found = {}
    for name in level.options:
        level.value = name
        found[name] = re.search(r"\d+ × \d+ × \d+", words(panel))[0]
    assert found["encoder 2"] == "16 × 16 × 8" and found["head"] == "32 × 32 × 1"
    used = [cell for cell in figure.axes if cell.images]
    assert len(used) == 1 + 6 and used[3].get_title() == "bottleneck: 8 × 8 × 16"
    np.testing.assert_array_equal(used[0].images[0].get_array(), roads.images[0])


def test_feature_maps_are_those_of_the_network(network, roads):
    maps = list(feature_maps.feature_maps(network, roads.images[0]).values())
    batch = roads.images[:1] / np.float32(255)
    np.testing.assert_allclose(maps[-1], network(batch)[0], atol=1e-6)
    last = levels(network)[2].layers[-1]
    np.testing.assert_allclose(maps[2], keras.Model(network.input, last.output)(batch)[0], atol=1e-6)


def test_feature_maps_of_one_level_in_bfloat16(roads):
    inputs = keras.Input((32, 32, 3))
    layer = keras.layers.Conv2D(2, 3, padding="same", dtype="bfloat16")
    (maps,) = feature_maps.feature_maps(keras.Model(inputs, layer(inputs)), roads.images[0]).values()
    assert maps.shape == (32, 32, 2) and maps.dtype == np.float32
    assert len(np.unique(feature_maps.tiled(maps).reshape(-1, 4), axis=0)) > 10


def test_an_image_of_one_channel_is_gray_in_the_figure(roads, shown):
    widgets.unet_levels(models.unet((32, 32, 1), filters=(4, 8)), roads.images[0, ..., :1])
    drawn = shown[0][1].axes[0].images[0]
    np.testing.assert_allclose(drawn.to_rgba(drawn.get_array().squeeze())[..., 0], roads.images[0, ..., 0] / 255)


def test_tiles_are_scaled_one_by_one_and_maps_without_activity_are_counted(network):
    maps = np.zeros((2, 4, 3), np.float32)
    maps[..., 0] = np.arange(8).reshape(2, 4)
    maps[0, 0, 1] = 0.001
    tiles = feature_maps.tiled(maps)
    assert tiles.shape == (5, 9, 4)
    for place, first, last in ((np.s_[:2, :4], 0, 1), (np.s_[:2, 5:], 1, 0), (np.s_[3:, :4], 0, 0)):
        ends = colormaps["cividis"]([float(first), float(last)], bytes=True)
        np.testing.assert_array_equal(tiles[place][[0, -1], [0, -1]], ends)
    assert (tiles[3:, 5:] == 0).all() and (tiles[2] == 0).all()  # no fourth map, and nothing between tiles
    assert "0 everywhere: 1 of 3." in feature_maps.level_page(levels(network)[0], maps)


def test_an_image_that_does_not_fit(network):
    for wrong in (np.zeros((16, 32, 3), np.uint8), np.zeros((32, 32, 3), np.float32)):
        with pytest.raises(OptionError, match=r"uint8 \(32, 32, 3\)"):
            widgets.unet_levels(network, wrong)


# --- all --------------------------------------------------------------------------------------------------------------


def test_panels_have_labelled_sliders_and_text_of_no_run(tmp_path, run, roads, network, monkeypatch):
    """Sliders, because JupyterLab takes the arrow keys of everything else. What nbval compares holds no number of a run
    and no identity of a widget."""
    bundles, about = [], []

    def display(bundle, *, metadata, **_):
        bundles.append(bundle)
        about.append(metadata)

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("IPython.get_ipython", object)
    monkeypatch.setattr(plots, "encoded", lambda figure: b"")
    monkeypatch.setattr(plots, "DOTS", 40)
    widgets.transposed_convolution()
    widgets.unet_levels(network, roads.images[0])
    for one in (run, make_run(tmp_path / "other", roads, seed=1)):
        widgets.threshold(one, roads)
        widgets.epochs(one, roads)
    texts = [bundle["text/plain"] for bundle in bundles]
    assert texts[-8:-4] == texts[-4:] and all(text.endswith(".") for text in texts)
    kinds = [sorted(set(bundle) - {"text/plain"}) for bundle in bundles]
    figure, caption = ["image/png"], ["text/markdown"]
    panel = ["application/vnd.jupyter.widget-view+json", *figure]  # the figure is for readers without a kernel
    assert kinds == [panel, caption, figure, caption] + 5 * [panel, caption]
    assert all(len(told["image/png"]["alt"]) > 30 for told in about[::2])
    for made in map(panel_of, (bundle for bundle in bundles if panel[0] in bundle)):
        assert 1 <= len(sliders(made)) <= 2 and len(re.search("alt='(.*?)'", page(made))[1]) > 30
        kinds = ipywidgets.FloatSlider | ipywidgets.IntSlider | ipywidgets.SelectionSlider
        assert all(label and isinstance(slider, kinds) for label, slider in sliders(made).items())


def test_an_uploaded_photo_shows_its_road_and_what_is_none_is_one_line(roads, network, shown):
    widgets.own_photo(network, roads.images[0])
    panel = shown[0][0]
    button, before = sliders(panel)["your photo"], page(panel)
    Image.fromarray(roads.images[1]).resize((50, 20)).save(file := io.BytesIO(), "PNG")
    about = {"type": "", "size": 0, "last_modified": datetime.now()}
    button.value = ({"name": "../a.png", "content": memoryview(file.getvalue()), **about},)
    assert page(panel) != before and image(panel).shape[:2] == (20, 50)
    button.value = ({"name": "<b>.txt", "content": memoryview(b"text"), **about},)
    assert page(panel).startswith("&lt;b&gt;.txt: ") and "<" not in page(panel)
