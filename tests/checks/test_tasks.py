"""The exercises without points: right versions in several styles, every wrong one named, and what is not a function."""

import numpy as np
import pytest

from roadseg import checks
from roadseg.backend import keras
from roadseg.checks import tasks

CHECKS = {"iou_and_f1": tasks.SCORES, "mean_mask": tasks.MEANS, "training_loop": tasks.LOOPS}
WRONG = [(name, *version) for name, versions in CHECKS.items() for version in versions if version[0]]


@pytest.mark.parametrize("name, cause, message, version", WRONG, ids=[f"{name}-{cause}" for name, cause, *_ in WRONG])
def test_every_wrong_version_is_named(name, cause, message, version):
    result = getattr(checks, name)(version)
    assert (result.passed, result.cause, result.message) == (False, cause, message)
    assert result.function is CHECKS[name][0][-1]


def scores_of_arrays(predicted, truth):
    both, either = np.logical_and(predicted, truth).sum(), np.logical_or(predicted, truth).sum()
    return np.array([both / either, 2 * both / (predicted.sum() + truth.sum())])


def loop_by_fresh_metrics(model, train_batches, val_batches, epochs, *, train_step, val_step, loss_fn, optimizer):
    history = {name: np.zeros(epochs) for name in tasks.HISTORY}
    for epoch in range(epochs):
        print("epoch", epoch)
        for prefix, batches in (("", train_batches), ("val_", val_batches)):
            metrics = {"running_loss": keras.metrics.Mean(), "running_accuracy": keras.metrics.BinaryAccuracy()}
            for image, mask in batches:
                if prefix:
                    val_step(model, image, mask, loss_fn=loss_fn, **metrics)
                else:
                    train_step(model, image, mask, loss_fn=loss_fn, optimizer=optimizer, **metrics)
            history[f"{prefix}loss"][epoch] = metrics["running_loss"].result()
            history[f"{prefix}accuracy"][epoch] = metrics["running_accuracy"].result()
    return history


RIGHT = {
    "iou_and_f1": scores_of_arrays,
    "mean_mask": lambda masks: sum(mask.astype(float) for mask in masks) / len(masks),
    "training_loop": loop_by_fresh_metrics,
}


@pytest.mark.parametrize("name", CHECKS)
def test_right_versions_pass_in_another_style_and_are_used(name, capsys):
    for function in (RIGHT[name], CHECKS[name][0][-1]):
        result = getattr(checks, name)(function)
        assert result.passed and result.function is function and result.message
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize(
    "function, cause",
    [
        (lambda *arguments, **options: None, "not_written"),
        (lambda *arguments, **options: 1 / 0, "raises_error"),
        (lambda: None, "raises_error"),
        (None, "not_a_function"),
    ],
)
def test_what_gives_nothing_or_fails(name, function, cause):
    result = getattr(checks, name)(function)
    assert result.cause == cause and result.function is CHECKS[name][0][-1]
    assert result.function.__name__ == result.name


@pytest.mark.parametrize(
    "name, value", [("iou_and_f1", (0.5, 0.25)), ("iou_and_f1", "a"), ("mean_mask", [[1], [2, 3]])]
)
def test_what_no_entry_explains_is_shown_beside_the_right_value(name, value):
    result = getattr(checks, name)(lambda *arguments: value)
    assert result.cause == "differs" and "0." in result.message


def test_another_optimizer_or_model_is_not_right():
    def loop(model, train_batches, val_batches, epochs, *, train_step, val_step, loss_fn, optimizer):
        right = tasks.LOOPS[0][-1]
        return right(model, train_batches, val_batches, epochs, train_step=train_step, val_step=val_step,
                     loss_fn=loss_fn, optimizer=object())  # fmt: skip

    result = checks.training_loop(loop)
    assert (result.cause, result.message) == ("differs", tasks.LOOP_DIFFERS)
