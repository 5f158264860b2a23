"""A network taken apart into levels: runs of layers whose results have one height and width.

Any Keras model from one picture to one picture will do that gets smaller and larger again once, such as the U-Net
with or without skip connections, or a student's own: all is read from its graph, nothing from names or options.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from roadseg.backend import keras
from roadseg.errors import OptionError


@dataclass(frozen=True, eq=False)
class Level:
    """Layers in order between two changes of the picture's size, or the network's head.

    name : "encoder 1", ... "bottom", ... "decoder 1", "head"; number 1 is full size. row : 0 is full size.
    """

    name: str
    row: int
    layers: tuple[keras.Layer, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what the level gives."""
        return shape(self.layers[-1])

    @property
    def parameters(self) -> int:
        """Weights and biases of all its layers."""
        return sum(layer.count_params() for layer in self.layers)


def levels(model: keras.Model) -> tuple[Level, ...]:
    """The levels of a network, in order; together they hold all of its layers.

    Raises
    ------
    OptionError : a network that is not from picture to picture, takes any size, gets smaller twice, or is not made
        of layers alone.
    """
    if isinstance(model, keras.Model) and _of_pictures(model):
        groups = _with_head(_grouped(model.layers))
        sides = sorted({shape(group[-1])[:2] for group in groups}, reverse=True)
        rows = [sides.index(shape(group[-1])[:2]) for group in groups]
        names = _names(rows)
        if len(set(names)) == len(names):
            return tuple(map(Level, names, rows, map(tuple, groups)))
    raise OptionError(
        "model: expected a Keras model made of layers, from a picture of fixed size to another, smaller and larger "
        f"again once; found {model!r}; pass one such as models.unet()."
    )


def owners(levels: Sequence[Level]) -> dict[int, str]:
    """The level's name by the identity of each tensor that one of its layers gives."""
    return {id(layer.output): level.name for level in levels for layer in level.layers}


def shape(layer: keras.Layer) -> tuple[int, int, int]:
    """(height, width, channels) of a layer's result."""
    return tuple(layer.output.shape[1:])


def _of_pictures(model: keras.Model) -> bool:
    """Whether all results have (batch, height, width, channels), and every operation is a layer."""
    shapes = [layer.output.shape for layer in model.layers if hasattr(layer, "output")]
    fixed = all(len(found) == 4 and None not in found[1:] for found in shapes)
    operations = getattr(model, "operations", model.layers)
    return bool(shapes) and fixed and len(shapes) == len(model.layers) == len(operations)


def _grouped(layers: Sequence[keras.Layer]) -> list[list[keras.Layer]]:
    """Layers by runs of one height and width."""
    groups = [[layers[0]]]
    for before, layer in pairwise(layers):
        if shape(before)[:2] != shape(layer)[:2]:
            groups.append([])
        groups[-1].append(layer)
    return groups


def _with_head(groups: list[list[keras.Layer]]) -> list[list[keras.Layer]]:
    """The same, with the last layer that has weights, and what follows it, in a group of their own."""
    *before, last = groups
    weighted = [place for place, layer in enumerate(last) if layer.weights]
    return [*before, last[: weighted[-1]], last[weighted[-1] :]] if len(weighted) > 1 else groups


def _names(rows: Sequence[int]) -> list[str]:
    """Encoder until the smallest size, then decoder, numbered by row; a head follows its level at the same size."""
    bottom = rows.index(max(rows))
    names = [f"{'encoder' if place < bottom else 'decoder'} {row + 1}" for place, row in enumerate(rows)]
    names[bottom] = "bottom"
    return [*names[:-1], "head"] if rows[-2:-1] == rows[-1:] else names
