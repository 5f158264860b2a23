"""Panels to play with in a notebook, each above a figure that shows the same without a control.

What a panel shows is a function of its state: the views take arrays and give words and a picture. Predictions are
those of a run on its validation pictures, uint8 (n, H, W), 255 is 1.0. Notebook 02 looks at epochs and at the levels
of the U-Net, notebook 03 at thresholds (question 6) and at the transposed convolution (question 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from roadseg import metrics, plots
from roadseg.errors import OptionError
from roadseg.widgets.convolution import transposed_convolution
from roadseg.widgets.levels import unet_levels
from roadseg.widgets.panel import (
    View,
    choice,
    coloured,
    joined,
    legend,
    outlined,
    panel,
    shown,
    side_by_side,
    table,
)

if TYPE_CHECKING:
    from roadseg.data import RoadData
    from roadseg.runs import Run

__all__ = ["Picture", "epoch_view", "epochs", "threshold", "threshold_view", "transposed_convolution", "unet_levels"]

SCORES = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "iou": "IoU"}
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the figure below the panel
EPOCHS = 6  # in the figure below the panel, at most
COLOURS = "Blue is road found, orange road missed, vermilion false road."


class Picture(NamedTuple):
    """A validation picture: image uint8 (H, W, 3); road, evaluated bool (H, W)."""

    image: np.ndarray
    road: np.ndarray
    evaluated: np.ndarray


def threshold(run: Run, roads: RoadData, *, first: str | None = None) -> None:
    """Move the threshold: mask and errors of one picture, and the scores of all validation pictures (question 6).

    first : name of the validation picture to begin with; None takes the first.

    Raises
    ------
    OptionError : other pictures than those of the run, or an unknown name. RunError : no stored prediction.
    """
    import ipywidgets

    pictures = _validation(run, roads)
    first = _known(first, pictures)
    predictions = dict(zip(pictures, run.prediction()))
    _, road, evaluated = map(np.stack, zip(*pictures.values()))
    curve = metrics.curve(np.stack(list(predictions.values())), road, evaluated)

    def view(threshold: float, picture: str) -> View:
        exact = round(threshold, 2)  # a browser's 0.6000000000000001 would leave out the pixels at 0.6
        return threshold_view(pictures[picture], predictions[picture], curve, threshold=exact)

    slider = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.01)
    made = panel(view, threshold=slider, picture=choice(pictures, first))
    figure = _threshold_figure(pictures[first], predictions[first], curve)
    shown(made, figure, f"A low threshold calls much road that is none, a high one misses road. {COLOURS}")


def threshold_view(picture: Picture, probability: np.ndarray, curve: metrics.Curve, *, threshold: float) -> View:
    """Mask and errors of one picture at a threshold, beside the scores of many pictures, whose `curve` it is.

    probability : uint8 (H, W). Raises OptionError for a threshold that is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise OptionError(f"threshold: expected a number in [0, 1], found {threshold}; 0.5 is the usual one.")
    called = probability / 255 >= threshold
    level = int(np.searchsorted(curve.thresholds, threshold))  # no 8-bit probability lies between it and the threshold
    rows = {
        f"threshold {threshold:.2f}": {name: getattr(curve, key)[level] for key, name in SCORES.items()},
        f"best F1, at {curve.threshold:.3f}": {name: getattr(curve.best, key) for key, name in SCORES.items()},
    }
    words = table(rows, corner="all validation pictures") + legend("what is called road")
    alt = f"At threshold {threshold:.2f} {called.mean():.0%} of the picture is called road; left where, right errors."
    return View(words, side_by_side(called.astype(float), _errors(picture, called)), alt)


@plots.styled
def _threshold_figure(picture: Picture, probability: np.ndarray, curve: metrics.Curve) -> Figure:
    """Errors of a picture at a few thresholds, above the scores of all pictures at every threshold."""
    alt = (
        f"Errors of a picture at thresholds from {THRESHOLDS[0]} to {THRESHOLDS[-1]}: less and less is called road. "
        "Below, accuracy, precision, recall, F1 and IoU of all validation pictures by threshold; the best F1, "
        f"{curve.max_f1:.3f}, lies at {curve.threshold:.3f}."
    )
    figure, axes = plots.grid(2, len(THRESHOLDS), height=1.85, alt=alt)
    axes[0, 0].get_gridspec().set_height_ratios((1, 2.6))
    for cell, value in zip(axes[0], THRESHOLDS):
        errors = plots.error_picture(*picture, probability / 255 >= value)
        plots.picture(cell, errors, f"threshold {value}", outline=picture.road)
    wide = joined(figure, axes[1])
    for key, name in SCORES.items():
        colour, style = plots.SCORE_LINES[key]
        wide.plot(curve.thresholds, getattr(curve, key), style, color=colour, label=name)
    wide.axvline(curve.threshold, color="black", linestyle=":", linewidth=1)
    wide.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
    wide.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def epochs(run: Run, roads: RoadData, *, first: str | None = None) -> None:
    """Move through the epochs: how the prediction of one picture grew, with the losses and accuracies of all.

    first : name of the validation picture to begin with; None takes the first.

    Raises
    ------
    OptionError : other pictures than those of the run, or an unknown name. RunError : a prediction is not stored.
    """
    import ipywidgets

    pictures = _validation(run, roads)
    first = _known(first, pictures)
    count = len(run.curves["epoch"])

    def predicted(epoch: int, picture: str) -> np.ndarray:
        return run.prediction(epoch)[list(pictures).index(picture)]

    def view(epoch: int, picture: str) -> View:
        return epoch_view(pictures[picture], predicted(epoch, picture), run.curves, epoch=epoch)

    made = panel(view, epoch=ipywidgets.IntSlider(1, min=1, max=count), picture=choice(pictures, first))
    figure = _epoch_figure(pictures[first], [predicted(i, first) for i in range(1, count + 1)], run.curves)
    shown(made, figure, f"One picture after more and more epochs: grey, undecided, becomes sure. {COLOURS}")


def epoch_view(picture: Picture, probability: np.ndarray, curves: Mapping[str, np.ndarray], *, epoch: int) -> View:
    """Probability, uint8 (H, W), and errors of one picture after an epoch, beside its losses and accuracies.

    curves : as `Run.curves` has them; epoch counts from 1.
    """
    called = probability >= 128
    rows = {
        name: {key: curves[prefix + key][epoch - 1] for key in ("loss", "accuracy")}
        for name, prefix in (("training", ""), ("validation", "val_"))
    }
    words = table(rows, corner="all pictures") + legend("probability of road, dark blue 0, grey ½, yellow 1")
    alt = f"After epoch {epoch} {called.mean():.0%} of the picture is called road; left how probable, right errors."
    return View(words, side_by_side(coloured(probability / 255), _errors(picture, called)), alt)


@plots.styled
def _epoch_figure(picture: Picture, probabilities: Sequence[np.ndarray], curves: Mapping[str, np.ndarray]) -> Figure:
    """Probability and errors of a picture after a few epochs, two of them in a row."""
    chosen = np.unique(np.linspace(1, len(probabilities), EPOCHS).round().astype(int))
    alt = (
        f"A picture after epochs {', '.join(map(str, chosen))}: each time the probability of road, then the errors, "
        "with the F1 of this picture. "
        f"The loss of all validation pictures goes from {curves['val_loss'][0]:.3f} to {curves['val_loss'][-1]:.3f}."
    )
    figure, axes = plots.grid(-(-len(chosen) // 2), 4, height=1.5, alt=alt)
    pairs = axes.reshape(-1, 2)
    for cell in pairs[len(chosen) :].flat:
        cell.set_axis_off()
    for (left, right), epoch in zip(pairs, chosen):
        values = probabilities[epoch - 1] / 255
        f1 = metrics.counts(values, picture.road, picture.evaluated).f1
        plots.picture(left, values, f"after epoch {epoch}", cmap="cividis", vmin=0, vmax=1)
        errors = plots.error_picture(*picture, values >= 0.5)
        plots.picture(right, errors, f"F1 {f1:.2f}", outline=picture.road)
    plots.legend(figure)
    return figure


def _errors(picture: Picture, called: np.ndarray) -> np.ndarray:
    return outlined(plots.error_picture(*picture, called), picture.road)


def _validation(run: Run, roads: RoadData) -> dict[str, Picture]:
    """The run's validation pictures by name, in the order of its predictions; copied, as panels live long."""
    if roads.fingerprint != run.settings["data"]:
        raise OptionError(
            f"{run.path.name} was trained on other pictures than these: pass those that it was trained on, as "
            "roadseg.data.load gives them."
        )
    places = [roads.names.index(name) for name in run.validation_names]
    parts = (roads.images, roads.road, roads.evaluated)
    return {roads.names[i]: Picture(*(part[i].copy() for part in parts)) for i in places}


def _known(first: str | None, pictures: Mapping[str, Picture]) -> str:
    """The name of the picture to begin with."""
    usual = next(iter(pictures))
    if first not in (None, *pictures):
        raise OptionError(f"first is {first!r}: choose a validation picture of the run, such as {usual}.")
    return first or usual
