"""Panels to play with in a notebook, each above a figure that shows the same without a control.

Every panel is a function of its state: the views below take arrays and give words and a picture. Predictions are
those of a run on its validation pictures, uint8 (n, H, W), 255 is 1.0. Notebook 02 looks at epochs and at the levels
of the U-Net, notebook 03 at thresholds (question 6) and at the transposed convolution (question 7).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from . import drawing, metrics, plots
from .backend import keras
from .errors import OptionError
from .explore_convolution import transposed_convolution
from .explore_panel import (
    View,
    choice,
    coloured,
    joined,
    legend,
    outlined,
    panel,
    paragraph,
    shown,
    side_by_side,
    table,
)

if TYPE_CHECKING:
    from .data import RoadData
    from .runs import Run

__all__ = ["epoch_view", "epochs", "level_view", "threshold", "threshold_view", "transposed_convolution", "unet_levels"]

SCORES = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "iou": "IoU"}
LINES = (("0.4", ":"), (plots.RIGHT, "--"), (plots.MISSED, "--"), (plots.RIGHT, "-"), (plots.COLOURS[3], "-"))
ERRORS = "Blue is road found, orange road missed, vermillion false road."
TILES = (480, 960)  # pixels: height and width of all feature maps of a level


def threshold(run: Run, roads: RoadData, *, first: str | None = None) -> None:
    """Move the threshold: mask and errors of one picture, and the scores of all validation pictures (question 6).

    first : name of the validation picture to begin with; None takes the first.

    Raises
    ------
    OptionError : other pictures than those of the run, or an unknown name. RunError : no stored prediction.
    """
    import ipywidgets

    pictures, first = _validation(run, roads, first)
    prediction = run.prediction()
    curve = metrics.curve(prediction, pictures.road, pictures.evaluated)

    def view(threshold: float, picture: str) -> View:
        i = pictures.names.index(picture)
        return threshold_view(*_picture(pictures, i), prediction[i], curve, threshold=threshold)

    slider = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.01)
    made = panel(view, threshold=slider, picture=choice(pictures.names, first))
    figure = _threshold_figure(pictures, pictures.names.index(first), prediction, curve)
    shown(made, figure, f"A low threshold calls much road that is none, a high one misses road. {ERRORS}")


def threshold_view(
    image: np.ndarray,
    road: np.ndarray,
    evaluated: np.ndarray,
    probability: np.ndarray,
    curve: metrics.Curve,
    *,
    threshold: float,
) -> View:
    """Mask and errors of one picture, probability uint8 (H, W), at a threshold, beside the scores of a whole `curve`.

    A step of 0.01 lies between two of the curve's 256 thresholds, but no 8-bit probability does.
    """
    called = probability / 255 >= threshold
    errors = plots.error_picture(image, road, evaluated, called)
    level = int(np.searchsorted(curve.thresholds, threshold))
    rows = {
        f"threshold {threshold:.2f}": {name: getattr(curve, key)[level] for key, name in SCORES.items()},
        f"best F1, at {curve.threshold:.3f}": {name: getattr(curve.best, key) for key, name in SCORES.items()},
    }
    alt = (
        f"At threshold {threshold:.2f} {called.mean():.0%} of the pixels are called road: left where, right the errors."
    )
    picture = side_by_side(called.astype(float), outlined(errors, road))
    return View(table(rows, corner="all validation pictures") + legend("what is called road"), picture, alt)


@plots.styled
def _threshold_figure(pictures: RoadData, i: int, prediction: np.ndarray, curve: metrics.Curve) -> Figure:
    """Errors of a picture at five thresholds, above the scores of all pictures at every threshold."""
    thresholds = (0.1, 0.3, 0.5, 0.7, 0.9)
    alt = (
        f"Errors of {pictures.names[i]} at thresholds from 0.1 to 0.9: less and less is called road. Below, accuracy, "
        f"precision, recall, F1 and IoU of all validation pictures by threshold; the best F1, {curve.max_f1:.3f}, lies "
        f"at {curve.threshold:.3f}."
    )
    figure, axes = plots.grid(2, len(thresholds), height=1.85, alt=alt)
    image, road, evaluated = _picture(pictures, i)
    for cell, value in zip(axes[0], thresholds):
        errors = plots.error_picture(image, road, evaluated, prediction[i] / 255 >= value)
        plots.picture(cell, errors, f"threshold {value}", outline=road)
    axes[0, 0].get_gridspec().set_height_ratios((1, 2.6))
    wide = joined(figure, axes[1])
    for (colour, style), (key, name) in zip(LINES, SCORES.items()):
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

    pictures, first = _validation(run, roads, first)
    curves = run.curves
    predictions = [run.prediction(epoch) for epoch in range(1, len(curves["epoch"]) + 1)]

    def view(epoch: int, picture: str) -> View:
        i = pictures.names.index(picture)
        return epoch_view(*_picture(pictures, i), predictions[epoch - 1][i], curves, epoch=epoch)

    slider = ipywidgets.IntSlider(1, min=1, max=len(predictions))
    made = panel(view, epoch=slider, picture=choice(pictures.names, first))
    i = pictures.names.index(first)
    figure = _epoch_figure(pictures, i, [prediction[i] for prediction in predictions], curves)
    shown(made, figure, f"One picture after more and more epochs: the road comes out of the haze. {ERRORS}")


def epoch_view(
    image: np.ndarray,
    road: np.ndarray,
    evaluated: np.ndarray,
    probability: np.ndarray,
    curves: Mapping[str, np.ndarray],
    *,
    epoch: int,
) -> View:
    """Probability, uint8 (H, W), and errors of one picture after an epoch, with what the run's curves say of it."""
    errors = plots.error_picture(image, road, evaluated, probability >= 128)
    rows = {
        "training": {key: curves[key][epoch - 1] for key in ("loss", "accuracy")},
        "validation": {key: curves[f"val_{key}"][epoch - 1] for key in ("loss", "accuracy")},
    }
    share = (probability >= 128).mean()
    alt = f"After epoch {epoch} {share:.0%} of the pixels are called road: left its probability, right the errors."
    picture = side_by_side(coloured(probability / 255), outlined(errors, road))
    return View(table(rows, corner="all pictures") + legend("probability of road"), picture, alt)


@plots.styled
def _epoch_figure(
    pictures: RoadData, i: int, probabilities: Sequence[np.ndarray], curves: Mapping[str, np.ndarray]
) -> Figure:
    """Probability and errors of a picture after up to six epochs, two of them in a row."""
    chosen = np.unique(np.linspace(1, len(probabilities), min(6, len(probabilities))).round().astype(int))
    image, road, evaluated = _picture(pictures, i)
    alt = (
        f"Predictions for {pictures.names[i]} after epochs {', '.join(map(str, chosen))}: each time the probability of "
        f"road, then the errors, with loss and accuracy of all validation pictures above. "
        f"The loss goes from {curves['val_loss'][0]:.3f} to {curves['val_loss'][-1]:.3f}."
    )
    figure, axes = plots.grid(-(-len(chosen) // 2), 4, height=1.5, alt=alt)
    pairs = axes.reshape(-1, 2)
    for cell in pairs[len(chosen) :].flat:
        cell.set_axis_off()
    for (left, right), epoch in zip(pairs, chosen):
        values = probabilities[epoch - 1] / 255
        loss, accuracy = curves["val_loss"][epoch - 1], curves["val_accuracy"][epoch - 1]
        plots.picture(left, values, f"epoch {epoch}: loss {loss:.3f}", cmap="cividis", vmin=0, vmax=1)
        errors = plots.error_picture(image, road, evaluated, values >= 0.5)
        plots.picture(right, errors, f"accuracy {accuracy:.3f}", outline=road)
    return figure


def unet_levels(model: keras.Model, image: np.ndarray) -> None:
    """Choose a level of a U-Net: its shape, its parameters, and all of its feature maps for one picture.

    model : from pictures to pictures, such as `run.model()`. image : uint8 (H, W, 3).

    Raises
    ------
    OptionError : another kind of model, or an image of another shape or type than the model takes.
    """
    parts, maps = drawing.levels(model), feature_maps(model, image)
    view = cache(lambda level: level_view(parts, maps, level=level))
    made = panel(view, level=choice(maps, next(iter(maps))))
    caption = "Down the maps become coarser and more, up finer and fewer, until one is left: the road."
    shown(made, _level_figure(parts, maps, image), caption)


def feature_maps(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """What every level of a network gives for an image, uint8 (H, W, 3): float32 (h, w, channels) by level.

    Raises OptionError for another shape or type, and as `drawing.levels` does.
    """
    parts = drawing.levels(model)
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.shape != model.input_shape[1:]:
        raise OptionError(
            f"image: expected uint8 {model.input_shape[1:]}, found {image.dtype} {image.shape}; "
            "pass one of the pictures that the network was made for, such as roads.images[0]."
        )
    results = keras.Model(model.input, [level.layers[-1].output for level in parts])(image[None] / np.float32(255))
    return {level.name: np.asarray(result[0]) for level, result in zip(parts, results)}


def level_view(parts: Sequence[drawing.Level], maps: Mapping[str, np.ndarray], *, level: str) -> View:
    """Shape, parameters and tiled feature maps of one level; maps float (h, w, channels) by level.

    Raises OptionError for an unknown level.
    """
    if level not in maps:
        raise OptionError(f"no level is called {level!r}: choose one of {', '.join(maps)}.")
    part = next(part for part in parts if part.name == level)
    values = maps[level]
    silent = int((values.reshape(-1, values.shape[-1]) == 0).all(axis=0).sum())
    words = f"{_described(part)}. Feature maps that are 0 everywhere: {silent} of {values.shape[-1]}."
    scale = "In each map the lowest value is dark, the highest bright."
    return View(paragraph(f"{words} {scale}"), tiled(values), f"Feature maps of {words}")


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
def _level_figure(parts: Sequence[drawing.Level], maps: Mapping[str, np.ndarray], image: np.ndarray) -> Figure:
    """The picture, then the feature maps of every level."""
    alt = f"The picture and all its feature maps by level: {'; '.join(_described(part) for part in parts)}."
    named = {"the picture": image, **{_described(part): tiled(maps[part.name]) for part in parts}}
    figure, axes = plots.grid(-(-len(named) // 3), 3, height=1.85, alt=alt)
    for cell in axes.flat[len(named) :]:
        cell.set_axis_off()
    for cell, (title, picture) in zip(axes.flat, named.items()):
        plots.picture(cell, picture, title.replace(", ", "\n"))
        cell.set_aspect(plots.PIXEL_ASPECT if picture is image else 1)
    return figure


def _described(level: drawing.Level) -> str:
    """Such as "encoder 1: 256 × 256 × 8, 808 parameters"."""
    return f"{level.name}: {' × '.join(map(str, level.shape))}, {level.parameters:,} parameters"


def _validation(run: Run, roads: RoadData, first: str | None) -> tuple[RoadData, str]:
    """The run's validation pictures, in the order of its predictions, and the name of the one to begin with."""
    if roads.fingerprint != run.settings["data"]:
        raise OptionError(
            f"{run.path.name} was trained on other pictures than these: load those with roadseg.data.load, "
            "or train on these."
        )
    names = run.validation_names
    if first not in (None, *names):
        raise OptionError(f"first is {first!r}: choose a validation picture of the run, such as {names[0]}.")
    where = [roads.names.index(name) for name in names]
    arrays = {key: getattr(roads, key)[where] for key in ("images", "road", "evaluated")}
    return replace(roads, names=names, **arrays), first or names[0]


def _picture(pictures: RoadData, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return pictures.images[i], pictures.road[i], pictures.evaluated[i]
