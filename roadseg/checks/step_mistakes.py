"""The catalog of tasks 1 and 2: wrong steps as students write them, each a right step with some of its lines changed.

To teach the check a new mistake, write it down here, under the aspect that it breaks first, and its message in
`steps.toml` under the same id. `number` stands in a changed line for what a student may choose freely, such as a
factor; its value is taken from what the student's step did, by the function named behind the lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from roadseg.backend import keras, tf
from roadseg.checks.judge import LOSS, added
from roadseg.checks.probe import Step

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
    """A wrong step. aspect : the first that it breaks; number : what gives its free number, from two lists of steps."""

    id: str
    name: str
    aspect: str
    source: str
    number: Callable[[list, list], float | None] | None = None

    @cached_property
    def names(self) -> dict:
        """The names that its code sees; the function is one of them."""
        names = {"tf": tf, "keras": keras, "np": np, "number": None}
        exec(compile(self.source, f"<{self.id}>", "exec"), names)
        return names

    def step(self, number: float | None = None) -> Callable:
        """The wrong step, with a value for its free number."""
        self.names["number"] = number
        return self.names[self.name]


# --- free numbers, from the student's trials and Keras's -------------------------------------------------------------


def gradients(step: Step) -> dict[str, np.ndarray]:
    """What the optimizer was given, by the name of the weight; what has no gradient is not in it."""
    pairs = [pair for given, names in step.noted("apply") if given for pair in zip(names, given)]
    return {name: gradient for name, gradient in pairs if isinstance(gradient, np.ndarray)}


def flat(step: Step) -> np.ndarray:
    """All gradients in one row."""
    return np.concatenate([np.zeros(0), *(gradient.ravel() for gradient in gradients(step).values())])


def gradient_factor(seen: list[list[Step]], wanted: list[list[Step]]) -> float | None:
    """By how much the gradients of the first step exceed Keras's, where there are as many."""
    found, right = flat(seen[0][0]), flat(wanted[0][0])
    return float(found @ right / (right @ right)) if found.shape == right.shape else None


def loss_factor(seen: list[list[Step]], wanted: list[list[Step]]) -> float | None:
    """By how much the running loss of the first step exceeds Keras's."""
    found, right = (added(steps[0][0], LOSS) for steps in (seen, wanted))
    return float(found[0] / found[1] / right[0] * right[1]) if found[1] else None


def of_steep(measure: Callable[[list[np.ndarray]], float]) -> Callable[[list, list], float | None]:
    """What gives a measure of the gradients of the steep loss, at which whoever clips does."""

    def number(seen: list[list[Step]], wanted: list[list[Step]]) -> float | None:
        given = list(gradients(seen[1][0]).values()) if seen[1] else []
        return float(measure(given)) if given else None

    return number


largest_number = of_steep(lambda given: max(np.abs(gradient).max() for gradient in given))
longest_gradient = of_steep(lambda given: max(np.linalg.norm(gradient) for gradient in given))
length_of_all = of_steep(lambda given: np.linalg.norm([np.linalg.norm(gradient) for gradient in given]))


# --- the catalog: id, lines as (right, wrong) pairs, and what gives the free number --------------------------------

MODEL, LOSS_LINE = "model(image, training=True)", "        loss = loss_fn(mask, probability)\n"
TESTED = "model(image, training=False)"
CALL, WEIGHTS = "loss_fn(mask, probability)", "model.trainable_variables"
TAPE, PREDICT = "    with tf.GradientTape() as tape:\n", "        probability = model(image, training=True)\n"
GRADIENTS = "    gradients = tape.gradient(loss, model.trainable_variables)\n"
APPLY = "    optimizer.apply_gradients(zip(gradients, model.trainable_variables))\n"
PAIRS, TARGET = "zip(gradients, model.trainable_variables)", "tape.gradient(loss"
UPDATE_LOSS, TOLD = "    running_loss.update_state(loss)\n", "running_loss.update_state(loss)"
UPDATE_ACCURACY, COMPARED = "    running_accuracy.update_state(mask, probability)\n", "update_state(mask, probability)"
RETURN = "    return probability\n"


def paired(other: str) -> tuple[str, str]:
    """The change that gives the optimizer other gradients."""
    return PAIRS, f"zip({other}, model.trainable_variables)"


BOTH: dict[str, list[tuple]] = {  # for both steps
    "loss": [
        ("loss_arguments_swapped", (CALL, "loss_fn(probability, mask)")),
        ("part_of_batch", (CALL, "loss_fn(mask[0], probability[0])")),
        ("sigmoid_twice", (CALL, "loss_fn(mask, tf.sigmoid(probability))")),
    ],
    "running loss": [
        ("metrics_not_updated", (UPDATE_LOSS, ""), (UPDATE_ACCURACY, "")),
        ("running_loss_not_updated", (UPDATE_LOSS, "")),
        ("metrics_reset", (UPDATE_LOSS, "    running_loss.reset_state()\n" + UPDATE_LOSS)),
        ("metrics_reset", (UPDATE_LOSS, UPDATE_LOSS + "    running_loss.reset_state()\n")),
        ("metrics_reset", (RETURN, "    running_loss.reset_state()\n    running_accuracy.reset_state()\n" + RETURN)),
        ("metrics_swapped", (TOLD, "running_loss.update_state(running_accuracy.result())")),
        (
            "metrics_swapped",
            (TOLD, "running_loss.update_state(mask, probability)"),
            (UPDATE_ACCURACY, "    running_accuracy.update_state(loss)\n"),
        ),
        (
            "metrics_swapped",
            (TOLD, "running_accuracy.update_state(loss)"),
            (UPDATE_ACCURACY, "    running_loss.update_state(mask, probability)\n"),
        ),
        ("metric_updated_twice", (UPDATE_LOSS, UPDATE_LOSS + UPDATE_LOSS)),
        ("running_loss_scaled", (TOLD, "running_loss.update_state(number * loss)"), loss_factor),
        ("running_loss_scaled", (TOLD, "running_loss.update_state(loss * len(image))")),
        ("running_loss_scaled", (TOLD, "running_loss.update_state(loss / len(image))")),
        ("running_loss_scaled", (TOLD, "running_loss.update_state(tf.reduce_sum(loss_fn.call(mask, probability)))")),
    ],
    "running accuracy": [
        ("running_accuracy_not_updated", (UPDATE_ACCURACY, "")),
        ("metrics_reset", (UPDATE_ACCURACY, "    running_accuracy.reset_state()\n" + UPDATE_ACCURACY)),
        ("metrics_reset", (UPDATE_ACCURACY, UPDATE_ACCURACY + "    running_accuracy.reset_state()\n")),
        ("metric_updated_twice", (UPDATE_ACCURACY, UPDATE_ACCURACY + UPDATE_ACCURACY)),
        ("accuracy_arguments_swapped", (COMPARED, "update_state(probability, mask)")),
        ("accuracy_needs_both", (COMPARED, "update_state(probability)")),
        ("metrics_swapped", (COMPARED, "update_state(loss)")),
    ],
}
TRAINING: dict[str, list[tuple]] = {
    "prediction": [
        ("mask_as_image", ("model(image", "model(mask")),
    ],
    "loss": [
        *BOTH["loss"],
        ("sigmoid_twice", (MODEL, f"tf.sigmoid({MODEL})")),
    ],
    "update": [
        ("tape_used_up", (GRADIENTS, GRADIENTS + GRADIENTS)),
        (
            "tape_used_up",
            (GRADIENTS, f"    for weight in {WEIGHTS}:\n        gradient = tape.gradient(loss, weight)\n"),
            (APPLY, "        optimizer.apply_gradients([(gradient, weight)])\n"),
        ),
        ("tape_arguments_swapped", ("(loss, model.trainable_variables)", "(model.trainable_variables, loss)")),
        ("gradients_of_other_things", ("(loss, model.trainable_variables)", "(loss, image)")),
        ("gradients_of_other_things", ("(loss, model.trainable_variables)", "(loss, model)")),
        (
            "gradients_of_other_things",
            (TAPE, TAPE + "        tape.watch(image)\n"),
            ("(loss, model.trainable_variables)", "(loss, image)"),
        ),
        ("gradients_of_other_things", ("(loss, model.trainable_variables)", "(loss, probability)")),
        ("gradient_of_no_tensor", (TARGET, "tape.gradient(running_loss")),
        ("gradient_of_no_tensor", (TARGET, "tape.gradient(loss_fn")),
        ("gradient_of_no_tensor", (TARGET, "tape.gradient('loss'")),
        ("gradient_of_no_tensor", (f"loss = {CALL}", f"loss = running_loss.update_state({CALL})"), (UPDATE_LOSS, "")),
        ("prediction_outside_tape", (TAPE + PREDICT, PREDICT[4:] + TAPE)),
        (
            "prediction_outside_tape",
            (TAPE + PREDICT + LOSS_LINE, PREDICT[4:] + LOSS_LINE[4:] + TAPE + "        pass\n"),
        ),
        ("loss_outside_tape", (LOSS_LINE, LOSS_LINE[4:])),
        ("gradient_path_cut", (CALL, "loss_fn(mask, probability).numpy()")),
        ("gradient_path_cut", (TARGET, "tape.gradient(float(loss)")),
        ("gradient_path_cut", (TARGET, "tape.gradient(-loss")),
        ("gradient_path_cut", (CALL, "loss_fn(mask, tf.stop_gradient(probability))")),
        ("gradient_path_cut", ("GradientTape()", "GradientTape(watch_accessed_variables=False)")),
        ("gradient_of_no_tensor", (TARGET, "tape.gradient(running_loss.result()")),
        ("gradients_not_computed", (GRADIENTS, ""), (APPLY, "")),
        ("gradients_not_applied", (APPLY, "")),
        ("returns_early", (LOSS_LINE, LOSS_LINE + "    " + RETURN)),
        ("optimizer_not_used", (APPLY, "    keras.optimizers.SGD(0.1)" + APPLY.removeprefix("    optimizer"))),
        (
            "optimizer_not_used",
            (APPLY, f"    for gradient, weight in {PAIRS}:\n        weight.assign_sub(number * gradient)\n"),
        ),
        ("pairs_swapped", (PAIRS, "zip(model.trainable_variables, gradients)")),
        ("applied_piecewise", (APPLY, f"    for pair in {PAIRS}:\n        optimizer.apply_gradients([pair])\n")),
        ("gradients_not_paired", (PAIRS, "gradients")),
        ("gradients_not_paired", (PAIRS, "gradients, model.trainable_variables")),
        ("gradients_not_paired", ("apply_gradients", "apply")),
        ("gradients_mispaired", paired("gradients[::-1]")),
        ("gradient_of_probability", (TARGET, "tape.gradient(probability")),
        ("wrong_sign", paired("[-each for each in gradients]")),
        ("wrong_sign", (f"loss = {CALL}", f"loss = -{CALL}")),
        ("loss_summed", (CALL, "tf.reduce_sum(loss_fn.call(mask, probability))")),
        ("loss_summed", (CALL, "tf.reduce_sum(loss_fn.call(mask, probability)) / len(image)")),
        ("loss_scaled", (f"loss = {CALL}", f"loss = number * {CALL}"), gradient_factor),
        ("loss_scaled", paired("[number * each for each in gradients]"), gradient_factor),
        ("loss_scaled", (f"loss = {CALL}", f"loss = {CALL} / len(image)")),
        ("loss_scaled", (f"loss = {CALL}", f"loss = {CALL} * len(image)")),
        (
            "gradients_clipped",
            paired("[tf.clip_by_value(each, -number, number) for each in gradients]"),
            largest_number,
        ),
        ("gradients_clipped", paired("tf.clip_by_global_norm(gradients, number)[0]"), length_of_all),
        ("gradients_clipped", paired("[tf.clip_by_norm(each, number) for each in gradients]"), longest_gradient),
        ("loss_weighted", (CALL, "tf.reduce_mean(loss_fn.call(mask, probability) * (1 + mask[..., 0]))")),
        ("loss_transformed", (LOSS_LINE, LOSS_LINE + "        loss = tf.sqrt(loss)\n")),
        ("loss_transformed", (LOSS_LINE, LOSS_LINE + "        loss = loss ** 2\n")),
        ("loss_transformed", (LOSS_LINE, LOSS_LINE + "        loss = tf.math.log(loss)\n")),
        ("loss_transformed", (LOSS_LINE, LOSS_LINE + "        loss = tf.exp(loss)\n")),
    ],
    "running loss": BOTH["running loss"],
    "running accuracy": [
        *BOTH["running accuracy"],
        ("predicts_twice", (UPDATE_LOSS, "    probability = model(image, training=False)\n" + UPDATE_LOSS)),
        ("predicts_twice", (UPDATE_LOSS, "    probability = model(image)\n" + UPDATE_LOSS)),
    ],
}
VALIDATION: dict[str, list[tuple]] = {
    "prediction": [("mask_as_image", ("model(image", "model(mask"))],
    **BOTH,
    "loss": [*BOTH["loss"], ("sigmoid_twice", (TESTED, f"tf.sigmoid({TESTED})"))],
}


def _written(name: str, aspect: str, entry: tuple) -> Mistake | None:
    """The mistake that an entry describes."""
    source, number = RIGHT[name], None
    for part in entry[1:]:
        if callable(part):
            number = part
        else:
            assert part[0] in source or part[0].strip() in source, f"{entry[0]}: nothing to change: {part[0]}"
            source = source.replace(*part)
    return Mistake(entry[0], name, aspect, source, number)


CATALOG: dict[str, tuple[Mistake, ...]] = {
    name: tuple(_written(name, aspect, entry) for aspect, entries in groups.items() for entry in entries)
    for name, groups in (("train_step", TRAINING), ("val_step", VALIDATION))
}
