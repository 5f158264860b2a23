"""Panels on the predictions of a training run: the threshold (notebook 03, question 6) and the epochs (notebook 02).

Predictions are road probabilities of the run's validation images, uint8 (n, H, W), where 255 is 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import binary_erosion

from roadseg import metrics, plots
from roadseg.data import RoadData
from roadseg.errors import OptionError
from roadseg.widgets.panel import choice, html_table, mosaic, page, show_panel

if TYPE_CHECKING:
    from roadseg.runs import Run

SCORES = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "iou": "IoU"}
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the figure below the panel
EPOCHS = 6  # in the figure below the panel, at most
GAP = 4  # pixels between the two images of a page


def threshold(run: Run, data: RoadData) -> None:
    """Move the threshold: mask and errors of one image, and the scores of all validation images (question 6).

    data : what the run was trained on.

    Raises
    ------
    OptionError : other data than that of the run. RunError : no stored prediction.
    """
    import ipywidgets

    data, predictions = _validation(run, data), run.prediction()
    sweep = metrics.threshold_sweep(predictions, data.masks, data.valid)

    def view(threshold: float, image: str) -> str:
        value = round(threshold, 2)  # a browser's 0.6000000000000001 would leave out the pixels at 0.6
        return threshold_page(data, predictions, sweep, place=data.names.index(image), threshold=value)

    caption = "A low threshold predicts too much road, a high one misses road."
    slider = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.01)
    figure = _threshold_figure(data, predictions, sweep)
    show_panel(view, figure, caption, threshold=slider, image=choice(data.names))


def threshold_page(
    data: RoadData, predictions: np.ndarray, sweep: metrics.ThresholdSweep, *, place: int, threshold: float
) -> str:
    """Mask and errors of the image at `place` for a threshold in [0, 1], below the scores of all images.

    sweep : the scores of these predictions at all thresholds.
    """
    scored = metrics.confusion_counts(predictions, data.masks, data.valid, threshold=threshold)
    rows = {f"threshold {threshold:.2f}": scored, f"best F1 (MaxF), at {sweep.threshold:.3f}": sweep.best}
    scores = {name: {word: getattr(row, key) for key, word in SCORES.items()} for name, row in rows.items()}
    predicted = predictions[place] / 255 >= threshold
    alt = f"At threshold {threshold:.2f} {predicted.mean():.0%} is predicted as road; beside it the errors."
    words = html_table(scores, corner="all validation images") + _legend("what is predicted as road")
    return _beside_errors(words, colormaps["gray"](predicted.astype(float), bytes=True), data, place, predicted, alt)


@plots.styled
def _threshold_figure(data: RoadData, predictions: np.ndarray, sweep: metrics.ThresholdSweep) -> Figure:
    """Errors of the first image at a few thresholds, above the scores of all images at every threshold."""
    alt = (
        f"Errors of an image at thresholds from {THRESHOLDS[0]} to {THRESHOLDS[-1]}: less and less is predicted as "
        "road. Below, accuracy, precision, recall, F1 and IoU of all validation images by threshold; the best F1, "
        f"{sweep.max_f1:.3f}, lies at {sweep.threshold:.3f}."
    )
    titles = [f"threshold {value}" for value in THRESHOLDS]
    figure, axes = mosaic([titles, ["scores"] * len(titles)], height=3.7, alt=alt, height_ratios=(1, 2.6))
    for title, value in zip(titles, THRESHOLDS):
        errors = _errors(data, 0, predictions[0] / 255 >= value)
        plots.draw_image(axes[title], errors, title, outline=data.masks[0])
    for key, name in SCORES.items():
        color, style = plots.SCORE_LINES[key]
        axes["scores"].plot(sweep.thresholds, getattr(sweep, key), style, color=color, label=name)
    axes["scores"].axvline(sweep.threshold, color=plots.INK, linestyle=":", linewidth=1, label="best F1")
    axes["scores"].set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
    axes["scores"].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    plots.legend(figure)
    return figure


def epochs(run: Run, data: RoadData) -> None:
    """Move through the epochs: how the prediction of one image grew, with the losses and accuracies of all.

    The arguments and errors are those of `threshold`.
    """
    import ipywidgets

    data, count = _validation(run, data), len(run.curves["epoch"])

    def view(epoch: int, image: str) -> str:
        place = data.names.index(image)
        return epoch_page(data, run.prediction(epoch)[place], run.curves, place=place, epoch=epoch)

    caption = "One image after several epochs."
    slider = ipywidgets.IntSlider(1, min=1, max=count)
    shown = np.unique(np.linspace(1, count, EPOCHS).round().astype(int)).tolist()
    figure = _epoch_figure(data, {epoch: run.prediction(epoch)[0] for epoch in shown}, run.curves)
    show_panel(view, figure, caption, epoch=slider, image=choice(data.names))


def epoch_page(
    data: RoadData, prediction: np.ndarray, curves: Mapping[str, np.ndarray], *, place: int, epoch: int
) -> str:
    """Prediction, uint8 (H, W), and errors of the image at `place` after an epoch, below losses and accuracies.

    curves : as `Run.curves` has them; epoch counts from 1.
    """
    rows = {
        name: {key: curves[prefix + key][epoch - 1] for key in ("loss", "accuracy")}
        for name, prefix in (("training", ""), ("validation", "val_"))
    }
    f1 = metrics.confusion_counts(prediction, data.masks[place], data.valid[place]).f1
    predicted = prediction >= 128
    alt = f"After epoch {epoch} {predicted.mean():.0%} is predicted as road; beside the probability the errors."
    words = html_table(rows, corner="all images") + f"F1 of this image at threshold 0.5: {f1:.2f}."
    words += _legend("probability of road, dark blue 0, gray ½, yellow 1")
    return _beside_errors(words, colormaps["cividis"](prediction, bytes=True), data, place, predicted, alt)


@plots.styled
def _epoch_figure(data: RoadData, predictions: Mapping[int, np.ndarray], curves: Mapping[str, np.ndarray]) -> Figure:
    """Predictions, by epoch, and errors of the first image; two epochs in a row."""
    alt = (
        f"An image after each of these epochs, {', '.join(map(str, predictions))}: the probability of road, then the "
        "errors, with the F1 of this image. "
        f"The loss of all validation images goes from {curves['val_loss'][0]:.3f} to {curves['val_loss'][-1]:.3f}."
    )
    figure, axes = plots.grid(-(-len(predictions) // 2), 4, height=1.5, alt=alt)
    pairs = axes.reshape(-1, 2)
    for cell in pairs[len(predictions) :].flat:
        cell.set_axis_off()
    for (left, right), (epoch, prediction) in zip(pairs, predictions.items()):
        f1 = metrics.confusion_counts(prediction, data.masks[0], data.valid[0]).f1
        plots.draw_image(left, prediction / 255, f"after epoch {epoch}", cmap="cividis", vmin=0, vmax=1)
        plots.draw_image(right, _errors(data, 0, prediction >= 128), f"F1 {f1:.2f}", outline=data.masks[0])
    plots.legend(figure, probability=True)
    return figure


def _validation(run: Run, data: RoadData) -> RoadData:
    """A copy of the run's validation images, in the order of its predictions."""
    if data.fingerprint != run.settings["data"]:
        raise OptionError(
            f"{run.path.name} was trained on other data: pass the data that it was trained on, as roadseg.data.load "
            "gives it."
        )
    where = [data.names.index(name) for name in run.validation_names]
    parts = (data.images[where], data.masks[where], data.valid[where])
    return RoadData(*parts, run.validation_names, data.source, data.fingerprint)


def _errors(data: RoadData, place: int, predicted: np.ndarray) -> np.ndarray:
    """The colors of errors over the image at `place`, float (H, W, 3)."""
    return plots.error_overlay(data.images[place], data.masks[place], data.valid[place], predicted)


def _beside_errors(words: str, left: np.ndarray, data: RoadData, place: int, predicted: np.ndarray, alt: str) -> str:
    """A page with an image, uint8 (H, W, 4), and beside it the errors, in white the inner edge of the true road."""
    mask = data.masks[place]
    border = mask & ~binary_erosion(mask, border_value=1)
    errors = np.where(border[..., None], 1.0, _errors(data, place, predicted))
    right = np.dstack([np.rint(255 * errors).astype(np.uint8), np.full_like(mask, 255, np.uint8)])
    pixels = np.hstack([left, np.zeros((len(left), GAP, 4), np.uint8), right])
    height, width, _ = pixels.shape
    return page(words, Image.fromarray(pixels), alt, size=(1024, round(1024 * height / width * plots.PIXEL_ASPECT)))


def _legend(left: str) -> str:
    """What the left image shows, and the colors of errors in the right one."""
    named = ((plots.FOUND, "road found (TP)"), (plots.MISSED, "missed (FN)"), (plots.FALSE, "false road (FP)"))
    square = "<span style='background: {}; display: inline-block; width: 0.9em; height: 0.9em'></span>&nbsp;{}"
    squares = " ".join(square.format(color, text) for color, text in named)
    return f"<div>Left: {escape(left)}. Right: {squares}; white is the edge of the true road.</div>"
