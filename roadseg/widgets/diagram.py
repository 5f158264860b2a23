"""A network as a drawing, made from its graph alone: a box for each result, arrows for what the layers do.

Meant for the U-Net of any size, with or without skip connections (notebook 02, question 8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from roadseg import plots
from roadseg.backend import keras
from roadseg.widgets.diagram_levels import Level, levels, owners

layers = keras.layers

OPERATIONS = {  # each gives a box; layers of other kinds, such as an activation, leave the box before them as it is
    layers.InputLayer: "picture",
    layers.Conv2D: "convolution",
    layers.Conv2DTranspose: "transposed convolution",
    layers.MaxPooling2D: "max pooling",
    layers.AveragePooling2D: "average pooling",
    layers.UpSampling2D: "upsampling",
    layers.Resizing: "resizing",
}
BLUE, PINK, ORANGE = plots.COLOURS[0], plots.COLOURS[3], plots.COLOURS[4]
COLOURS = {"encoder": BLUE, "bottom": PINK, "decoder": ORANGE, "head": "0.3"}
PICTURE, INK, DASHES = "0.65", "0.3", (0, (5, 3))
SMALL = {"fontsize": 8, "textcoords": "offset points"}
TALLEST, WIDEST, THINNEST = 1.1, 0.3, 0.04  # inches: the largest picture, the most channels, the fewest
ARROW = 0.08  # inches at least between two boxes in a row
GAP = 0.72  # inches between two rows: an arrow beside three lines of text
NUMBER = 0.14  # inches between a box and an arrow above it, for the number of channels
MARGIN = 0.55  # inches at the left and the right of all boxes


@plots.styled
def unet(model: keras.Model) -> Figure:
    """The network as a U: a box for each result, as high as its picture and as wide as its channels (roots of both).

    Below each level stand its size and its parameters; dashed arrows are skip connections (question 8, notebook 02).
    Raises OptionError as `levels` does.
    """
    parts = levels(model)
    boxes = _boxes(parts)
    skips = _skips(boxes)
    low, high = min(box.bottom for box in boxes) - 0.5, max(box.top for box in boxes) + 0.2
    figure, axes = plots.grid(1, 1, height=high - low + 0.8, alt=_alt(model, parts, skips))
    axes = axes[0, 0]
    axes.set(xlim=(0, plots.WIDTH), ylim=(low, high))
    axes.set_axis_off()
    for before, after in pairwise(boxes):
        _draw_step(axes, before, after)
    for source, target in skips:
        _arrow(axes, (source.right, source.y), (target.left, target.y), color=COLOURS["encoder"], linestyle=DASHES)
    for level in parts:
        _draw_level(axes, level, [box for box in boxes if box.level is level])
    figure.suptitle(f"{model.name}: {model.count_params():,} parameters, {len(skips) or 'no'} skip connections")
    figure.legend(handles=_legend(boxes, bool(skips)), loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    return figure


@dataclass(frozen=True, eq=False)
class _Box:
    """One result and the operation that gave it; centre and size in inches.

    parts : channels, and name of the level, of each of the features joined in it, from left to right.
    """

    level: Level
    operation: str
    parts: tuple[tuple[int, str], ...]
    x: float = 0.0
    y: float = 0.0
    widths: tuple[float, ...] = ()
    height: float = 0.0

    @property
    def left(self) -> float:
        return self.x - sum(self.widths) / 2

    @property
    def right(self) -> float:
        return self.x + sum(self.widths) / 2

    @property
    def top(self) -> float:
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        return self.y - self.height / 2


def _boxes(parts: Sequence[Level]) -> list[_Box]:
    """All boxes, in order: one step to the right at the same size, straight down or up where the size changes."""
    owner = owners(parts)
    boxes = [box for level in parts for box in _results(level, owner)]
    columns = list(accumulate((a.level.row == b.level.row for a, b in pairwise(boxes)), initial=0))
    step = (plots.WIDTH - 2 * MARGIN) / max(1, columns[-1])
    scale = _scale(boxes, step)
    sides = sorted({math.sqrt(math.prod(level.shape[:2])) for level in parts}, reverse=True)
    heights = [TALLEST * math.sqrt(side / sides[0]) for side in sides]
    centres = [-sum(heights[:row]) - GAP * row - height / 2 for row, height in enumerate(heights)]
    return [
        replace(
            box,
            x=MARGIN + step * column,
            y=centres[box.level.row],
            widths=tuple(max(THINNEST, scale * math.sqrt(channels)) for channels, _ in box.parts),
            height=heights[box.level.row],
        )
        for box, column in zip(boxes, columns)
    ]


def _scale(boxes: Sequence[_Box], step: float) -> float:
    """Inches for the root of a channel: none is drawn wider than WIDEST, and neighbours leave room for an arrow."""
    roots = [[math.sqrt(channels) for channels, _ in box.parts] for box in boxes]
    closest = max((sum(a) + sum(b)) / 2 for a, b in pairwise(roots))
    return min(WIDEST / max(map(max, roots)), (step - ARROW) / closest)


def _results(level: Level, owner: dict[int, str]) -> list[_Box]:
    """The boxes of a level, not yet in their places; joined features share the box of what was there before."""
    found = []
    for layer in level.layers:
        joins = isinstance(layer, layers.Concatenate)
        tensors = layer.input if joins else [layer.output]
        parts = tuple((tensor.shape[-1], owner[id(tensor)]) for tensor in tensors)
        if joins and found:
            found[-1] = replace(found[-1], parts=parts)
        elif joins or isinstance(layer, tuple(OPERATIONS)) or not found:
            found.append(_Box(level, _operation(layer), parts))
    return found


def _skips(boxes: Sequence[_Box]) -> list[tuple[_Box, _Box]]:
    """For each of the features that come from another level: the last box there, and the box that they join."""
    last = {box.level.name: box for box in boxes}
    return [(last[name], box) for box in boxes for _, name in box.parts if name != box.level.name]


def _operation(layer: keras.Layer) -> str:
    """A layer in words, such as "convolution 3 × 3, ReLU"."""
    words = [next((words for kind, words in OPERATIONS.items() if isinstance(layer, kind)), type(layer).__name__)]
    if window := getattr(layer, "kernel_size", getattr(layer, "pool_size", None)):
        words[0] += f" {' × '.join(map(str, window))}"
    if hasattr(layer, "kernel") and max(layer.strides) > 1:
        words.append(f"stride {max(layer.strides)}")
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    words += {"linear": [], "relu": ["ReLU"]}.get(activation, [activation])
    return ", ".join(words)


def _draw_step(axes: Axes, before: _Box, after: _Box) -> None:
    """The arrow from one box to the next: to the right, down or up."""
    if before.level.row == after.level.row:
        start, end = (before.right, before.y), (after.left, after.y)
    elif before.level.row < after.level.row:
        start, end = (before.x, before.bottom), (after.x, after.top + NUMBER)
    else:
        start, end = (before.x, before.top + NUMBER), (after.x, after.bottom)
    _arrow(axes, start, end, color=INK)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], **style) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 8, "linewidth": 1.1, "shrinkA": 1.5, "shrinkB": 1.5, **style}
    axes.annotate("", end, start, arrowprops=style)


def _draw_level(axes: Axes, level: Level, boxes: Sequence[_Box]) -> None:
    """Its boxes, and its name, size and parameters below them on the outer side of the U; the head's upright."""
    for box in boxes:
        _draw_box(axes, box)
    height, width, _ = level.shape
    words = f"{level.name}\n{height} × {width}\n{level.parameters:,} parameters"
    if level.name == "head":
        axes.annotate(words, (boxes[-1].right, boxes[-1].y), (4, 0), va="center", rotation=90, **SMALL)
        return
    x, side = {
        "encoder": (boxes[-1].x - 0.06, "right"),
        "bottom": ((boxes[0].x + boxes[-1].x) / 2, "center"),
        "decoder": (boxes[0].x + 0.06, "left"),
    }[_kind(level.name)]
    axes.annotate(words, (x, boxes[0].bottom), (0, -3), ha=side, va="top", **SMALL)


def _draw_box(axes: Axes, box: _Box) -> None:
    """The box, a colour for each of its parts, and its channels above."""
    left = box.left
    for width, (_, level) in zip(box.widths, box.parts):
        colour = PICTURE if box.operation == "picture" else COLOURS[_kind(level)]
        axes.add_patch(Rectangle((left, box.bottom), width, box.height, facecolor=colour, edgecolor="white", lw=0.6))
        left += width
    channels = " + ".join(str(channels) for channels, _ in box.parts)
    axes.annotate(channels, (box.x, box.top), (0, 2.5), ha="center", **SMALL)


def _kind(name: str) -> str:
    """A level's name without its number."""
    return name.split()[0]


def _legend(boxes: Sequence[_Box], skips: bool) -> list[Line2D]:
    """What the arrows mean, each meaning once."""
    rows = {after.operation: after.level.row - before.level.row for before, after in pairwise(boxes)}
    signs = {operation: "→" if down == 0 else "↓" if down > 0 else "↑" for operation, down in rows.items()}
    marks = [Line2D([], [], marker=f"${sign}$", color=INK, markersize=11, ls="", label=o) for o, sign in signs.items()]
    dashed = Line2D([], [], color=COLOURS["encoder"], linestyle=DASHES, label="skip connection: features joined")
    return [*marks, dashed] if skips else marks


def _alt(model: keras.Model, parts: Sequence[Level], skips: Sequence[tuple[_Box, _Box]]) -> str:
    """The drawing in words."""
    told = "; ".join(f"{p.name} {p.shape[0]} × {p.shape[1]} × {p.shape[2]}, {p.parameters:,} parameters" for p in parts)
    joins = ", ".join(f"{source.level.name} to {target.level.name}" for source, target in skips) or "none"
    return f"Drawing of the network {model.name} as a U, from left to right: {told}. Skip connections: {joins}."
