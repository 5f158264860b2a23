"""Arrays in, figure out: images, errors, curves, thresholds, each with alternative text.

Images are uint8 (H, W, 3); mask, valid bool (H, W); probability uint8 (H, W), 255 is 1.0, or float in [0, 1].
Colors of errors are Okabe and Ito's, which color-blind readers can tell apart; lines differ in style as well: training
is dashed, validation solid. Predictions are shown in one order: image, truth, prediction, errors. The ground is
transparent, and ink and lines have a contrast of 3 at least with white and with the ground of JupyterLab's dark theme.
"""

from __future__ import annotations

import html
import io
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from PIL import Image

from roadseg import metrics
from roadseg.errors import clock

if TYPE_CHECKING:
    from roadseg.data import RoadData
    from roadseg.metrics import ThresholdSweep
    from roadseg.training import Progress

FOUND, MISSED, FALSE = "#0072B2", "#E69F00", "#D55E00"  # true positives, false negatives, false positives
UNET, SIMPLE, WITHOUT_SKIPS = "#B0489F", "#8F7355", "#1B9185"  # each network's own, in every figure; none is an error's
SLOW = "#4A8FD0"  # of any network trained at the script's learning rate, 1e-4
COLORS = ("#7A6FD0", "#C2607A", "#8F8F2E")  # of whatever else is compared
INK = "#797979"  # of text and axes: as far from white as from JupyterLab's dark ground
ROWS = np.array(["#0072B2", "#E69F00", "#CC79A7", "#4A8FD0", "#8F7355"])  # of a signal's numbers, and of their copies
SCORE_LINES = {  # color and style of each score by threshold
    "accuracy": (INK, ":"),
    "precision": ("#4A8FD0", "--"),
    "recall": ("#8F8F2E", "--"),
    "f1": (INK, "-"),
    "iou": ("#C2607A", "-"),
}
CASING = [withStroke(linewidth=1.6, foreground="#333333")]  # of a white line, which shows on any ground
WIDTH = 9.0  # inches: the width of a notebook's column
PIXEL_ASPECT = 0.5  # images squeezed to 256 x 256 are shown wide again
DOTS, FILM_DOTS = 200, 100  # an inch, of a figure and of the many in a film: sharp, and a notebook stays below 2 MB
PALETTE = {1: 20, 2: 20, 3: 215}  # colors of pixels that are a third, two thirds and wholly opaque
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))  # a second cue beside the colors
MARKERS = ("o", "s", "D", "^", "v", "P")
LEAST_SPAN = 0.02  # of the axis of a loss or an accuracy
STEP_WINDOW = 34  # training steps: half an epoch of the course, long enough that single batches no longer show
STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "figure.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
}
STYLE |= dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK
)


def styled(function: Callable) -> Callable:
    """Run a function that draws under the house style, and leave the reader's own settings alone."""

    @wraps(function)
    def drawn(*arguments, **options):
        with rc_context(STYLE):
            return function(*arguments, **options)

    return drawn


def show(figure: Figure, caption: str, *, alive: Mapping | None = None) -> None:
    """Show a figure in a notebook, its caption below, and below that, folded away, the figure in words.

    The figure's text form is the caption alone, so that two runs of a notebook compare equal.
    alive : the MIME bundle of a widget, which is shown in the figure's place while its kernel runs.
    """
    _display([figure], caption, alive=alive)


def play(figures: Sequence[Figure], caption: str, *, pause: float) -> None:
    """Show figures of one size in turn, `pause` seconds each, as a film that plays without a kernel, too: an animated
    PNG, which more viewers of notebooks play than a GIF. Its words are those of the last figure."""
    _display(figures, caption, dots=FILM_DOTS, pause=pause)


def _display(
    figures: Sequence[Figure],
    caption: str,
    *,
    plain: str = "",
    handles: Sequence = (),
    alive: Mapping | None = None,
    **encoding: float,
) -> Sequence:
    """Show a figure, or a film of several, and the words of the last; return the handles of both, or put them in the
    place of those.

    plain : the text form, which does not change when a figure grows; otherwise it is the caption. encoding : options of
    `encoded`."""
    from IPython import display, get_ipython

    if get_ipython() is None:  # a script, which has no place for figures
        print(caption)
        return []
    figure, image = figures[-1], {**(alive or {}), "image/png": encoded(*figures, **encoding)}
    image["text/plain"] = plain or caption
    shown = (image, {"image/png": {"alt": figure.get_label()}}), (_words(caption, figure, plain), {})
    if not handles:
        return [display.display(bundle, raw=True, metadata=about, display_id=True) for bundle, about in shown]
    for handle, (bundle, about) in zip(handles, shown):
        handle.update(bundle, raw=True, metadata=about)
    return handles


def _words(caption: str, figure: Figure, plain: str = "") -> dict[str, str]:
    """The caption, and below it, folded away, the figure in words."""
    words = f"*{caption}*\n\n<details><summary>In words</summary>{html.escape(figure.get_label())}</details>"
    return {"text/markdown": words, "text/plain": plain or caption}


@styled
def encoded(*figures: Figure, dots: int = 0, pause: float = 0) -> bytes:
    """A PNG of 256 colors, a third as large as one of all colors; of several figures a film, `pause` seconds each.

    dots : pixels an inch; 0 is DOTS."""
    drawn = []
    for figure in figures:
        figure.savefig(file := io.BytesIO(), format="png", dpi=dots or DOTS)
        drawn.append(np.asarray(Image.open(file).convert("RGBA")))
    pixels, palette = np.stack(drawn), [(0, 0, 0, 0)]
    opacity, places = np.rint(pixels[..., 3] / 85), np.zeros(pixels.shape[:3], np.uint8)
    for level, count in PALETTE.items():
        if (part := opacity == level).any():
            row = np.ascontiguousarray(pixels[part][None, :, :3])
            few = Image.fromarray(row[:, ::9].copy()).quantize(count, Image.Quantize.MAXCOVERAGE, kmeans=2)
            places[part] = len(palette) + np.asarray(Image.fromarray(row).quantize(palette=few, dither=0))[0]
            palette += [(*color, 85 * level) for color in np.reshape(few.getpalette(), (-1, 3))[:count].tolist()]
    frames = [Image.fromarray(frame) for frame in places]
    for frame in frames:
        frame.putpalette(np.ravel(palette).tolist(), "RGBA")
    film = {"save_all": True, "append_images": frames[1:], "duration": 1000 * pause} if pause else {}
    frames[0].save(file := io.BytesIO(), format="png", optimize=True, **film)
    return file.getvalue()


def grid(rows: int, columns: int, *, height: float, alt: str) -> tuple[Figure, np.ndarray]:
    """An empty figure in the house style: axes (rows, columns), each row `height` inches high."""
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.set_label(alt)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_image(axes, image: np.ndarray, title: str = "", *, outline: np.ndarray | None = None, **options) -> None:
    """Draw one image without axes; `outline`, bool (H, W), adds the edge of a mask as a white line."""
    axes.imshow(image, aspect=PIXEL_ASPECT, interpolation="nearest" if image.ndim == 2 else "antialiased", **options)
    if outline is not None and outline.any() and not outline.all():
        axes.contour(outline, levels=[0.5], colors="white", linewidths=0.8).set_path_effects(CASING)
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color=INK, linewidth=0.6)


@styled
def gallery(data: RoadData, indices: Sequence[int]) -> Figure:
    """Images by position, three in a row, each with the outline of its road."""
    names = ", ".join(data.names[i] for i in indices)
    alt = f"Road images {names}; a white line outlines the road."
    figure, axes = grid(-(-len(indices) // 3), 3, height=1.75, alt=alt)
    for cell in axes.flat[len(indices) :]:
        cell.set_axis_off()
    for cell, i in zip(axes.flat, indices):
        draw_image(cell, data.images[i], data.names[i], outline=data.masks[i])
    return figure


@styled
def sample(image: np.ndarray, mask: np.ndarray, weight: np.ndarray) -> Figure:
    """The three parts of one sample: image, mask, weight (channels last or absent)."""
    figure, axes = grid(1, 3, height=1.8, alt="One sample: the image, its mask and its weight, where white is 1.")
    parts = (("image (H, W, 3)", image), ("mask: 1 is road", mask), ("weight: 0 is excluded", weight))
    for cell, (title, part) in zip(axes[0], parts):
        part = np.squeeze(part)
        draw_image(cell, part, title, **({"cmap": "gray", "vmin": 0, "vmax": 1} if part.ndim == 2 else {}))
    return figure


def error_overlay(image: np.ndarray, mask: np.ndarray, valid: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The image in gray with found road in blue, missed road in orange, false road in vermilion: float (H, W, 3).
    Excluded pixels stay gray."""
    gray = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) / 255
    parts = ((FOUND, mask & predicted), (MISSED, mask & ~predicted), (FALSE, ~mask & predicted))
    for color, part in parts:
        gray[part & valid] = 0.35 * gray[part & valid] + 0.65 * np.array(to_rgb(color))
    return gray


@styled
def comparison(
    data: RoadData, names: Sequence[str], probability: np.ndarray, *, titles: Sequence[str] | None = None
) -> Figure:
    """Image, truth, prediction, errors: a row for each image. probability (n, H, W) in the order of `names`."""
    probability = probability / 255 if probability.dtype == np.uint8 else probability
    figure, axes = grid(len(names), 4, height=1.3 + 0.4 / len(names), alt="")  # the legend is of one height
    described = []
    for row, name, values, title in zip(axes, names, probability, titles or names):
        i = data.names.index(name)
        image, mask, valid = data.images[i], data.masks[i], data.valid[i]
        draw_image(row[0], image, title)
        draw_image(row[1], mask, "truth", cmap="gray")
        draw_image(row[2], values, "probability of road", cmap="cividis", vmin=0, vmax=1)
        draw_image(row[3], error_overlay(image, mask, valid, values >= 0.5), "errors", outline=mask)
        words = {name: name, "F1": f"F1 {metrics.confusion_counts(values, mask, valid).f1:.2f}"}
        described.append(", ".join([title, *(text for key, text in words.items() if key not in title)]))
    alt = f"Image, truth, probability and errors (blue: TP, orange: FN, vermilion: FP). {'; '.join(described)}."
    figure.set_label(alt)
    legend(figure, probability=True)
    return figure


def legend(figure: Figure, *, probability: bool = False) -> None:
    """The colors of `error_overlay` and the edge of the true road in words, below everything; before them those of
    probabilities, if wanted."""
    scale = zip(colormaps["cividis"]([0.0, 0.5, 1.0]), ("probability 0", "½", "1")) if probability else ()
    colors = (*scale, (FOUND, "found road (TP)"), (MISSED, "missed road (FN)"), (FALSE, "false road (FP)"))
    handles: list = [Patch(facecolor=color, edgecolor=INK, linewidth=0.5, label=text) for color, text in colors]
    handles.append(Line2D([], [], color="white", linewidth=0.8, path_effects=CASING, label="true edge"))
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), frameon=False, columnspacing=1.5)


@styled
def curves(
    named: Mapping[str, Mapping[str, np.ndarray] | Sequence[Mapping[str, np.ndarray]]],
    *,
    background: float | None = None,
    training: bool = True,
) -> Figure:
    """Loss and accuracy by epoch: training dashed, validation solid, each labeled at its end.

    named : by label: the `curves` of a run, or of several, such as of all seeds, in one color.
    training : False leaves the dashed curves out.
    background : the accuracy of predicting background everywhere, as a dotted line.
    """
    groups = {label: [group] if isinstance(group, Mapping) else list(group) for label, group in named.items()}
    described = [
        f"{label}: loss {c['val_loss'][-1]:.3f}, accuracy {c['val_accuracy'][-1]:.3f}"
        for label, group in groups.items()
        for c in group
    ]
    figure, axes = grid(
        1, 2, height=3.3, alt=f"Loss and accuracy by epoch. Last validation values: {'; '.join(described)}."
    )
    end = max(c["epoch"][-1] for group in groups.values() for c in group)
    for cell, quantity in zip(axes[0], ("loss", "accuracy")):
        last = {label: np.mean([c[f"val_{quantity}"][-1] for c in group]) for label, group in groups.items()}
        for color, (label, group) in zip(colors_of(groups), groups.items()):
            for columns in group:
                _draw_curve(cell, columns, quantity, training=training, color=color, linewidth=2 / len(group) ** 0.5)
            # from where a shorter line ends to its label
            cell.hlines(last[label], group[0]["epoch"][-1], end, color, ":", linewidth=1)
        _widen(cell, *([background] if quantity == "accuracy" and background is not None else []))
        _label_ends(cell, last, end=end)
        cell.set(xlabel="epoch", title=quantity if training else f"validation {quantity}")
    if background is not None:
        _mark_level(axes[0, 1], "all background", background)
    if training:
        _curve_legend(axes[0, 0])
    return figure


def _draw_curve(axes, columns: Mapping[str, np.ndarray], quantity: str, *, training: bool = True, **line) -> None:
    """Validation as a solid line, training as a thinner dashed one; a single epoch as dots, that of training hollow."""
    dot = {"marker": "o" if len(columns["epoch"]) == 1 else ""}
    if training:
        thin = line | {"linewidth": 0.6 * line.get("linewidth", 1.5)}
        axes.plot(columns["epoch"], columns[quantity], "--", markerfacecolor="none", **dot, **thin)
    axes.plot(columns["epoch"], columns[f"val_{quantity}"], **dot, **line)


def _curve_legend(axes) -> None:
    dot = {"marker": axes.lines[0].get_marker(), "markersize": 4}  # only where the curves themselves have some
    axes.plot([], [], "--", color=INK, label="training", markerfacecolor="none", **dot)
    axes.plot([], [], color=INK, label="validation", **dot)
    axes.legend(frameon=False)


def _widen(axes, *values: float) -> None:
    """Let the vertical axis show these values, too, and span LEAST_SPAN, so that digits that mean nothing look so."""
    low, high = min(*axes.get_ylim(), *values), max(*axes.get_ylim(), *values)
    more = max(0.0, LEAST_SPAN - (high - low)) / 2
    axes.set_ylim(low - more, high + more)


def colors_of(labels: Iterable[str]) -> list[str]:
    """A color for each label: a network's own for the first label that names it, else one that no network has."""
    own = {
        **dict.fromkeys(("1e-4", "assigned"), SLOW),
        **dict.fromkeys(("without", "no-skip"), WITHOUT_SKIPS),
        "simple": SIMPLE,
        **dict.fromkeys(("unet", "u-net", "with skips"), UNET),
    }
    rest, colors = cycle(COLORS), []
    for label in labels:
        color = next((color for word, color in own.items() if word in label.lower()), None)
        colors.append(next(rest) if color is None or color in colors else color)
    return colors


def _mark_level(axes, name: str, value: float) -> None:
    """A dotted horizontal line, its name on the right where no label of another line is."""
    low, high = axes.get_ylim()
    points = 72 * axes.figure.get_figheight() * axes.get_position().height / (high - low)
    labels = [(text.xy[1] - value) * points - 3 for text in axes.texts]  # as high above the line as they are offset
    free = (away for away in (4, -11, 14, -20, 24, -30) if all(abs(away - label) > 11 for label in labels))
    axes.axhline(value, color=INK, linestyle=":", linewidth=1)
    right = {"xycoords": ("axes fraction", "data"), "ha": "right"}
    _note(axes, name, (1, value), (0, next(free, 4)), fontsize=8, annotation_clip=False, **right)


def _note(axes, text: str, place: tuple, offset: tuple, **options) -> None:
    """Write a text so many points away from a place."""
    axes.annotate(text, place, offset, textcoords="offset points", **options)


def _label_ends(axes, last: Mapping[str, float], *, end: float) -> None:
    """Write each label behind the end of its line, moved apart where two lines end close together."""
    low, high = axes.get_ylim()
    gap = 0.065 * (high - low)
    order, heights, lowest, highest = sorted(last, key=last.get), {}, -np.inf, high
    for label in order:
        heights[label] = lowest = max(last[label], lowest + gap)
    for label in reversed(order):
        heights[label] = min(heights[label], highest)
        highest = heights[label] - gap
    for label, color in zip(last, colors_of(last)):
        _note(axes, label, (end, heights[label]), (5, -3), color=color, fontsize=8.5, annotation_clip=False)
    axes.set_xticks([tick for tick in MaxNLocator(6, integer=True).tick_values(1, end) if 1 <= tick <= end])
    room = min(0.42, 0.04 + 0.02 * max(map(len, last)))  # for the labels, in widths of the curves
    axes.set_xlim(right=end + room * (end - 1) + 0.5)


@styled
def bars(table: Mapping[str, Mapping[str, float]], *, columns: Sequence[str]) -> Figure:
    """Scores in [0, 1] as dots, a row for each name and a panel for each column; NaN and absent ones leave a gap."""
    text = "; ".join(
        f"{name} " + ", ".join(f"{c} {row.get(c, np.nan):.3f}" for c in columns) for name, row in table.items()
    )
    figure, axes = grid(1, len(columns), height=0.5 + 0.28 * len(table), alt=f"Scores: {text}.")
    colors = [INK if color in COLORS else color for color in colors_of(table)]
    for cell, column in zip(axes[0], columns):
        values = [row.get(column, np.nan) for row in table.values()]
        cell.hlines(range(len(values)), 0, values, color=INK, linewidth=0.5)
        cell.scatter(values, range(len(values)), color=colors, zorder=2)
        for place, value in enumerate(values):
            if value == value:
                _note(cell, f"{value:.3f}", (value, place), (6, -3.5), fontsize=8.5)
        highest = np.nanmax([0.1, *(row.get(name, np.nan) for row in table.values() for name in columns)])
        cell.set(xlim=(0, 1.2 * highest), title=column, yticks=range(len(values)), ylim=(len(values) - 0.5, -0.5))
        cell.set_yticklabels(table if cell is axes[0, 0] else [])
        cell.grid(axis="y", visible=False)
    return figure


@styled
def histograms(named: Mapping[str, np.ndarray]) -> Figure:
    """How often each probability occurs among some pixels, a panel for each name, and the threshold of one half."""
    alt = f"Histograms of probability: {', '.join(f'{name}, median {np.median(v):.3f}' for name, v in named.items())}."
    figure, axes = grid(1, len(named), height=2.3, alt=alt)
    for cell, (title, values) in zip(axes[0], named.items()):
        cell.hist(values, bins=50, range=(0, 1), density=True, color=INK)
        title = f"{title}\nmedian {np.median(values):.3f}"
        cell.set(title=title, xlabel="probability of road", yticks=[], xlim=(0, 1))
        cell.axvline(0.5, color=COLORS[0], linestyle=":")
    axes[0, 0].set_ylabel("density of pixels")
    return figure


@styled
def thresholds(sweep: ThresholdSweep, *, title: str = "") -> Figure:
    """Precision, recall, F1 and IoU against the threshold; and precision against recall, with MaxF marked."""
    best = sweep.best
    alt = (
        f"Left: precision, recall, F1 and IoU by threshold; right: precision by recall. Best F1 {sweep.max_f1:.3f} at "
        f"threshold {sweep.threshold:.2f}, average precision {sweep.average_precision:.3f}."
    )
    figure, axes = grid(1, 2, height=3.2, alt=alt)
    for name, label in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"), ("iou", "IoU")):
        color, style = SCORE_LINES[name]
        axes[0, 0].plot(sweep.thresholds, getattr(sweep, name), style, color=color, label=label)
    axes[0, 0].axvline(sweep.threshold, color=INK, linestyle=":", linewidth=1)
    axes[0, 0].set(xlabel="threshold", ylim=(0, 1.02), xlim=(0, 1), title=title)
    axes[0, 0].legend(frameon=False)
    axes[0, 1].plot(sweep.recall, sweep.precision, color=INK)
    axes[0, 1].plot(best.recall, best.precision, "o", color=INK)
    _note(axes[0, 1], f"MaxF {sweep.max_f1:.3f}", (best.recall, best.precision), (-62, -14))
    axes[0, 1].set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.05), title="precision and recall")
    return figure


def live(data: RoadData) -> Callable[[Progress], None]:
    """A callback for `train`: a figure that grows with every epoch, curves beside the prediction for the first
    validation image. Within an epoch the line below says how far it is, and how long all of it will take. At the end
    the prediction stays alone: `curves` draws the curves. A reused run shows nothing."""
    handles, drawn = (), None

    def callback(progress: Progress) -> None:
        nonlocal handles, drawn
        plain, ended = f"Training of {progress.title}.", progress.epoch == progress.epochs
        if progress.fraction:
            now = f"Epoch {progress.epoch + 1} of {progress.epochs}: {progress.fraction:.0%}{_time_left(progress)}"
            for handle in handles[1:]:
                handle.update(_words(f"{now} ({progress.title}).", drawn, plain), raw=True, metadata={})
            return
        if ended and not handles:
            return  # a reused run: there is nothing to watch
        reached = "The first epoch is under way"
        if progress.epoch:
            right = progress.curves["val_accuracy"][-1]
            reached = f"After epoch {progress.epoch}, {right:.1%} of all validation pixels are right"
        if ended:
            drawn = comparison(data, progress.validation_names[:1], progress.prediction[:1])
        else:
            drawn = _training(progress, data)
        handles = _display([drawn], f"{reached} ({progress.title}).", plain=plain, handles=handles)

    return callback


def _time_left(progress: Progress) -> str:
    """The end of a sentence: how long the rest of a training run takes; empty where that is not known."""
    return f", about {clock(progress.seconds_left)} minutes left" if progress.seconds_left else ""


@styled
def _training(progress: Progress, data: RoadData) -> Figure:
    """Loss, accuracy, and the prediction for the first image."""
    columns, epoch, quantities = progress.curves, progress.epoch, ("loss", "accuracy")
    described = "".join(f", validation {name} {columns[f'val_{name}'][-1]:.3f}" for name in quantities if epoch)
    alt = f"Training of {progress.title}, epoch {epoch} of {progress.epochs}{described}."
    figure, axes = grid(1, 3, height=2.5, alt=alt)
    (color,) = colors_of([progress.title])
    for cell, quantity in zip(axes[0], quantities):
        _draw_curve(cell, columns, quantity, color=color)
        cell.set(title=quantity, xlabel="epoch", xlim=(0.9, max(2, progress.epochs)))
        cell.set_ylim(0, 1) if not epoch else _widen(cell)
        cell.xaxis.get_major_locator().set_params(integer=True)
    _curve_legend(axes[0, 0])
    if progress.prediction is None:
        axes[0, 2].set_axis_off()
        axes[0, 2].set_title("the first prediction comes after epoch 1", fontsize=9)
    else:
        i = data.names.index(progress.validation_names[0])
        errors = error_overlay(data.images[i], data.masks[i], data.valid[i], progress.prediction[0] >= 128)
        draw_image(axes[0, 2], errors, data.names[i], outline=data.masks[i])
        legend(figure)
    pace = f", {progress.seconds_per_epoch:.1f} s an epoch" if epoch else ", the first epoch also compiles"
    figure.suptitle(f"{progress.title}: epoch {epoch} of {progress.epochs}{pace}{_time_left(progress)}", fontsize=10)
    return figure


def table(rows: Mapping[str, Mapping[str, float]], *, columns: Sequence[str], digits: int = 3):
    """Numbers as a Markdown table: a row for each name; what has no value is a dash. Columns of text are flush left."""
    from IPython.display import Markdown

    def cell(value) -> str:
        if isinstance(value, bool | str) or not isinstance(value, numbers.Real | None):
            return str(value).replace("|", r"\|")
        if value is None or value != value:
            return "–"
        return f"{value:,}" if isinstance(value, numbers.Integral) else f"{value:.{digits}f}"

    text = [any(isinstance(row.get(column), str) for row in rows.values()) for column in columns]
    head = ["| |" + "|".join(columns) + "|", "|---|" + "".join("---|" if left else "---:|" for left in text)]
    body = [[cell(name), *(cell(row.get(column)) for column in columns)] for name, row in rows.items()]
    return Markdown("\n".join([*head, *(f"| {' | '.join(cells)} |" for cells in body)]))


@styled
def steps(
    named: Mapping[str, Mapping[str, np.ndarray]], *, per_epoch: float, background: float | None = None
) -> Figure:
    """Training loss and accuracy by step, each point the mean of the last STEP_WINDOW steps, or of all.

    named : the `steps` of runs, by label.
    per_epoch : training steps in an epoch: the horizontal axis counts epochs.
    background : the accuracy of predicting background everywhere, as a dotted line.
    """
    window = min(STEP_WINDOW, *(len(columns["step"]) for columns in named.values()))
    ends = [f"{label}: loss {s['loss'][-window:].mean():.3f}" for label, s in named.items()]
    figure, axes = grid(1, 2, height=3.0, alt=f"Loss and accuracy by training step. At the end {'; '.join(ends)}.")
    for cell, quantity in zip(axes[0], ("loss", "accuracy")):
        last = {}
        for color, (label, columns) in zip(colors_of(named), named.items()):
            mean = np.convolve(columns[quantity], np.full(window, 1 / window), "valid")
            epochs = columns["step"][window - 1 :] / per_epoch
            cell.plot(epochs, mean, "--", color=color)  # dashed, as all that is measured in training
            last[label] = mean[-1]
        _label_ends(cell, last, end=max(columns["step"][-1] for columns in named.values()) / per_epoch)
        cell.set(xlabel="epoch", title=f"{quantity}, mean of the last {window} steps")
    if background is not None:
        _mark_level(axes[0, 1], "all background", background)
    return figure


@styled
def lines(
    named: Mapping[str, Sequence[float]],
    *,
    along: Sequence[float],
    labels: tuple[str, str],
    mark: tuple[str, float] | None = None,
) -> Figure:
    """Lines over the same places `along` the horizontal axis, each with its name; labels of both axes.
    `mark` names a dotted horizontal line."""
    ends = "; ".join(f"{name} from {values[0]:.3f} to {values[-1]:.3f}" for name, values in named.items())
    marked = f"; dotted line, {mark[0]}: {mark[1]:.3f}" if mark else ""
    figure, axes = grid(1, 1, height=2.7, alt=f"{labels[1]} by {labels[0]}: {ends}{marked}.")
    for color, values in zip(colors_of(named), named.values()):
        axes[0, 0].plot(along, values, color=color)
    axes[0, 0].set(xlabel=labels[0], ylabel=labels[1], ylim=(0, None))
    _label_ends(axes[0, 0], {name: values[-1] for name, values in named.items()}, end=along[-1])
    if mark is not None:
        _mark_level(axes[0, 0], *mark)
    return figure


@styled
def precision_recall(named: Mapping[str, ThresholdSweep]) -> Figure:
    """Precision by recall, MaxF as a dot on lines of equal F1; the legend has MaxF and AP in numbers (question 6)."""
    described = [f"{name}: MaxF {c.max_f1:.3f}, AP {c.average_precision:.3f}" for name, c in named.items()]
    figure, axes = grid(1, 2, height=3.6, alt=f"Precision by recall. {'; '.join(described)}.")
    recall = np.linspace(0.01, 1, 100)
    for f1 in (0.5, 0.6, 0.7, 0.8, 0.9):
        precision = np.divide(f1 * recall, 2 * recall - f1, out=np.full(100, np.nan), where=2 * recall > f1)
        axes[0, 0].plot(recall, precision, color=INK, linewidth=0.4)
        axes[0, 0].annotate(f"F1 {f1}", (1.02, f1 / (2 - f1)), fontsize=8, va="center")
    for color, style, text, sweep in zip(colors_of(named), cycle(LINE_STYLES), described, named.values()):
        found = sweep.true_positive > 0
        axes[0, 0].plot(sweep.recall[found], sweep.precision[found], linestyle=style, color=color, label=text)
        axes[0, 0].plot(sweep.best.recall, sweep.best.precision, "o", color=color)
    axes[0, 0].set(xlabel="recall", ylabel="precision", xlim=(0, 1.14), ylim=(0, 1.03))
    axes[0, 1].set_axis_off()
    axes[0, 1].legend(*axes[0, 0].get_legend_handles_labels(), loc="center left", frameon=False)
    return figure


@styled
def confusion(named: Mapping[str, np.ndarray], classes: Sequence[str]) -> Figure:
    """Confusion matrices, counts (k, k) with a row for each true class: each row as fractions that add up to 1."""
    fractions = {name: matrix / matrix.sum(1, keepdims=True) for name, matrix in named.items()}
    right = "; ".join(
        f"{name}: " + ", ".join(f"{label} {fraction[i, i]:.2f}" for i, label in enumerate(classes))
        for name, fraction in fractions.items()
    )
    figure, axes = grid(1, len(named), height=3.4, alt=f"Fraction of each true class by predicted class. {right}.")
    for cell, (title, fraction) in zip(axes[0], fractions.items()):
        cell.pcolormesh(fraction, cmap="Blues", vmin=0, vmax=1.2)
        for (row, column), value in np.ndenumerate(fraction):
            color = "white" if value > 0.6 else "black"
            cell.text(column + 0.5, row + 0.5, f"{value:.2f}", color=color, ha="center", va="center")
        places = np.arange(len(classes)) + 0.5
        cell.set(title=title, xlabel="predicted", xticks=places, yticks=places, ylim=(len(classes), 0), aspect="equal")
        cell.set_xticklabels(classes, fontsize=8)
        cell.set_yticklabels(classes if cell is axes[0, 0] else [], fontsize=8)
        cell.grid(visible=False)
    axes[0, 0].set_ylabel("true")
    return figure


def draw_copies(axes, copies: np.ndarray) -> None:
    """Rows that add up, (n, places), as stacked bars in a color each, negative ones downward, and a dot at the sum."""
    up, down = np.maximum(copies, 0), np.minimum(copies, 0)
    for bars in (up, down):
        row, place = np.nonzero(bars)
        base = (bars.cumsum(axis=0) - bars)[row, place]
        axes.bar(place + 0.5, bars[row, place], 0.85, base, color=ROWS[row])
    axes.plot(np.arange(copies.shape[1]) + 0.5, copies.sum(axis=0), "o", color=INK, markersize=3)
    low, high = down.sum(axis=0).min(), up.sum(axis=0).max()
    axes.set(xlim=(0, copies.shape[1]), ylim=(low - 0.1 * (high - low), high + 0.25 * (high - low)), xticks=[])


@styled
def copies(named: Mapping[str, np.ndarray]) -> Figure:
    """What each of at most five numbers adds to an output, (n, places), and the sum: a panel for each title."""
    sums = {title: rows.sum(axis=0) for title, rows in named.items()}
    described = "; ".join(f"{title}: {', '.join(f'{value:g}' for value in total)}" for title, total in sums.items())
    alt = f"Numbers by position, what each number of the input adds in its color. {described}."
    figure, axes = grid(1, len(named), height=1.9, alt=alt)
    for cell, (title, rows) in zip(axes[0], named.items()):
        draw_copies(cell, rows)
        cell.set_title(title, fontsize=9)
        cell.tick_params(labelleft=cell is axes[0, 0])
    limits = np.array([cell.get_ylim() for cell in axes[0]])
    for cell in axes[0]:
        cell.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    return figure


@styled
def receptive_fields(image: np.ndarray, fields: Mapping[str, int], *, center: tuple[int, int]) -> Figure:
    """One image (H, W, 3) as often as there are fields, each with the square of so many pixels around a pixel, `center`
    (row, column), that a value depends on; what lies outside of it is faded."""
    described = ", ".join(f"{name} {size} x {size} pixels" for name, size in fields.items())
    figure, axes = grid(1, len(fields), height=1.5, alt=f"Receptive fields around one pixel: {described}.")
    row, column = center
    for cell, (name, size) in zip(axes[0], fields.items()):
        corner = (column - size / 2, row - size / 2)
        inside = np.zeros(image.shape[:2], bool)
        rows, columns = (slice(max(0, place - size // 2), place + size // 2 + 1) for place in center)
        inside[rows, columns] = True
        draw_image(cell, np.where(inside[..., None], image, image // 3 + 150), f"{name}: {size} x {size}")
        cell.add_patch(Rectangle(corner, size, size, fill=False, color=UNET, linewidth=1.5))
    return figure


@styled
def image_rows(rows: Mapping[str, Mapping[str, np.ndarray]], *, describe: str, square: bool = False) -> Figure:
    """Rows of images (H, W, 3), or of heat maps (H, W), each on a scale of its own; `describe` starts the alt text.

    rows : by label, the images by title; the titles of the first row stand over all of them.
    """
    titles = list(next(iter(rows.values())))
    labels = f"Rows: {', '.join(rows)}; columns" if any(rows) else "From left to right"
    alt = f"{describe} {labels}: {', '.join(titles)}."
    height = (1 if square else PIXEL_ASPECT) * WIDTH / len(titles)
    figure, axes = grid(len(rows), len(titles), height=height + 0.2 / len(rows), alt=alt)
    for place, (label, shown) in enumerate(rows.items()):
        for cell, title, image in zip(axes[place], titles, shown.values()):
            draw_image(cell, image, "" if place else title, cmap="cividis")
            cell.set_aspect(1 if square else PIXEL_ASPECT)
        axes[place, 0].set_ylabel(label, fontsize=9)
    return figure


@styled
def spread(named: Mapping[str, Mapping[str, Sequence[float]]], *, unit: str, mark: tuple[str, float]) -> Figure:
    """Scores of several seeds as dots: a row for each name, a color for each series; `mark` names a vertical line."""
    described = "; ".join(
        f"{name}, {series}: {', '.join(f'{value:.3f}' for value in values)}"
        for name, row in named.items()
        for series, values in row.items()
    )
    figure, axes = grid(
        1, 1, height=0.9 + 0.45 * len(named), alt=f"{unit} by seed. {described}. {mark[0]} {mark[1]:.3f}."
    )
    series = list(dict.fromkeys(name for row in named.values() for name in row))
    for i, (name, color, marker) in enumerate(zip(series, colors_of(series), cycle(MARKERS))):
        height = 0.22 * (i - (len(series) - 1) / 2)
        dots = [(value, place + height) for place, row in enumerate(named.values()) for value in row.get(name, ())]
        axes[0, 0].plot(*zip(*dots), marker, color=color, label=name, markerfacecolor="none", markeredgewidth=1.5)
    axes[0, 0].axvline(mark[1], color=INK, linestyle=":", linewidth=1, label=mark[0])
    axes[0, 0].set(xlabel=unit, yticks=range(len(named)), ylim=(len(named) - 0.5, -0.5))
    axes[0, 0].set_yticklabels(named)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
