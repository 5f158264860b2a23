"""The levels of a U-Net as a panel: shape, parameters and feature maps of each (notebook 02)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from roadseg import plots
from roadseg.backend import keras
from roadseg.errors import OptionError
from roadseg.widgets import diagram_levels as drawing_levels
from roadseg.widgets.diagram_levels import Level
from roadseg.widgets.panel import View, choice, coloured, panel, paragraph, shown

TILES = (480, 960)  # pixels: height and width of all feature maps of a level


def unet_levels(model: keras.Model, image: np.ndarray, *, first: str | None = None) -> None:
    """Choose a level of a U-Net: its shape, its parameters, and all of its feature maps for one picture.

    model : from pictures to pictures, such as `run.model()`. image : uint8 (H, W, 3). first : name of the level to
    begin with; None takes the first.

    Raises
    ------
    OptionError : another kind of model, an image of another shape or type than it takes, or an unknown level.
    """
    levels = {level.name: level for level in drawing_levels.levels(model)}
    if first not in (None, *levels):
        raise OptionError(f"no level is called {first!r}: choose one of {', '.join(levels)}.")
    maps = dict(zip(levels, feature_maps(model, image)))
    view = cache(lambda level: level_view(levels[level], maps[level]))
    made = panel(view, level=choice(levels, first or next(iter(levels))))
    caption = "On the way down maps get coarser and more, on the way up finer and fewer, until one is left: the road."
    shown(made, _level_figure(image, {_described(levels[name]): maps[name] for name in levels}), caption)


def feature_maps(model: keras.Model, image: np.ndarray) -> list[np.ndarray]:
    """What every level of a network gives for an image, uint8 (H, W, 3): float32 (h, w, channels), in order.

    Raises OptionError for another shape or type, and as `drawing_levels.levels` does.
    """
    levels, image = drawing_levels.levels(model), np.asarray(image)
    if image.dtype != np.uint8 or image.shape != model.input_shape[1:]:
        raise OptionError(
            f"image: expected uint8 {model.input_shape[1:]}, found {image.dtype} {image.shape}; "
            "pass one of the pictures that the network was made for, such as roads.images[0]."
        )
    several = keras.Model(model.input, [level.layers[-1].output for level in levels])
    return [np.asarray(result[0]) for result in several(image[None] / np.float32(255))]


def level_view(level: Level, maps: np.ndarray) -> View:
    """Shape and parameters of a level, above its feature maps, float (h, w, channels)."""
    count = maps.shape[-1]
    silent = count - int(maps.any(axis=(0, 1)).sum())
    words = f"{_described(level)}. Feature maps that are 0 everywhere: {silent} of {count}."
    scale = "In each map the lowest value is dark, the highest bright."
    return View(paragraph(f"{words} {scale}"), tiled(maps), f"Feature maps of {words}")


def tiled(maps: np.ndarray) -> np.ndarray:
    """All feature maps, float (h, w, channels), as tiles of one picture, uint8 (*TILES, 4), transparent between them.

    Each map goes from its lowest value, dark, to its highest, bright; one that is the same everywhere is dark.
    """
    columns = math.ceil(math.sqrt(maps.shape[-1]))
    height, width = TILES[0] // columns, TILES[1] // columns
    lowest, highest = maps.min(axis=(0, 1)), maps.max(axis=(0, 1))
    scaled = (maps - lowest) / np.where(highest > lowest, highest - lowest, 1)
    canvas = np.zeros((*TILES, 4), np.uint8)
    for place, values in enumerate(np.moveaxis(scaled, -1, 0)):
        row, column = divmod(place, columns)
        tile = Image.fromarray(coloured(values)).resize((width - 2, height - 2), Image.Resampling.NEAREST)
        canvas[row * height :, column * width :][: height - 2, : width - 2] = tile
    return canvas


@plots.styled
def _level_figure(image: np.ndarray, maps: Mapping[str, np.ndarray]) -> Figure:
    """The picture, then the feature maps of every level, with what it is called."""
    named = {"the picture": image} | {title: tiled(values) for title, values in maps.items()}
    alt = f"The picture and all its feature maps by level: {'; '.join(maps)}."
    figure, axes = plots.grid(-(-len(named) // 3), 3, height=1.85, alt=alt)
    for cell in axes.flat[len(named) :]:
        cell.set_axis_off()
    for cell, (title, picture) in zip(axes.flat, named.items()):
        plots.picture(cell, picture, title.replace(", ", "\n"))
        cell.set_aspect(plots.PIXEL_ASPECT if picture is image else 1)
    return figure


def _described(level: Level) -> str:
    """Such as "encoder 1: 256 × 256 × 8, 808 parameters"."""
    return f"{level.name}: {' × '.join(map(str, level.shape))}, {level.parameters:,} parameters"
