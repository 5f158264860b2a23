"""The catalog of tasks 1 and 2: wrong steps as students write them, each a right step with some of its lines changed.

To teach the check a new mistake, write it down here, under the aspect that it breaks first, and its message in
`steps.toml` under the same id. What a student may choose freely, such as a factor, is measured in `steps` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadseg.backend import keras, tf
from roadseg.checks.probe import rewritten

RIGHT = {
    "train_step": """
def train_step(model, image, mask, *, loss_fn, optimizer, running_loss, running_accuracy):
    with tf.GradientTape() as tape:
        probability = model(image, training=True)
        loss = loss_fn(mask, probability)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    running_loss.update_state(loss)
    running_accuracy.update_state(mask, probability)
    return probability
""",
    "val_step": """
def val_step(model, image, mask, *, loss_fn, running_loss, running_accuracy):
    probability = model(image, training=False)
    loss = loss_fn(mask, probability)
    running_loss.update_state(loss)
    running_accuracy.update_state(mask, probability)
    return probability
""",
}


@dataclass(frozen=True, eq=False)
class Mistake:
    """A wrong step. aspect : the first that it breaks."""

    id: str
    name: str
    aspect: str
    source: str

    @cached_property
    def step(self) -> Callable:
        """The wrong step itself."""
        names = {"tf": tf, "keras": keras, "np": np}
        exec(compile(self.source, f"<{self.id}>", "exec"), names)
        return names[self.name]


# --- the catalog: for each aspect ids, and lines as (right, wrong) pairs ---------------------------------------------

LOSS_LINE, CALL = "        loss = loss_fn(mask, probability)\n", "loss_fn(mask, probability)"
TAPE, PREDICT = "    with tf.GradientTape() as tape:\n", "        probability = model(image, training=True)\n"
GRADIENTS = "    gradients = tape.gradient(loss, model.trainable_variables)\n"
APPLY = "    optimizer.apply_gradients(zip(gradients, model.trainable_variables))\n"
PAIRS, WEIGHTS = "zip(gradients, model.trainable_variables)", "model.trainable_variables"
TARGET, SOURCES = "tape.gradient(loss", "(loss, model.trainable_variables)"
UPDATE_LOSS, TOLD = "    running_loss.update_state(loss)\n", "running_loss.update_state(loss)"
UPDATE_ACCURACY, COMPARED = "    running_accuracy.update_state(mask, probability)\n", "update_state(mask, probability)"
RESET_LOSS, RESET_ACCURACY = "    running_loss.reset_state()\n", "    running_accuracy.reset_state()\n"
RETURN = "    return probability\n"

MISTAKES: dict[str, list[tuple]] = {  # an entry is for each step that has all the lines that it changes
    "loss": [
        ("loss_arguments_swapped", (CALL, "loss_fn(probability, mask)")),
        ("sigmoid_twice", (CALL, "loss_fn(mask, tf.sigmoid(probability))")),
        ("sigmoid_twice", (LOSS_LINE.strip(), f"probability = tf.sigmoid(probability); {LOSS_LINE.strip()}")),
    ],
    "update": [
        (
            "tape_not_started",
            (TAPE + PREDICT + LOSS_LINE, f"    tape = tf.GradientTape()\n{PREDICT[4:]}{LOSS_LINE[4:]}"),
        ),
        ("tape_arguments_swapped", (SOURCES, "(model.trainable_variables, loss)")),
        ("gradients_of_other_things", (SOURCES, "(loss, image)")),
        ("gradients_of_other_things", (TAPE, TAPE + "        tape.watch(image)\n"), (SOURCES, "(loss, image)")),
        ("gradients_of_other_things", (SOURCES, "(loss, probability)")),
        ("gradient_of_no_tensor", (TARGET, "tape.gradient(running_loss.result()")),
        ("gradient_of_no_tensor", (f"loss = {CALL}", f"loss = running_loss.update_state({CALL})"), (UPDATE_LOSS, "")),
        ("prediction_outside_tape", (TAPE + PREDICT, PREDICT[4:] + TAPE)),
        (
            "prediction_outside_tape",
            (TAPE + PREDICT + LOSS_LINE, PREDICT[4:] + LOSS_LINE[4:] + TAPE + "        pass\n"),
        ),
        ("loss_outside_tape", (LOSS_LINE, LOSS_LINE[4:])),
        ("gradient_path_cut", (TARGET, "tape.gradient(float(loss)")),
        ("gradient_path_cut", (TARGET, "tape.gradient(-loss")),
        ("gradient_path_cut", (CALL, "loss_fn(mask, tf.stop_gradient(probability))"), (TAPE, TAPE)),
        ("gradient_path_cut", ("GradientTape()", "GradientTape(watch_accessed_variables=False)")),
        ("gradients_not_computed", (GRADIENTS, ""), (APPLY, "")),
        ("gradients_not_applied", (APPLY, "")),
        ("returns_early", (LOSS_LINE, LOSS_LINE + "    " + RETURN)),
        ("pairs_swapped", (PAIRS, "zip(model.trainable_variables, gradients)")),
        ("applied_twice", (APPLY, f"    for pair in {PAIRS}:\n        optimizer.apply_gradients([pair])\n")),
        ("gradients_not_paired", (PAIRS, "gradients")),
        ("gradients_not_paired", (PAIRS, "[gradients, model.trainable_variables]")),
        ("gradients_not_paired", (PAIRS, "gradients, model.trainable_variables")),
        ("gradients_not_paired", ("apply_gradients", "apply")),
        ("gradients_mispaired", (PAIRS, "zip(gradients[::-1], model.trainable_variables)")),
        ("gradient_of_probability", (TARGET, "tape.gradient(probability")),
    ],
    "running loss": [
        ("metrics_not_updated", (UPDATE_LOSS, ""), (UPDATE_ACCURACY, "")),
        ("running_loss_not_updated", (UPDATE_LOSS, "")),
        ("metrics_reset", (UPDATE_LOSS, RESET_LOSS + UPDATE_LOSS)),
        ("metrics_reset", (UPDATE_LOSS, UPDATE_LOSS + RESET_LOSS)),
        ("metrics_reset", (RETURN, RESET_LOSS + RESET_ACCURACY + RETURN)),
        ("metrics_swapped", (TOLD, "running_loss.update_state(running_accuracy.result())")),
        ("metrics_swapped", (TOLD, f"running_loss.{COMPARED}"), (f"y.{COMPARED}", "y.update_state(loss)")),
        (
            "metrics_swapped",
            (f"accuracy.{COMPARED}", f"loss.{COMPARED}"),
            (TOLD, "running_accuracy.update_state(loss)"),
        ),
        ("metric_updated_twice", (UPDATE_LOSS, UPDATE_LOSS + UPDATE_LOSS)),
    ],
    "running accuracy": [
        ("running_accuracy_not_updated", (UPDATE_ACCURACY, "")),
        ("metrics_reset", (UPDATE_ACCURACY, RESET_ACCURACY + UPDATE_ACCURACY)),
        ("metrics_reset", (UPDATE_ACCURACY, UPDATE_ACCURACY + RESET_ACCURACY)),
        ("metric_updated_twice", (UPDATE_ACCURACY, UPDATE_ACCURACY + UPDATE_ACCURACY)),
        ("accuracy_arguments_swapped", (COMPARED, "update_state(probability, mask)")),
        ("predicts_twice", (UPDATE_LOSS, "    probability = model(image, training=False)\n" + UPDATE_LOSS)),
        ("predicts_twice", (UPDATE_LOSS, "    probability = model(image)\n" + UPDATE_LOSS)),
    ],
}


CATALOG: dict[str, list[Mistake]] = {
    name: [
        Mistake(cause, name, aspect, wrong)
        for aspect, entries in MISTAKES.items()
        for cause, *changes in entries
        if (wrong := rewritten(right, *changes))
    ]
    for name, right in RIGHT.items()
}
