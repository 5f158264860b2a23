"""A network as a diagram, drawn from its graph: a box for each result, an arrow for each operation.

Meant for the U-Net of any size, with or without skip connections (notebook 02; notebook 03, question 8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from roadseg import plots
from roadseg.backend import keras
from roadseg.widgets.levels import Level, levels

layers = keras.layers

OPERATIONS = {  # each gives a box; layers of other kinds, such as an activation, leave the box before them as it is
    layers.InputLayer: "image",
    layers.Conv2D: "convolution",
    layers.Conv2DTranspose: "transposed convolution",
    layers.MaxPooling2D: "max pooling",
    layers.AveragePooling2D: "average pooling",
    layers.UpSampling2D: "upsampling",
    layers.Resizing: "resizing",
}
COLORS = {"encoder": "#0072B2", "bottleneck": "#CC79A7", "decoder": "#E69F00", "head": plots.INK}
IMAGE, DASHES = plots.INK, (0, (5, 3))
ARROWS = (plots.INK, "#D55E00", "#4A8FD0", "#CC79A7")  # colors of the operations in one direction, in order
SMALL = {"fontsize": 8, "textcoords": "offset points"}
TALLEST, WIDEST, THINNEST = 1.1, 0.3, 0.04  # inches: the largest image, the most channels, the fewest
ARROW = 0.08  # inches at least between two boxes in a row
GAP = 0.72  # inches between two rows: an arrow beside three lines of text
NUMBER = 0.14  # inches between a box and an arrow above it, for the number of channels
MARGIN = 0.55  # inches at the left and the right of all boxes


@dataclass(eq=False)
class _Box:
    """One result and the operation that gave it.

    parts : channels, and name of the level, of each of the features concatenated in it, from left to right; widths :
    theirs; frame : where they are drawn, in inches.
    """

    level: Level
    operation: str
    parts: list[tuple[int, str]]
    widths: tuple[float, ...] = ()
    frame: Bbox | None = None

    @property
    def center(self) -> tuple[float, float]:
        return (self.frame.x0 + self.frame.x1) / 2, (self.frame.y0 + self.frame.y1) / 2


@plots.styled
def unet_diagram(model: keras.Model) -> Figure:
    """The network as a U. A box is as high as the root of its side, and as wide as the root of its channels.

    Below each level stands its size; dashed arrows are skip connections.
    Raises OptionError as `levels.levels` does.
    """
    parts = levels(model)
    boxes = _boxes(parts)
    last = {box.level.name: box for box in boxes}
    skips = [(last[name], box) for box in boxes for _, name in box.parts if name != box.level.name]
    low, high = min(box.frame.y0 for box in boxes) - 0.5, max(box.frame.y1 for box in boxes) + 0.2
    described = "; ".join(f"{p.name} {' × '.join(map(str, p.shape))}" for p in parts)
    joins = ", ".join(f"{source.level.name} to {target.level.name}" for source, target in skips) or "none"
    alt = f"Diagram of the network {model.name} as a U, from left to right: {described}. Skip connections: {joins}."
    figure, ((axes,),) = plots.grid(1, 1, height=high - low + 0.8, alt=alt)
    axes.set(xlim=(0, plots.WIDTH), ylim=(low, high))
    axes.set_axis_off()
    legend = _draw_steps(axes, boxes)
    for source, target in skips:
        start, end = (source.frame.x1, source.center[1]), (target.frame.x0, target.center[1])
        _arrow(axes, start, end, color=COLORS["encoder"], linestyle=DASHES)
    for level in parts:
        _draw_level(axes, level, [box for box in boxes if box.level is level])
    if skips:
        label = "skip connection: features concatenated"
        legend.append(Line2D([], [], color=COLORS["encoder"], linestyle=DASHES, label=label))
    figure.legend(handles=legend, loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    count = f"{len(skips) or 'no'} skip connection{'s' * (len(skips) != 1)}"
    figure.suptitle(f"{model.name}: {count}")
    return figure


def _boxes(parts: Sequence[Level]) -> list[_Box]:
    """All boxes, in order: one step to the right at the same size, straight down or up where the size changes."""
    boxes = _results(parts)
    columns = list(accumulate((a.level.row == b.level.row for a, b in pairwise(boxes)), initial=0))
    step = (plots.WIDTH - 2 * MARGIN) / max(1, columns[-1])
    roots = [[math.sqrt(channels) for channels, _ in box.parts] for box in boxes]
    closest = max(((sum(a) + sum(b)) / 2 for a, b in pairwise(roots)), default=1)
    scale = min(WIDEST / max(map(max, roots)), (step - ARROW) / closest)  # neighbors leave room for an arrow
    sides = sorted({math.sqrt(math.prod(level.shape[:2])) for level in parts}, reverse=True)
    heights = [TALLEST * math.sqrt(side / sides[0]) for side in sides]
    for box, column in zip(boxes, columns):
        row = box.level.row
        box.widths = tuple(max(THINNEST, scale * math.sqrt(channels)) for channels, _ in box.parts)
        left, bottom = MARGIN + step * column - sum(box.widths) / 2, -sum(heights[: row + 1]) - GAP * row
        box.frame = Bbox.from_bounds(left, bottom, sum(box.widths), heights[row])
    return boxes


def _results(parts: Sequence[Level]) -> list[_Box]:
    """The boxes, not yet in their places; concatenated features share the box of what was there before."""
    source = {id(layer.output): level.name for level in parts for layer in level.layers}
    boxes = []
    for level in parts:
        for layer in level.layers:
            joins = isinstance(layer, layers.Concatenate)
            tensors = layer.input if joins else [layer.output]
            channels = [(tensor.shape[-1], source[id(tensor)]) for tensor in tensors]
            begins = not boxes or boxes[-1].level is not level
            if joins and not begins:
                boxes[-1].parts = channels
            elif joins or begins or isinstance(layer, tuple(OPERATIONS)):
                boxes.append(_Box(level, _operation(layer), channels))
    return boxes


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


def _draw_steps(axes: Axes, boxes: Sequence[_Box]) -> list[Line2D]:
    """The arrows from box to box, each operation in its own color; returns what the legend says of them."""
    legend = {}
    for before, after in pairwise(boxes):
        (x, y), frame, target = before.center, before.frame, after.frame
        direction, start, end = "→", (frame.x1, y), (target.x0, y)
        if after.level.row > before.level.row:
            direction, start, end = "↓", (x, frame.y0), (x, target.y1 + NUMBER)
        elif after.level.row < before.level.row:
            direction, start, end = "↑", (x, frame.y1 + NUMBER), (x, target.y0)
        if after.operation not in legend:
            used = [line.get_marker() for line in legend.values()].count(f"${direction}$")
            style = {"color": ARROWS[used % len(ARROWS)], "marker": f"${direction}$", "markersize": 11, "linestyle": ""}
            legend[after.operation] = Line2D([], [], label=after.operation, **style)
        color = legend[after.operation].get_color()
        _arrow(axes, start, end, color=color, arrowstyle="-|>" if color == ARROWS[0] else "->")
    return list(legend.values())


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], **style) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 8, "linewidth": 1.1, "shrinkA": 1.5, "shrinkB": 1.5, **style}
    axes.annotate("", end, start, arrowprops=style)


def _draw_level(axes: Axes, level: Level, boxes: Sequence[_Box]) -> None:
    """Its boxes, each with its channels above; its name and size below, on the outer side of the U."""
    kind = level.name.split()[0]
    for box in boxes:
        x, bottom, _, height = box.frame.bounds
        for width, (_, source) in zip(box.widths, box.parts):
            color = IMAGE if box.operation == "image" else COLORS[source.split()[0]]
            axes.add_patch(Rectangle((x, bottom), width, height, facecolor=color, edgecolor=plots.INK, lw=0.6))
            x += width
        channels = " + ".join(str(channels) for channels, _ in box.parts)
        axes.annotate(channels, (box.center[0], box.frame.y1), (0, 2.5), ha="center", **SMALL)
    height, width, _ = level.shape
    words = f"{level.name}\n{height} × {width}"
    if kind == "head":
        axes.annotate(words, (boxes[-1].frame.x1, boxes[-1].center[1]), (4, 0), va="center", rotation=90, **SMALL)
        return
    first, last = boxes[0].center[0], boxes[-1].center[0]
    places = {"encoder": (last - 0.06, "right"), "bottleneck": ((first + last) / 2, "center")}
    x, side = places.get(kind, (first + 0.06, "left"))
    axes.annotate(words, (x, boxes[0].frame.y0), (0, -3), ha=side, va="top", **SMALL)
