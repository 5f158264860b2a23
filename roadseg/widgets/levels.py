"""A network taken apart into levels: consecutive layers whose outputs have the same height and width.

Any Keras model from one image to one image will do that gets smaller and larger again once, such as the U-Net with or
without skip connections, or a student's own: the levels are read from its graph, not from names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from roadseg.backend import keras
from roadseg.errors import OptionError


@dataclass(frozen=True, eq=False)
class Level:
    """Consecutive layers of one height and width, or the network's head.

    name : "encoder 1", ... "bottleneck", ... "decoder 1", "head"; number 1 is full size. row : 0 is full size.
    """

    name: str
    row: int
    layers: tuple[keras.Layer, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the level's output."""
        return self.layers[-1].output.shape[1:]


def levels(model: keras.Model) -> list[Level]:
    """The levels of a network, in order; together they hold all of its layers.

    Raises
    ------
    OptionError : a network that is not from image to image, takes any size, gets smaller twice, or is not made of
        layers alone.
    """
    if isinstance(model, keras.Model) and _maps_images(model):
        groups = [list(group) for _, group in groupby(model.layers, _size)]
        weighted = [place for place, layer in enumerate(groups[-1]) if layer.weights]
        has_head = len(weighted) > 1  # the last layer with weights, and what follows it
        if has_head:
            groups[-1:] = groups[-1][: weighted[-1]], groups[-1][weighted[-1] :]
        sizes = sorted({_size(group[0]) for group in groups}, reverse=True)
        rows = [sizes.index(_size(group[0])) for group in groups]
        names = _names(rows, has_head)
        if len(set(names)) == len(names):
            return [Level(name, row, tuple(group)) for name, row, group in zip(names, rows, groups)]
    raise OptionError(
        "model: expected a Keras model made of layers, from an image of fixed size to another, smaller and larger "
        f"again once; found {model!r}; pass one such as models.unet()."
    )


def _maps_images(model: keras.Model) -> bool:
    """Whether every operation, from one input on, is a layer whose output has a fixed (height, width, channels)."""
    if len(getattr(model, "inputs", None) or ()) != 1 or any(isinstance(layer, keras.Model) for layer in model.layers):
        return False
    shapes = [layer.output.shape[1:] for layer in model.layers if hasattr(layer, "output")]
    fixed = all(len(shape) == 3 and None not in shape for shape in shapes)
    return bool(shapes) and fixed and len(shapes) == len(model.layers) == len(getattr(model, "operations", shapes))


def _size(layer: keras.Layer) -> tuple[int, int]:
    return layer.output.shape[1:3]


def _names(rows: Sequence[int], has_head: bool) -> list[str]:
    """Encoder until the smallest size, then decoder, numbered by row."""
    lowest = rows.index(max(rows))
    names = [f"{'encoder' if place < lowest else 'decoder'} {row + 1}" for place, row in enumerate(rows)]
    names[lowest] = "bottleneck"
    return [*names[:-1], "head"] if has_head else names
