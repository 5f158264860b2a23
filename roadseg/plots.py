"""Arrays in, figure out: pictures, errors, curves, thresholds, each with alternative text.

Images are uint8 (H, W, 3); road, evaluated bool (H, W); probability uint8 (H, W), 255 is 1.0, or float in [0, 1].
Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines differ in style as well: training is
dashed, validation solid. Pictures of predictions come in one order: image, truth, prediction, errors.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

if TYPE_CHECKING:
    from .data import RoadData
    from .metrics import Curve
    from .training import Progress

RIGHT, MISSED, FALSE = "#0072B2", "#E69F00", "#D55E00"  # road found, road missed, road where there is none
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
WIDTH = 9.0  # inches: the width of a notebook's column
PIXEL_ASPECT = 0.5  # pictures squeezed to 256 x 256 are shown wide again
DOTS = 110  # an inch
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "figure.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


def styled(function: Callable) -> Callable:
    """Run a function that draws under the house style, and leave the reader's own settings alone."""

    @wraps(function)
    def drawn(*arguments, **options):
        with rc_context(STYLE):
            return function(*arguments, **options)

    return drawn


def show(figure: Figure, caption: str) -> None:
    """Show a figure in a notebook, its caption below; photographs as JPEG, drawings as PNG, both with alternative text.

    The figure's text form is the caption alone, so that two runs of a notebook compare equal.
    """
    _display(figure, caption)


@styled
def _display(figure: Figure, caption: str, *, handle=None):
    """Show a figure and return its handle, or put it in the place of the figure with this handle."""
    from IPython.display import Markdown, display

    kind = "jpeg" if any(axes.images for axes in figure.axes) else "png"
    file = io.BytesIO()
    options = {"quality": 88} if kind == "jpeg" else {"optimize": True}
    figure.savefig(file, format=kind, dpi=DOTS, facecolor="white", pil_kwargs=options)
    bundle = {f"image/{kind}": file.getvalue(), "text/plain": caption}
    metadata = {f"image/{kind}": {"alt": figure.get_label()}}
    if handle is not None:
        handle.update(bundle, raw=True, metadata=metadata)
        return handle
    handle = display(bundle, raw=True, metadata=metadata, display_id=True)
    display(Markdown(f"*{caption}*"))
    return handle


def grid(rows: int, columns: int, *, height: float, alt: str) -> tuple[Figure, np.ndarray]:
    """An empty figure in the house style: axes (rows, columns), each row `height` inches high."""
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.set_label(alt)
    return figure, figure.subplots(rows, columns, squeeze=False)


def picture(axes, image: np.ndarray, title: str = "", *, outline: np.ndarray | None = None, **options) -> None:
    """Draw one image without axes; `outline`, bool (H, W), adds the border of a mask."""
    axes.imshow(image, aspect=PIXEL_ASPECT, interpolation="nearest" if image.ndim == 2 else "antialiased", **options)
    if outline is not None and outline.any() and not outline.all():
        axes.contour(outline, levels=[0.5], colors=[RIGHT], linewidths=1.2)
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="0.7", linewidth=0.6)


@styled
def gallery(data: RoadData, indices: Sequence[int], *, columns: int = 3) -> Figure:
    """Pictures by position, each with the border of its road."""
    rows = -(-len(indices) // columns)
    names = ", ".join(data.names[i] for i in indices)
    figure, axes = grid(rows, columns, height=1.75, alt=f"Road pictures {names}; a blue line runs round the road.")
    for cell in axes.flat[len(indices) :]:
        cell.set_axis_off()
    for cell, i in zip(axes.flat, indices):
        picture(cell, data.images[i], data.names[i], outline=data.road[i])
    return figure


@styled
def sample(image: np.ndarray, road: np.ndarray, weight: np.ndarray) -> Figure:
    """The three parts of one sample as a network gets them: image, road, weight (channels last or absent)."""
    figure, axes = grid(1, 3, height=1.8, alt="One sample: the image, its road in white, its weight in white.")
    parts = (("image (H, W, 3)", image), ("road: 1 is road", road), ("weight: 0 is excluded", weight))
    for cell, (title, part) in zip(axes[0], parts):
        part = np.squeeze(part)
        picture(cell, part, title, **({"cmap": "gray", "vmin": 0, "vmax": 1} if part.ndim == 2 else {}))
    return figure


@styled
def masks(named: Mapping[str, np.ndarray]) -> Figure:
    """Heat maps float (H, W) in [0, 1], such as mean masks, dark is 0."""
    figure, axes = grid(1, len(named), height=1.6, alt=f"Heat maps of {', '.join(named)}; bright is likely road.")
    for cell, (title, mask) in zip(axes[0], named.items()):
        picture(cell, mask, title, cmap="cividis", vmin=0, vmax=1)
    return figure


def error_picture(image: np.ndarray, road: np.ndarray, evaluated: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in grey with road found in blue, missed in orange, false in vermillion: float (H, W, 3). Excluded
    pixels stay grey."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) / 255
    parts = ((RIGHT, road & predicted), (MISSED, road & ~predicted), (FALSE, ~road & predicted))
    for colour, mask in parts:
        mask = mask & evaluated
        grey[mask] = 0.35 * grey[mask] + 0.65 * np.array(to_rgb(colour))
    return grey


@styled
def comparison(
    data: RoadData,
    names: Sequence[str],
    probability: np.ndarray,
    *,
    threshold: float = 0.5,
    titles: Sequence[str] | None = None,
) -> Figure:
    """Image, truth, prediction, errors: a row for each picture. probability (n, H, W) in the order of `names`."""
    alt = f"Image, truth, predicted probability and errors of {', '.join(names)}: blue found, orange missed, red false."
    figure, axes = grid(len(names), 4, height=1.4, alt=alt)
    probability = probability / 255 if probability.dtype == np.uint8 else probability
    for row, name, values, title in zip(axes, names, probability, titles or names):
        i = data.names.index(name)
        errors = error_picture(data.images[i], data.road[i], data.evaluated[i], values >= threshold)
        picture(row[0], data.images[i], title)
        picture(row[1], data.road[i], "truth", cmap="gray")
        picture(row[2], values, "probability of road", cmap="cividis", vmin=0, vmax=1)
        picture(row[3], errors, "errors", outline=data.road[i])
    legend = ((RIGHT, "road found"), (MISSED, "road missed"), (FALSE, "false road"))
    figure.legend(
        handles=[Patch(color=c, label=t) for c, t in legend], loc="outside lower right", ncols=3, frameon=False
    )
    return figure


@styled
def curves(named: Mapping[str, Mapping[str, np.ndarray]], *, no_road: float | None = None) -> Figure:
    """Loss and accuracy by epoch: training dashed, validation solid, each labelled at its end.

    named : the `curves` of runs, by label. no_road : the accuracy of saying NO ROAD everywhere, as a dotted line.
    """
    ends = [
        f"{label}: loss {c['val_loss'][-1]:.3f}, accuracy {c['val_accuracy'][-1]:.3f}" for label, c in named.items()
    ]
    figure, axes = grid(1, 2, height=3.3, alt=f"Loss and accuracy by epoch. Last validation values: {'; '.join(ends)}.")
    for cell, quantity in zip(axes[0], ("loss", "accuracy")):
        for colour, columns in zip(COLOURS, named.values()):
            cell.plot(columns["epoch"], columns[quantity], "--", color=colour, linewidth=1.2)
            cell.plot(columns["epoch"], columns[f"val_{quantity}"], color=colour, linewidth=2)
        _label_ends(cell, {label: c[f"val_{quantity}"] for label, c in named.items()}, named)
        cell.set(xlabel="epoch", title=quantity)
    if no_road is not None:
        axes[0, 1].axhline(no_road, color="black", linestyle=":", linewidth=1)
        axes[0, 1].annotate("NO ROAD everywhere", (1, no_road), (2, -10), textcoords="offset points", fontsize=8)
    axes[0, 0].plot([], [], "--", color="grey", label="training")
    axes[0, 0].plot([], [], color="grey", label="validation")
    axes[0, 0].legend(frameon=False)
    return figure


def _label_ends(axes, ends: Mapping[str, np.ndarray], named: Mapping) -> None:
    """Write each label behind the end of its line, moved apart where two lines end close together."""
    low, high = axes.get_ylim()
    gap, last = 0.065 * (high - low), -np.inf
    colours = dict(zip(named, COLOURS))
    for label in sorted(ends, key=lambda name: ends[name][-1]):
        last = max(ends[label][-1], last + gap)
        end = max(columns["epoch"][-1] for columns in named.values())
        axes.annotate(label, (end, last), (5, -3), textcoords="offset points", color=colours[label], fontsize=8.5)
    axes.set_xticks(np.unique(np.linspace(1, end, min(int(end), 6)).round()))
    axes.set_xlim(right=end + 0.42 * (end - 1) + 0.5)


@styled
def bars(table: Mapping[str, Mapping[str, float]], *, columns: Sequence[str]) -> Figure:
    """Scores in [0, 1] as dots, a row for each name and a panel for each column; NaN and absent ones leave a gap."""
    text = "; ".join(
        f"{name} " + ", ".join(f"{c} {row.get(c, np.nan):.3f}" for c in columns) for name, row in table.items()
    )
    figure, axes = grid(1, len(columns), height=0.5 + 0.28 * len(table), alt=f"Scores: {text}.")
    for cell, column in zip(axes[0], columns):
        values = [row.get(column, np.nan) for row in table.values()]
        cell.hlines(range(len(values)), 0, values, color="0.8", linewidth=1)
        cell.plot(values, range(len(values)), "o", color=RIGHT)
        for place, value in enumerate(values):
            if value == value:
                cell.annotate(f"{value:.3f}", (value, place), (6, -3.5), textcoords="offset points", fontsize=8.5)
        cell.set(xlim=(0, 1.18), title=column, yticks=range(len(values)), ylim=(len(values) - 0.5, -0.5))
        cell.set_yticklabels(table if cell is axes[0, 0] else [])
        cell.grid(axis="y", visible=False)
    return figure


@styled
def histograms(named: Mapping[str, np.ndarray], *, mark: float | None = 0.5) -> Figure:
    """How often each probability occurs among some pixels, a panel for each name; `mark` draws a threshold."""
    alt = f"Histograms of probability: {', '.join(f'{name}, median {np.median(v):.2f}' for name, v in named.items())}."
    figure, axes = grid(1, len(named), height=2.3, alt=alt)
    for cell, (title, values) in zip(axes[0], named.items()):
        cell.hist(values, bins=50, range=(0, 1), density=True, color=RIGHT)
        cell.set(title=title, xlabel="probability of road", yticks=[], xlim=(0, 1))
        if mark is not None:
            cell.axvline(mark, color="black", linestyle=":")
    return figure


@styled
def thresholds(curve: Curve, *, title: str = "") -> Figure:
    """Precision, recall, F1 and IoU against the threshold; and precision against recall, with MaxF marked."""
    best = curve.best
    alt = (
        f"Left: precision, recall, F1 and IoU by threshold; right: precision by recall. Best F1 {curve.max_f1:.3f} at "
        f"threshold {curve.threshold:.2f}, average precision {curve.average_precision:.3f}."
    )
    figure, axes = grid(1, 2, height=3.2, alt=alt)
    styles = (("precision", "-", "precision"), ("recall", "--", "recall"), ("f1", "-", "F1"), ("iou", "-.", "IoU"))
    for colour, (name, style, label) in zip(COLOURS, styles):
        axes[0, 0].plot(curve.thresholds, getattr(curve, name), style, color=colour, label=label)
    axes[0, 0].axvline(curve.threshold, color="black", linestyle=":", linewidth=1)
    axes[0, 0].set(xlabel="threshold", ylim=(0, 1.02), xlim=(0, 1), title=title)
    axes[0, 0].legend(frameon=False)
    axes[0, 1].plot(curve.recall, curve.precision, color=RIGHT)
    axes[0, 1].plot(best.recall, best.precision, "o", color="black")
    axes[0, 1].annotate(
        f"MaxF {curve.max_f1:.3f}", (best.recall, best.precision), (-62, -14), textcoords="offset points"
    )
    axes[0, 1].set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.05), title="precision and recall")
    return figure


def live(data: RoadData, *, shown: str | None = None) -> Callable[[Progress], None]:
    """A watcher for `train`: one figure that grows with every epoch, curves beside the prediction for one picture.

    shown : name of the validation picture; None takes the first.
    """
    handle = None

    def watch(progress: Progress) -> None:
        nonlocal handle
        caption = f"Training of {progress.title}. In the picture: road found blue, missed orange, false vermillion."
        handle = _display(_training(progress, data, shown), caption, handle=handle)

    return watch


@styled
def _training(progress: Progress, data: RoadData, shown: str | None) -> Figure:
    """Loss, accuracy, and the prediction for one picture."""
    columns, epoch = progress.curves, progress.epoch
    figure, axes = grid(1, 3, height=2.5, alt=f"Training of {progress.title}, epoch {epoch} of {progress.epochs}.")
    for cell, quantity in zip(axes[0], ("loss", "accuracy")):
        cell.plot(
            columns["epoch"], columns[quantity], "--", color=COLOURS[0], label="training", marker="." * (epoch < 2)
        )
        cell.plot(
            columns["epoch"], columns[f"val_{quantity}"], color=COLOURS[0], label="validation", marker="." * (epoch < 2)
        )
        cell.set(title=quantity, xlabel="epoch", xlim=(1, max(2, progress.epochs)))
        cell.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].legend(frameon=False)
    if progress.prediction is None:
        axes[0, 2].set_axis_off()
        axes[0, 2].set_title("the first prediction comes after epoch 1", fontsize=9)
    else:
        names = progress.validation_names
        i = data.names.index(shown or names[0])
        values = progress.prediction[names.index(data.names[i])]
        errors = error_picture(data.images[i], data.road[i], data.evaluated[i], values >= 128)
        picture(axes[0, 2], errors, data.names[i], outline=data.road[i])
    left = f", about {int(progress.seconds_left) // 60}:{int(progress.seconds_left) % 60:02d} minutes left"
    pace = f", {progress.seconds_per_epoch:.1f} s an epoch" if epoch else ", the first epoch also compiles"
    figure.suptitle(
        f"{progress.title}: epoch {epoch} of {progress.epochs}{pace}{left if 0 < epoch < progress.epochs else ''}",
        fontsize=10,
    )
    return figure


def table(rows: Mapping[str, Mapping[str, float]], *, columns: Sequence[str], digits: int = 3):
    """Numbers as a Markdown table: a row for each name; what has no value is a dash. Columns of text are flush left."""
    from IPython.display import Markdown

    def cell(value) -> str:
        if value is None or value != value:
            return "–"
        return (
            f"{value:.{digits}f}"
            if isinstance(value, float)
            else f"{value:,}"
            if isinstance(value, int)
            else str(value)
        )

    text = [any(isinstance(row.get(column), str) for row in rows.values()) for column in columns]
    head = ["| |" + "|".join(columns) + "|", "|---|" + "".join("---|" if left else "---:|" for left in text)]
    body = [
        f"| {name} | " + " | ".join(cell(row.get(column)) for column in columns) + " |" for name, row in rows.items()
    ]
    return Markdown("\n".join(head + body))
