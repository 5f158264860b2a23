"""The levels of a U-Net as a panel: output shape and feature maps of each (notebook 02)."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from roadseg import plots
from roadseg.backend import keras
from roadseg.errors import OptionError
from roadseg.widgets.levels import Level, levels
from roadseg.widgets.panel import choice, page, show_panel

SIZE = (960, 480)  # pixels on the screen: width and height of all feature maps of a level
CHOSEN = 4  # feature maps of each level in the figure below the panel, at most
SCALE = "In each map the lowest value is dark, the highest bright"


def unet_levels(model: keras.Model, image: np.ndarray) -> None:
    """Choose a level of a U-Net: its output shape and all of its feature maps for one image.

    model : from image to image, such as `run.model()`. image : uint8 (H, W, 3).

    Raises
    ------
    OptionError : another kind of model, or an image of another shape or type than it takes.
    """
    maps = feature_maps(model, image)
    by_name = {level.name: level for level in maps}
    view = cache(lambda level: level_page(by_name[level], maps[by_name[level]]))
    caption = f"Feature maps by level; without controls, the {CHOSEN} of each that vary most. {SCALE}."
    show_panel(view, _level_figure(image, maps), caption, level=choice(by_name))


def feature_maps(model: keras.Model, image: np.ndarray) -> dict[Level, np.ndarray]:
    """The output of every level of a network for an image, uint8 (H, W, 3): float32 (h, w, channels), in order.

    Raises OptionError for an image of another shape or type, and as `levels` does.
    """
    parts, image = levels(model), np.asarray(image)
    if image.dtype != np.uint8 or image.shape != model.input_shape[1:]:
        raise OptionError(
            f"image: expected uint8 {model.input_shape[1:]}, found {image.dtype} {image.shape}; "
            "pass an image of the size that the network takes, such as roads.images[0]."
        )
    several = keras.Model(model.inputs[0], [level.layers[-1].output for level in parts])
    outputs = keras.tree.flatten(several(image[None] / np.float32(255)))  # of one level, it is no list
    return {level: np.asarray(output[0], np.float32) for level, output in zip(parts, outputs)}


def level_page(level: Level, maps: np.ndarray) -> str:
    """Shape of a level, above its feature maps, float (h, w, channels)."""
    count = maps.shape[-1]
    silent = count - int(maps.any(axis=(0, 1)).sum())
    words = f"{_described(level)}. Feature maps that are 0 everywhere: {silent} of {count}."
    return page(f"{words} {SCALE}.", Image.fromarray(tiled(maps)), f"Feature maps of {words}", size=SIZE)


def tiled(maps: np.ndarray) -> np.ndarray:
    """Feature maps, float (h, w, channels), as tiles of one image, uint8 (rows, columns, 4), transparent between them.

    Each map goes from its lowest value, dark, to its highest, bright; one that is the same everywhere is dark.
    """
    height, width, count = maps.shape
    lowest, highest = maps.min(axis=(0, 1)), maps.max(axis=(0, 1))
    scaled = (maps - lowest) / np.where(highest > lowest, highest - lowest, 1)
    columns = math.ceil(math.sqrt(count))
    rows, gap = math.ceil(count / columns), math.ceil(width / 64)
    tiles = colormaps["cividis"](np.moveaxis(scaled, -1, 0), bytes=True)
    tiles = np.pad(tiles, ((0, rows * columns - count), (0, gap), (0, gap), (0, 0)))
    tiles = tiles.reshape(rows, columns, height + gap, width + gap, 4).swapaxes(1, 2)
    return tiles.reshape(rows * (height + gap), columns * (width + gap), 4)[:-gap, :-gap]


@plots.styled
def _level_figure(image: np.ndarray, maps: dict[Level, np.ndarray]) -> Figure:
    """The image, then a few feature maps of every level, with its name."""
    alt = f"The image and some of its feature maps by level: {'; '.join(map(_described, maps))}."
    figure, axes = plots.grid(-(-(len(maps) + 1) // 3), 3, height=1.85, alt=alt)
    for cell in axes.flat[len(maps) + 1 :]:
        cell.set_axis_off()
    plots.draw_image(axes[0, 0], image, "the image", cmap="gray", vmin=0, vmax=255)  # of one channel
    for cell, (level, values) in zip(axes.flat[1:], maps.items()):
        most = np.sort(values.std(axis=(0, 1)).argsort()[-CHOSEN:])
        plots.draw_image(cell, tiled(values[..., most]), _described(level))
        if level.row > 0:
            cell.images[0].set_interpolation("nearest")  # shows how coarse the maps are
    return figure


def _described(level: Level) -> str:
    """Such as "encoder 1: 256 × 256 × 8"."""
    return f"{level.name}: {' × '.join(map(str, level.shape))}"
