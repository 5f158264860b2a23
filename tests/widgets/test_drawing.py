"""The drawing of a network: levels, sizes and joins as its graph has them."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.text import Annotation

from roadseg import models
from roadseg.backend import keras
from roadseg.errors import OptionError
from roadseg.widgets import diagram as drawing
from roadseg.widgets import diagram_levels as drawing_levels

layers = keras.layers

NETWORKS = {
    "U-Net": lambda: models.unet(),
    "without skips": lambda: models.unet(skip_connections=False),
    "small": lambda: models.unet((32, 64, 3), filters=(4, 16), classes=4, standardize=True),
    "deep": lambda: models.unet((64, 64, 3), filters=(2, 3, 4, 5, 6, 7, 300)),
    "simple model": lambda: models.simple_model(),
}


def own_unet(*, skips: tuple[int, ...] = (0, 1)):
    """A student's: no names, activations as layers of their own, enlarged without weights, some skips."""
    x = inputs = keras.Input((32, 32, 3))
    kept = []
    for filters in (4, 8):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(x)))
        kept.append(x)
        x = layers.AveragePooling2D(2)(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    for level, filters in ((1, 8), (0, 4)):
        x = layers.UpSampling2D(2)(x)
        x = layers.Conv2D(filters, 2, padding="same", activation="relu")(x)
        if level in skips:
            x = layers.Concatenate()([x, kept[level]])
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(1, 1)(x)
    return keras.Model(inputs, layers.Activation("sigmoid")(x))


def arrows(figure, *, dashed: bool) -> list[tuple]:
    """(start, end) of the arrows."""
    axes = figure.axes[0]
    found = [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch]
    return [
        (text.xyann, text.xy) for text in found if (text.arrow_patch.get_linestyle() not in ("-", "solid")) == dashed
    ]


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def joins(model) -> int:
    return sum(isinstance(layer, layers.Concatenate) for layer in model.layers)


@pytest.mark.parametrize("name", NETWORKS)
def test_levels_hold_all_layers_and_parameters(name):
    model = NETWORKS[name]()
    parts = drawing_levels.levels(model)
    assert [layer for part in parts for layer in part.layers] == model.layers
    assert sum(part.parameters for part in parts) == model.count_params()
    assert parts[-1].shape == model.output_shape[1:]


def test_levels_of_the_assignments_network():
    parts = {part.name: part for part in drawing_levels.levels(models.unet())}
    numbers = ["1", "2", "3", "4"]
    names = [f"encoder {n}" for n in numbers] + ["bottom"] + [f"decoder {n}" for n in numbers[::-1]] + ["head"]
    assert list(parts) == names
    assert parts["encoder 2"].shape == (128, 128, 16) and parts["decoder 4"].shape == (32, 32, 64)
    assert [parts[name].row for name in ("encoder 1", "bottom", "decoder 1", "head")] == [0, 4, 0, 0]
    assert parts["bottom"].parameters == 9 * 64 * 128 + 128 + 9 * 128 * 128 + 128


@pytest.mark.parametrize("name", NETWORKS)
def test_an_arrow_for_each_join(name):
    model = NETWORKS[name]()
    figure = drawing.unet(model)
    skips = arrows(figure, dashed=True)
    assert len(skips) == joins(model)
    assert all(start[1] == end[1] and start[0] < end[0] for start, end in skips)  # level, from left to right
    assert figure.get_suptitle().endswith(f"{len(skips) or 'no'} skip connections")
    assert figure.get_label().endswith("Skip connections: none.") == (not skips)


@pytest.mark.parametrize("skips", [(), (0,), (1,), (0, 1)])
def test_joins_of_a_network_without_names_are_read_from_its_graph(skips):
    figure = drawing.unet(own_unet(skips=skips))
    assert len(arrows(figure, dashed=True)) == len(skips)
    for level in (0, 1):
        joined = f"encoder {level + 1} to decoder {level + 1}"
        assert (joined in figure.get_label()) == (level in skips)
    assert ("8 + 8" in words(figure)) == (1 in skips)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_level_tells_size_and_parameters(name):
    model = NETWORKS[name]()
    figure = drawing.unet(model)
    for part in drawing_levels.levels(model):
        height, width, _ = part.shape
        assert f"{part.name}\n{height} × {width}\n{part.parameters:,} parameters" in words(figure)
        assert f"{part.name} {height} × {width} × {part.shape[2]}, {part.parameters:,}" in figure.get_label()
    assert f"{model.count_params():,} parameters" in figure.get_suptitle()


def test_boxes_are_as_large_as_the_roots_of_pixels_and_channels():
    model = models.unet()
    boxes = figure_boxes(drawing.unet(model))
    tallest, lowest = max(height for _, height in boxes), min(height for _, height in boxes)
    assert np.isclose(tallest / lowest, np.sqrt(256 / 16))
    widest = max(width for width, _ in boxes)
    at_bottom = sorted({round(width / widest, 6) for width, height in boxes if height == lowest})
    np.testing.assert_allclose(at_bottom, [np.sqrt(64 / 128), 1], rtol=1e-5)
    # a level: its input and two convolutions; a decoder level's input is two boxes side by side; head and picture
    assert len(boxes) == 5 * 3 + 4 * 4 + 1


def figure_boxes(figure) -> list[tuple[float, float]]:
    return [(patch.get_width(), patch.get_height()) for patch in figure.axes[0].patches]


@pytest.mark.parametrize("name", NETWORKS)
def test_arrows_go_right_down_and_up_and_the_legend_tells_what_they_are(name):
    model = NETWORKS[name]()
    figure = drawing.unet(model)
    steps = arrows(figure, dashed=False)
    rows = list(pairwise(part.row for part in drawing_levels.levels(model)))
    down = sum(end[0] == start[0] and end[1] < start[1] for start, end in steps)
    up = sum(end[0] == start[0] and end[1] > start[1] for start, end in steps)
    assert down == sum(a < b for a, b in rows) and up == sum(a > b for a, b in rows)
    assert all((end[0] > start[0] and end[1] == start[1]) or end[0] == start[0] for start, end in steps)
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert len(told) == len(set(told)) and ("skip connection: features joined" in told) == bool(joins(model))
    if name == "U-Net":
        assert told[:2] == ["convolution 3 × 3, ReLU", "max pooling 2 × 2"]
        assert told[2:4] == ["transposed convolution 2 × 2, stride 2, ReLU", "convolution 1 × 1, sigmoid"]


@pytest.mark.parametrize("name", NETWORKS)
def test_all_of_it_is_on_the_page(name):
    figure = drawing.unet(NETWORKS[name]())
    figure.canvas.draw()
    page = figure.bbox
    for text in (*figure.axes[0].texts, *figure.legends[0].get_texts()):
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text


def test_words_do_not_overlap():
    figure = drawing.unet(models.unet())
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def classifier():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs)))


def any_size():
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, layers.Conv2D(1, 1)(inputs))


def smaller_twice():
    x = inputs = keras.Input((8, 8, 3))
    for _ in range(2):
        x = layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x))
    return keras.Model(inputs, x)


def joined_by_a_function():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.ops.concatenate([inputs, layers.Conv2D(1, 1)(inputs)], axis=-1))


@pytest.mark.parametrize("made", [classifier, any_size, smaller_twice, joined_by_a_function, lambda: None])
def test_other_networks_are_refused_in_one_line(made):
    with pytest.raises(OptionError, match="model: expected a Keras model made of layers") as caught:
        drawing.unet(made())
    assert "\n" not in str(caught.value)
