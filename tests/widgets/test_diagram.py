"""The diagram of a network: levels, sizes and skip connections as its graph has them."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

from roadseg import models, widgets
from roadseg.backend import keras
from roadseg.errors import OptionError
from roadseg.widgets.levels import levels

layers = keras.layers


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


NETWORKS = {
    "U-Net": models.unet,
    "small": lambda: models.unet((32, 64, 3), filters=(4, 16), classes=4, standardize=True),
    "deep": lambda: models.unet((64, 64, 3), filters=(2, 3, 4, 5, 6, 7, 300)),
    "simple model": models.simple_model,
    "own": lambda: own_unet(skips=(1,)),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return NETWORKS[request.param]()


@pytest.fixture(scope="module")
def figure(network):
    return widgets.unet_diagram(network)


@pytest.fixture(scope="module")
def assigned():
    """The diagram of the assignment's network."""
    return widgets.unet_diagram(models.unet())


def arrows(figure, *, dashed: bool) -> list[tuple]:
    """(start, end, color) of the arrows."""
    found = [text for text in figure.axes[0].texts if isinstance(text, Annotation) and text.arrow_patch]
    chosen = [text for text in found if (text.arrow_patch.get_linestyle() not in ("-", "solid")) == dashed]
    return [(text.xyann, text.xy, to_hex(text.arrow_patch.get_edgecolor())) for text in chosen]


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def legend(figure) -> dict[str, str]:
    """Color by what the legend says."""
    return {line.get_label(): to_hex(line.get_color()) for line in figure.legends[0].legend_handles}


def test_levels_hold_all_layers_with_their_size(network, figure):
    parts = levels(network)
    assert [layer for part in parts for layer in part.layers] == network.layers
    assert parts[-1].shape == network.output_shape[1:]
    for part in parts:
        height, width, channels = part.shape
        assert f"{part.name}\n{height} × {width}" in words(figure)
        assert f"{part.name} {height} × {width} × {channels}" in figure.get_label()
    assert f"{network.count_params():,}" not in figure.get_suptitle() + figure.get_label()  # question 8 asks for it


def test_levels_of_the_assignments_network():
    parts = {part.name: part for part in levels(models.unet())}
    encoder, decoder = ([f"{name} {n}" for n in range(1, 5)] for name in ("encoder", "decoder"))
    assert list(parts) == [*encoder, "bottleneck", *decoder[::-1], "head"]
    assert parts["encoder 2"].shape == (128, 128, 16) and parts["decoder 4"].shape == (32, 32, 64)
    assert [parts[name].row for name in ("encoder 1", "bottleneck", "decoder 1", "head")] == [0, 4, 0, 0]


def test_dashed_arrows_are_concatenations_and_solid_ones_operations_in_the_colors_of_the_legend(network, figure):
    skips = arrows(figure, dashed=True)
    assert len(skips) == sum(isinstance(layer, layers.Concatenate) for layer in network.layers)
    assert all(start[1] == end[1] and start[0] < end[0] for start, end, _ in skips)  # level, from left to right
    assert figure.get_suptitle().split(": ")[-1].split()[0] == str(len(skips) or "no")
    steps = arrows(figure, dashed=False)
    signs = [(np.sign(end[0] - start[0]), np.sign(end[1] - start[1])) for start, end, _ in steps]
    turns = np.sign(np.diff([part.row for part in levels(network)])).tolist()
    assert signs.count((0, -1)) == turns.count(1) and signs.count((0, 1)) == turns.count(-1)
    assert set(signs) <= {(1, 0), (0, -1), (0, 1)}
    assert {color for *_, color in steps} <= set(legend(figure).values())


@pytest.mark.parametrize("skips", [(), (0,), (0, 1)])
def test_skip_connections_are_read_from_the_graph(skips):
    figure = widgets.unet_diagram(own_unet(skips=skips))
    assert len(arrows(figure, dashed=True)) == len(skips)
    for level in (0, 1):
        assert (f"encoder {level + 1} to decoder {level + 1}" in figure.get_label()) == (level in skips)
    assert ("8 + 8" in words(figure)) == (1 in skips)


def test_boxes_are_as_large_as_the_roots_of_sides_and_channels(assigned):
    boxes = [(patch.get_width(), patch.get_height()) for patch in assigned.axes[0].patches]
    tallest, lowest = max(height for _, height in boxes), min(height for _, height in boxes)
    assert np.isclose(tallest / lowest, np.sqrt(256 / 16))
    widest = max(width for width, _ in boxes)
    at_bottleneck = sorted({round(width / widest, 6) for width, height in boxes if np.isclose(height, lowest)})
    np.testing.assert_allclose(at_bottleneck, [np.sqrt(64 / 128), 1], rtol=1e-5)
    # a level: its input and two convolutions; a decoder level's input is two boxes side by side; head and image
    assert len(boxes) == 5 * 3 + 4 * 4 + 1


def test_kernels_of_one_and_three_pixels_are_told_apart(assigned):
    colors, steps = legend(assigned), arrows(assigned, dashed=False)
    three, one = "convolution 3 × 3, ReLU", "convolution 1 × 1, sigmoid"
    assert list(colors)[:2] == [three, "max pooling 2 × 2"] and len(colors) == 5
    assert "transposed convolution 2 × 2, stride 2, ReLU" in colors and colors[one] != colors[three]
    assert sum(color == colors[one] for *_, color in steps) == 1


def test_all_text_is_on_the_page(figure):
    figure.canvas.draw()
    page = figure.bbox
    for text in (*figure.axes[0].texts, *figure.legends[0].get_texts()):
        box = text.get_window_extent()
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text


def test_words_do_not_overlap(assigned):
    assigned.canvas.draw()
    boxes = [text.get_window_extent() for text in assigned.axes[0].texts if text.get_text()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def network_of(*applied, size=8):
    """A network of layers, one after the other."""
    inputs = x = keras.Input((size, size, 3))
    for layer in applied:
        x = layer(x)
    return keras.Model(inputs, x)


OTHERS = {
    "not to an image": lambda: network_of(layers.Flatten(), layers.Dense(3)),
    "of any size": lambda: network_of(layers.Conv2D(1, 1), size=None),
    "smaller twice": lambda: network_of(*(kind(2) for kind in [layers.MaxPooling2D, layers.UpSampling2D] * 2)),
    "with a function": lambda: network_of(layers.Conv2D(1, 1), keras.ops.relu),
    "with a network in it": lambda: network_of(network_of(layers.Conv2D(1, 1)), layers.Conv2D(1, 1)),
    "of two images": lambda: keras.Model(two := [keras.Input((8, 8, 3)) for _ in "ab"], layers.Add()(two)),
    "none": lambda: None,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_are_refused(name):
    with pytest.raises(OptionError, match="model: expected"):
        widgets.unet_diagram(OTHERS[name]())
