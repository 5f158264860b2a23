"""Wrong versions of the two steps, each made by one change of a right one, and the cause that each is told; right
versions in many styles, all accepted; grading, which agrees; and what a check leaves behind, which is nothing."""

import itertools
import linecache
import pickle
import random
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import first_of_each

from roadseg import checks, training
from roadseg.backend import keras, tf
from roadseg.checks import judge, probe, step_mistakes, steps

TRAIN = '''
def train_step(model, image, mask, *, loss_fn, optimizer, running_loss, running_accuracy):
    """Learn from one batch; return the probabilities."""
    with tf.GradientTape() as tape:
        probability = model(image, training=True)
        loss = loss_fn(mask, probability)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    running_loss.update_state(loss)
    running_accuracy.update_state(mask, probability)
    return probability
'''
VALIDATE = '''
def val_step(model, image, mask, *, loss_fn, running_loss, running_accuracy):
    """Measure one batch and change nothing; return the probabilities."""
    probability = model(image, training=False)
    loss = loss_fn(mask, probability)
    running_loss.update_state(loss)
    running_accuracy.update_state(mask, probability)
    return probability
'''
SOURCES = {"train_step": TRAIN, "val_step": VALIDATE}
CHECKS = {"train_step": steps.train_step, "val_step": steps.val_step}
WORDS = tomllib.loads(Path(steps.__file__).with_suffix(".toml").read_text(encoding="utf-8"))

TAPE = "    with tf.GradientTape() as tape:\n"
PREDICT = "        probability = model(image, training=True)\n"
LOSS = "        loss = loss_fn(mask, probability)\n"
GRADIENTS = "    gradients = tape.gradient(loss, model.trainable_variables)\n"
APPLY = "    optimizer.apply_gradients(zip(gradients, model.trainable_variables))\n"
UPDATE_LOSS = "    running_loss.update_state(loss)\n"
UPDATE_ACCURACY = "    running_accuracy.update_state(mask, probability)\n"
RETURN = "    return probability\n"

CALL_LOSS = "loss_fn(mask, probability)"
CALL_ACCURACY = "update_state(mask, probability)"
ASK = "(loss, model.trainable_variables)"
WEIGHTS = "model.trainable_variables"
PAIRS = "zip(gradients, model.trainable_variables)"
ANOTHER_MODEL = (
    "def ",
    "another = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(1, 1, activation='sigmoid')])\n\ndef ",
)
CLIPPED = "tf.clip_by_value(probability, 0.1, 0.9)"
NORMAL = "model.get_layer('normal')"
MEANS_OVER_PICTURES = "loss_fn(tf.reduce_mean(mask, axis=0), tf.reduce_mean(probability, axis=0))"
PICTURE_BY_PICTURE = """
    for one, truth in zip(image[:, None], mask[:, None]):
        with tf.GradientTape() as tape:
            probability = model(one, training=True)
            loss = loss_fn(truth, probability)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        running_loss.update_state(loss)
        running_accuracy.update_state(truth, probability)
    return model(image)
"""
cells = itertools.count()

pytestmark = pytest.mark.slow


def changed(source, *changes):
    """The source with each (old, new) of the changes made wherever it occurs."""
    for old, new in changes:
        assert old in source, f"nothing to change: {old}"
        source = source.replace(old, new)
    return source


def only(source, text):
    """The change that puts a text in place of all that stands below the docstring."""
    return source.split('"""\n', 1)[1], text


def before(line, more):
    """The change that puts more before a line."""
    return line, more + line


def after(line, more):
    """The change that puts more behind a line."""
    return line, line + more


def paired(gradients):
    """The change that gives the optimizer other gradients."""
    return PAIRS, f"zip({gradients}, model.trainable_variables)"


def written(source, name):
    """The function of a notebook's cell with this source, which Python can quote as it can a notebook's."""
    place = f"<cell {next(cells)}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    names = {"tf": tf, "keras": keras, "np": np}
    exec(compile(source, place, "exec"), names)
    return names[name]


def result(name, *changes):
    """What the check says of a right step of a task with changes, which grading agrees with on batches of its own."""
    source = changed(SOURCES[name], *changes)
    found, function = CHECKS[name](written(source, name)), written(source, name)  # which may remember what it did
    assert checks.points(name, function, 12, seed=7) == pytest.approx(12 * found.fraction, abs=0.01), found
    return found


WRONG_TRAINING = [
    # before anything runs
    ("wrong_signature", ("*, loss_fn", "*, loss")),
    ("wrong_signature", ("optimizer, running", "running")),
    ("wrong_signature", ("model, image, mask", "image, mask, model")),
    ("not_written", only(TRAIN, "    ...\n")),
    ("not_written", only(TRAIN, "    raise NotImplementedError('your turn')\n")),
    ("not_written", only(TRAIN, "    probability = None\n    print('to do')\n    return probability\n")),
    ("runs_later", (RETURN, "    yield probability\n")),
    # it ends in an error
    ("stub_left", (RETURN, "    raise NotImplementedError\n")),
    ("calls_keras_loop", after(PREDICT, "        model.fit(image, mask, verbose=0)\n")),
    ("calls_keras_loop", only(TRAIN, "    model.compile(optimizer, loss_fn)\n    model.train_on_batch(image, mask)\n")),
    ("mask_as_image", ("model(image", "model(mask")),
    ("tape_used_up", after(GRADIENTS, GRADIENTS)),
    (
        "tape_used_up",
        (GRADIENTS, "    for each in model.trainable_variables:\n        grad = tape.gradient(loss, each)\n"),
        (APPLY, "        optimizer.apply_gradients([(grad, each)])\n"),
    ),
    ("accuracy_needs_both", (CALL_ACCURACY, "update_state(tf.reduce_mean(tf.abs(mask - probability)))")),
    ("raises_error", (CALL_LOSS, "los_fn(mask, probability)")),
    ("raises_error", (APPLY, "    optimizer.minimize(loss, model.trainable_variables)\n")),
    ("raises_error", (GRADIENTS, "    loss.backward()\n")),
    ("raises_error", (RETURN, "    raise SystemExit\n")),
    # what goes into the model
    ("model_not_used", ("model(image", "another(image"), ANOTHER_MODEL),
    ("model_not_used", ("model(image", "another(image"), (WEIGHTS, "another.trainable_variables"), ANOTHER_MODEL),
    ("part_of_batch", ("model(image", "model(image[:1]")),
    ("part_of_batch", (CALL_LOSS, "loss_fn(mask[0], probability[0])")),
    (
        "image_by_image",
        ("model(image, training=True)", "tf.concat([model(one[None], training=True) for one in image], 0)"),
    ),
    ("image_changed", ("model(image", "model(image / 255")),
    ("image_changed", ("model(image", "model(1 - image")),
    ("image_changed", ("model(image", "model(tf.image.flip_left_right(image)")),
    ("not_in_training_mode", (", training=True", "")),
    ("not_in_training_mode", ("training=True", "training=False")),
    (
        "other_prediction",
        ("model(image, training=True)", "image"),
        before(LOSS, "        for layer in model.layers[1:]:\n"),
        before(LOSS, "            probability = layer(probability, training=layer is model.layers[1])\n"),
    ),
    # what goes into the loss
    ("loss_not_computed", only(TRAIN, "    return model(image, training=True)\n")),
    ("loss_fn_not_used", (CALL_LOSS, "tf.reduce_mean(keras.losses.binary_crossentropy(mask, probability))")),
    ("loss_fn_not_used", (CALL_LOSS, "tf.nn.sigmoid_cross_entropy_with_logits(mask, probability)")),
    ("loss_arguments_swapped", (CALL_LOSS, "loss_fn(probability, mask)")),
    ("pixels_left_out", (CALL_LOSS, "loss_fn(mask[:, 8:], probability[:, 8:])")),
    ("averaged_before_loss", (CALL_LOSS, "loss_fn(tf.reduce_mean(mask, [1, 2]), tf.reduce_mean(probability, [1, 2]))")),
    ("mask_changed", (CALL_LOSS, "loss_fn(1 - mask, probability)")),
    ("mask_changed", (CALL_LOSS, "loss_fn(mask / 255, probability)")),
    ("loss_of_rounded", (CALL_LOSS, "loss_fn(mask, tf.round(probability))")),
    ("sigmoid_twice", (CALL_LOSS, "loss_fn(mask, tf.sigmoid(probability))")),
    ("prediction_changed", (CALL_LOSS, "loss_fn(mask, 1 - probability)")),
    ("loss_weighted", (CALL_LOSS, "loss_fn(mask, probability, sample_weight=1 + mask)")),
    # what becomes of the gradients
    ("tape_arguments_swapped", (ASK, "(model.trainable_variables, loss)")),
    ("gradients_of_other_things", (ASK, "(loss, image)")),
    ("gradients_of_other_things", (ASK, "(loss, model)")),
    ("gradient_of_no_tensor", ("tape.gradient(loss", "tape.gradient(running_loss")),
    ("prediction_outside_tape", (TAPE + PREDICT, PREDICT[4:] + TAPE)),
    ("loss_outside_tape", (LOSS, LOSS[4:])),
    ("gradient_path_cut", (CALL_LOSS, "loss_fn(mask, probability.numpy())")),
    ("gradient_path_cut", ("tape.gradient(loss", "tape.gradient(-loss")),
    ("gradient_path_cut", ("tape.gradient(loss", "tape.gradient(float(loss)")),
    ("gradient_path_cut", ("GradientTape()", "GradientTape(watch_accessed_variables=False)")),
    ("model_frozen", before(TAPE, "    model.trainable = False\n")),
    ("gradients_not_computed", (GRADIENTS, ""), (APPLY, "")),
    ("gradients_not_applied", (APPLY, "")),
    ("returns_early", after(LOSS, "        return probability\n")),
    ("optimizer_not_used", before(APPLY, "    optimizer = keras.optimizers.SGD(0.1)\n")),
    (
        "optimizer_not_used",
        (APPLY, f"    for gradient, weight in {PAIRS}:\n        weight.assign_sub(0.1 * gradient)\n"),
    ),
    ("pairs_swapped", (PAIRS, "zip(model.trainable_variables, gradients)")),
    ("weights_of_another_model", (WEIGHTS, "another.trainable_variables"), ANOTHER_MODEL),
    ("frozen_weights_trained", (WEIGHTS, "model.weights")),
    ("frozen_weights_trained", (WEIGHTS, "model.variables")),
    ("some_weights_left_out", (WEIGHTS, "model.layers[-1].trainable_variables")),
    ("some_weights_left_out", (WEIGHTS, "[each for each in model.trainable_variables if each.name == 'kernel']")),
    ("applied_twice", after(APPLY, APPLY)),
    ("applied_piecewise", (APPLY, f"    for pair in {PAIRS}:\n        optimizer.apply_gradients([pair])\n")),
    ("gradients_not_paired", (PAIRS, "gradients")),
    ("gradients_not_paired", (PAIRS, "gradients, model.trainable_variables")),
    ("gradients_not_paired", ("apply_gradients", "apply")),
    ("gradients_mispaired", paired("gradients[::-1]")),
    ("gradients_mispaired", paired("gradients[:1] + gradients[2:4] + gradients[1:2] + gradients[4:]")),
    ("learning_rate_changed", before(APPLY, "    optimizer.learning_rate = 1e-4\n")),
    ("optimizer_changed", before(APPLY, "    optimizer.momentum = 0.0\n")),
    ("gradient_of_probability", ("tape.gradient(loss", "tape.gradient(probability")),
    ("wrong_sign", paired("[-each for each in gradients]")),
    ("wrong_sign", (f"loss = {CALL_LOSS}", f"loss = -{CALL_LOSS}")),
    ("loss_summed", (CALL_LOSS, "tf.reduce_sum(loss_fn.call(mask, probability))")),
    ("loss_scaled", (CALL_LOSS, "loss_fn(mask, probability) / len(image)")),
    ("loss_scaled", paired("[10 * each for each in gradients]")),
    ("predicts_twice", before(UPDATE_LOSS, "    probability = model(image, training=False)\n")),
    ("predicts_twice", (CALL_LOSS, "loss_fn(mask, model(image, training=True))")),
    ("gradients_clipped", paired("[tf.clip_by_value(each, -1, 1) for each in gradients]")),
    ("gradients_clipped", paired("tf.clip_by_global_norm(gradients, 5)[0]")),
    ("loss_transformed", after(LOSS, "        loss = tf.sqrt(loss)\n")),
    ("loss_term_added", after(LOSS, "        loss += 1e-5 * sum(map(tf.nn.l2_loss, model.trainable_variables))\n")),
    ("gradients_differ", paired("map(tf.sign, gradients)")),
    ("state_differs", after(APPLY, "    for each in model.trainable_variables:\n        each.assign(0.999 * each)\n")),
    # what the running metrics get
    ("metrics_not_updated", (UPDATE_LOSS, ""), (UPDATE_ACCURACY, "")),
    ("running_loss_not_updated", (UPDATE_LOSS, "")),
    ("running_loss_not_updated", (UPDATE_LOSS, "    running_loss = loss\n")),
    ("running_accuracy_not_updated", (UPDATE_ACCURACY, "    keras.metrics.binary_accuracy(mask, probability)\n")),
    ("metrics_reset", before(UPDATE_LOSS, "    running_loss.reset_state()\n")),
    ("metrics_reset", after(UPDATE_ACCURACY, "    running_accuracy.reset_state()\n")),
    (
        "metrics_swapped",
        ("running_loss.u", "running.u"),
        ("running_accuracy.u", "running_loss.u"),
        ("running.u", "running_accuracy.u"),
    ),
    ("metrics_swapped", ("running_loss.update_state(loss)", "running_loss.update_state(running_accuracy.result())")),
    ("metric_updated_twice", after(UPDATE_LOSS, "    running_loss(loss)\n")),
    ("metric_updated_twice", after(UPDATE_ACCURACY, UPDATE_ACCURACY)),
    ("running_loss_scaled", ("update_state(loss)", "update_state(loss * len(image))")),
    ("running_loss_weighted", ("update_state(loss)", "update_state(loss, sample_weight=len(image) ** 2)")),
    ("running_loss_differs", ("update_state(loss)", "update_state(probability)")),
    ("accuracy_arguments_swapped", (CALL_ACCURACY, "update_state(probability, mask)")),
    ("accuracy_of_changed_values", (CALL_ACCURACY, "update_state(mask, probability > 0.3)")),
    ("running_accuracy_differs", (CALL_ACCURACY, "update_state(mask, probability, sample_weight=mask)")),
    # what comes back
    ("returns_nothing", (RETURN, "")),
    ("returns_several", (RETURN, "    return probability, loss\n")),
    ("returns_loss", (RETURN, "    return loss\n")),
    ("returns_rounded", (RETURN, "    return probability > 0.5\n")),
    ("returns_other_shape", (RETURN, "    return probability[..., 0]\n")),
    ("returns_other", (RETURN, "    return 1 - probability\n")),
    # compiled
    ("values_taken_out", (RETURN, "    return probability.numpy()\n")),
    ("values_taken_out", ("update_state(loss)", "update_state(np.mean(loss))")),
    ("breaks_when_compiled", after(UPDATE_LOSS, "    keras.metrics.Mean().update_state(loss)\n")),
    ("differs_when_compiled", before(UPDATE_LOSS, "    if not tf.executing_eagerly():\n        loss *= 2\n")),
    # versions that nobody had seen when the check was written, some with a second slip
    ("not_in_training_mode", ("model(image, training=True)", "model.call(image)")),
    ("predicts_twice", (RETURN, "    return model(image)\n")),
    ("optimizer_not_used", before(APPLY, "    optimizer = keras.optimizers.Adam(1e-3)\n")),
    ("pixels_left_out", (CALL_LOSS, "loss_fn(mask[:, 2:-2, 2:-2], probability[:, 2:-2, 2:-2])")),
    ("loss_scaled", (f"loss = {CALL_LOSS}", f"loss = 0.37 * {CALL_LOSS}")),
    ("gradients_clipped", paired("[tf.clip_by_norm(each, 0.5) for each in gradients]")),
    ("applied_twice", (APPLY, "    for _ in range(3):\n    " + APPLY)),
    ("gradient_path_cut", (CALL_LOSS, "loss_fn(mask, tf.stop_gradient(probability))")),
    ("gradients_not_applied", (APPLY, ""), (RETURN, "    return loss\n")),
    ("gradients_clipped", paired("tf.clip_by_global_norm(gradients, 1.0)[0]"), (RETURN, "")),
    ("sigmoid_twice", ("model(image, training=True)", "tf.sigmoid(model(image, training=True))")),
    ("metrics_reset", before(TAPE, "    running_loss.reset_state()\n    running_accuracy.reset_state()\n")),
    ("wrong_sign", (f"loss = {CALL_LOSS}", f"loss = -{CALL_LOSS}"), ("update_state(loss)", "update_state(-loss)")),
]
WRONG_VALIDATION = [
    ("wrong_signature", ("loss_fn, running", "loss_fn, optimizer, running")),
    ("not_written", only(VALIDATE, "    pass\n")),
    ("calls_keras_loop", ("model(image, training=False)", "model.predict(image)")),
    ("raises_error", (RETURN, "    return probabilities\n")),
    ("model_not_used", ("model(image", "another(image"), ANOTHER_MODEL),
    ("part_of_batch", ("model(image", "model(image[:2]"), ("(mask, ", "(mask[:2], ")),
    ("image_changed", ("model(image", "model(255 * image")),
    ("in_training_mode", ("training=False", "training=True")),
    (
        "trains_in_validation",
        before(RETURN, "    for each in model.trainable_variables:\n        each.assign(0.99 * each)\n"),
    ),
    ("model_frozen", before(RETURN, "    model.trainable = False\n")),
    ("model_changed", before(RETURN, "    model.get_layer('normal').moving_mean.assign([0.0] * 4)\n")),
    ("loss_fn_not_used", (CALL_LOSS, "keras.losses.BinaryCrossentropy()(mask, probability)")),
    ("loss_arguments_swapped", (CALL_LOSS, "loss_fn(probability, mask)")),
    ("loss_of_rounded", (CALL_LOSS, "loss_fn(mask, tf.round(probability))")),
    ("metrics_not_updated", (UPDATE_LOSS, ""), (UPDATE_ACCURACY, "")),
    ("running_loss_not_updated", (UPDATE_LOSS, "")),
    ("running_accuracy_not_updated", (UPDATE_ACCURACY, "")),
    ("metrics_reset", before(UPDATE_LOSS, "    running_loss.reset_state()\n")),
    ("metric_updated_twice", after(UPDATE_LOSS, UPDATE_LOSS)),
    ("running_loss_scaled", (CALL_LOSS, "tf.reduce_sum(loss_fn.call(mask, probability))")),
    ("accuracy_arguments_swapped", (CALL_ACCURACY, "update_state(probability, mask)")),
    ("returns_nothing", (RETURN, "")),
    ("returns_loss", (RETURN, "    return loss\n")),
    ("values_taken_out", (RETURN, "    return probability.numpy()\n")),
    ("trains_in_validation", before(RETURN, "    [each.assign(0.5 * each) for each in model.trainable_weights]\n")),
    ("running_accuracy_not_updated", (UPDATE_ACCURACY, ""), (RETURN, "    return tf.squeeze(probability)\n")),
]
RIGHT_TRAINING = {
    "as it stands": [],
    "apply": [(f"apply_gradients({PAIRS})", f"apply(gradients, {WEIGHTS})")],
    "apply without weights": [(f"apply_gradients({PAIRS})", "apply(gradients)")],
    "a list of pairs": [(PAIRS, f"list({PAIRS})")],
    "trainable_weights": [(WEIGHTS, "model.trainable_weights")],
    "all below the tape": [
        ("GradientTape()", "GradientTape(persistent=True)"),
        *((line, "    " + line) for line in (GRADIENTS, APPLY)),
    ],
    "metrics called": [
        ("running_loss.update_state", "running_loss"),
        ("running_accuracy.update_state", "running_accuracy"),
    ],
    "mean over pictures": [("update_state(loss)", "update_state(loss, sample_weight=len(image))")],
    "mean over pixels": [("update_state(loss)", "update_state(keras.losses.binary_crossentropy(mask, probability))")],
    "its own mean": [(CALL_LOSS, "tf.reduce_mean(loss_fn.call(mask, probability))")],
    "flat": [(CALL_LOSS, "loss_fn(tf.reshape(mask, [-1, 1]), tf.reshape(probability, [-1, 1]))")],
    "clipped as Keras does itself": [(CALL_LOSS, "loss_fn(mask, tf.clip_by_value(probability, 1e-7, 1 - 1e-7))")],
    "keywords": [(CALL_LOSS, "loss_fn(y_pred=probability, y_true=mask)")],
    "scaled for mixed precision": [(CALL_LOSS, "optimizer.scale_loss(loss_fn(mask, probability))")],
    "with the model's own penalties": [(CALL_LOSS, "loss_fn(mask, probability) + sum(model.losses)")],
    "rounded for the metric": [(CALL_ACCURACY, "update_state(mask, tf.round(probability))")],
    "with weights": [
        ("running_accuracy):", "running_accuracy, weight=None):"),
        ("mask, probability)", "mask, probability, sample_weight=weight)"),
    ],
    "compiled already": [("def ", "@tf.function\ndef ")],
    "printing": [before(RETURN, "    print(loss)\n")],
    "converted": [("update_state(loss)", "update_state(float(loss))")],
    "in another function": [
        ("def train_step", "def train_step(*given, **named):\n    return step(*given, **named)\n\n\ndef step"),
    ],
}
RIGHT_VALIDATION = {
    "as it stands": [],
    "mode by default": [(", training=False", "")],
    "called otherwise": [("model(image, training=False)", "model.call(image)")],
    "predicts for each": [(CALL_LOSS, "loss_fn(mask, model(image))")],
    "below a tape": [(f"    loss = {CALL_LOSS}\n", TAPE + LOSS)],
    "mean over pixels": [(CALL_LOSS, "loss_fn.call(mask, probability)")],
    "mean over pictures, one by one": [
        ("running_loss.update_state(loss)", "for one in tf.range(len(mask)):"),
        before(UPDATE_ACCURACY, "        running_loss.update_state(loss_fn(mask[one], probability[one]))\n"),
    ],
    "compiled already": [("def ", "@tf.function\ndef ")],
}


# Each with a part of the message that it is told, besides the cause.
TOLD = [
    ("train_step", "image_changed", " 0 everywhere", ("model(image", "model(tf.cast(image, tf.uint8)")),
    ("train_step", "image_changed", " 0 everywhere", ("model(image", "model(image // 255")),
    ("val_step", "image_changed", " 0 everywhere", ("model(image", "model(image * 0")),
    ("val_step", "image_changed", " 0 everywhere", ("model(image", "model(tf.zeros_like(image)")),
    ("train_step", "image_changed", " 0.5 everywhere", ("model(image", "model(0 * image + 0.5")),
    ("train_step", "image_changed", "mirrored, left to right.", ("model(image", "model(image[:, :, ::-1]")),
    ("val_step", "image_changed", "upside down.", ("model(image", "model(tf.image.flip_up_down(image)")),
    ("val_step", "image_changed", "colors in reverse order.", ("model(image", "model(image[..., ::-1]")),
    ("train_step", "image_changed", "NaN, as after a division by zero", ("model(image", "model(image / 0.0")),
    ("train_step", "image_changed", "from -0.5", ("model(image", "model(image - 0.5")),
    ("val_step", "image_changed", "1/255 of the image", ("model(image", "model(inputs=image / 255")),
    (
        "train_step",
        "image_changed",
        "shape (1, 4, 16, 16, 3), not (4, 16, 16, 3)",
        ("model(image", "model(image[None]"),
    ),
    ("val_step", "image_changed", "2 things", ("model(image", "model([image, image]")),
    (
        *("val_step", "image_changed", "mirrored, left to right."),
        ("model(image, training=False)", "(model(image) + model(image[:, :, ::-1])[:, :, ::-1]) / 2"),
    ),
    ("train_step", "prediction_changed", "from 0.1 to 0.9", (CALL_LOSS, f"loss_fn(mask, {CLIPPED})")),
    ("val_step", "prediction_changed", "from 0.1 to 0.9", (CALL_LOSS, f"loss_fn(mask, {CLIPPED})")),
    (
        "train_step",
        "prediction_changed",
        " 1 everywhere",
        (CALL_LOSS, "loss_fn(mask, tf.nn.softmax(probability))"),
    ),
    ("train_step", "prediction_changed", "but `mask`", (CALL_LOSS, "loss_fn(mask, mask)")),
    ("val_step", "prediction_changed", "but `mask`", (CALL_LOSS, "loss_fn(mask, mask)")),
    ("train_step", "prediction_changed", " 0 everywhere", (CALL_LOSS, "loss_fn(mask, tf.zeros_like(mask))")),
    ("train_step", "prediction_changed", "2 times the prediction", (CALL_LOSS, "loss_fn(mask, 2 * probability)")),
    ("train_step", "loss_of_rounded", "", (CALL_LOSS, "loss_fn(mask, tf.cast(probability > 0.3, tf.float32))")),
    ("train_step", "averaged_before_loss", "", (CALL_LOSS, MEANS_OVER_PICTURES)),
    ("val_step", "averaged_before_loss", "", (CALL_LOSS, MEANS_OVER_PICTURES)),
    ("train_step", "image_by_image", "", only(TRAIN, PICTURE_BY_PICTURE)),
    (
        "train_step",
        "loss_fn_not_used",
        "",
        (CALL_LOSS, "1 - running_accuracy(mask, probability)"),
        (UPDATE_ACCURACY, ""),
    ),
    (
        "train_step",
        "loss_weighted",
        "",
        (CALL_LOSS, "tf.reduce_mean(loss_fn.call(mask, probability) * (1 + mask[..., 0]))"),
    ),
    ("train_step", "gradients_differ", "", paired("[0 * gradients[0], *gradients[1:]]")),
    (
        "train_step",
        "loss_term_added",
        "",
        (CALL_LOSS, f"({CALL_LOSS} + tf.reduce_mean(tf.square(mask - probability))) / 2"),
    ),
    ("train_step", "gradient_path_cut", "", (CALL_LOSS, f"{CALL_LOSS}.numpy()")),
    ("train_step", "gradient_path_cut", "", ("tape.gradient(loss", "tape.gradient(loss.numpy()")),
    ("train_step", "gradient_of_no_tensor", "a function", ("tape.gradient(loss", "tape.gradient(loss_fn")),
    ("train_step", "gradient_of_no_tensor", "a text", ("tape.gradient(loss", "tape.gradient('loss'")),
    (
        *("train_step", "gradient_of_no_tensor", "`update_state` gives"),
        *((CALL_LOSS, f"running_loss.update_state({CALL_LOSS})"), (UPDATE_LOSS, "")),
    ),
    (
        *("train_step", "gradients_of_other_things", ""),
        *(after(TAPE, "        tape.watch(image)\n"), (ASK, "(loss, image)")),
    ),
    ("train_step", "optimizer_changed", "training: `clipnorm`.", before(APPLY, "    optimizer.clipnorm = 1.0\n")),
    (
        "train_step",
        "calls_keras_loop",
        "`model.train_step`",
        only(TRAIN, "    return model.train_step((image, mask))\n"),
    ),
    ("train_step", "calls_keras_loop", "", (CALL_LOSS, "model.compute_loss(image, mask, probability)")),
    ("train_step", "model_frozen", "no longer trained: `normal`", before(TAPE, f"    {NORMAL}.trainable = False\n")),
    (
        *("val_step", "model_frozen", "a layer that was frozen is trainable now: `fixed`"),
        *(before(UPDATE_LOSS, "    model.trainable = False\n"), before(RETURN, "    model.trainable = True\n")),
    ),
    (
        *("val_step", "in_training_mode", ""),
        ("probability = model(image, training=False)", "before = [weight.numpy() for weight in model.variables]"),
        before("    loss =", "    probability = model(image, training=True)\n"),
        before("    loss =", "    for weight, value in zip(model.variables, before):\n        weight.assign(value)\n"),
    ),
    ("train_step", "running_loss_scaled", "1/4 of the loss", ("update_state(loss)", "update_state(loss / len(image))")),
    ("val_step", "running_loss_scaled", "1/4 of the loss", ("update_state(loss)", "update_state(loss / len(image))")),
    ("train_step", "raises_error", "with `update_state`", (UPDATE_LOSS, "    running_loss = running_loss + loss\n")),
    ("train_step", "raises_error", "with `update_state`", (UPDATE_LOSS, "    running_loss += loss\n")),
    ("train_step", "raises_error", "argument `optimizer`", ("optimizer.apply", "model.optimizer.apply")),
    ("val_step", "returns_rounded", "returns 0 and 1,", (RETURN, "    return probability > 0.3\n")),
    ("val_step", "returns_rounded", "returns 0 everywhere,", (RETURN, "    return tf.argmax(probability, -1)\n")),
    ("val_step", "returns_loss", "", (RETURN, "    return running_loss.result()\n")),
    ("val_step", "returns_several", "2 things", (RETURN, "    return loss, probability\n")),
    ("val_step", "returns_several", "one thing in a list", (RETURN, "    return [probability]\n")),
    ("val_step", "returns_other", "of `running_accuracy`", (RETURN, "    return running_accuracy.result()\n")),
    ("val_step", "returns_other", ": `mask`", (RETURN, "    return mask\n")),
    ("val_step", "returns_other", "255 times", (RETURN, "    return 255 * probability\n")),
    ("val_step", "returns_other", "a single number", (RETURN, "    return tf.reduce_mean(probability)\n")),
    ("val_step", "returns_other", "shape (16, 16, 1)", (RETURN, "    return probability[0]\n")),
    ("val_step", "returns_other", "of type `Model`", (RETURN, "    return model\n")),
    ("val_step", "returns_other", "after another sigmoid", (RETURN, "    return tf.sigmoid(probability)\n")),
    ("val_step", "returns_other", "something of type", (RETURN, "    return tf.strings.as_string(probability)\n")),
    (
        *("train_step", "breaks_when_compiled", "from one call for the next"),
        *(("def ", "total = 0.0\n\ndef "), before(UPDATE_LOSS, "    global total\n    total = total + loss\n")),
    ),
    (
        *("train_step", "values_taken_out", ""),
        *(before(TAPE, "    tf.config.run_functions_eagerly(True)\n"), (RETURN, "    return probability.numpy()\n")),
    ),
]


CASES = [
    *(("train_step", *version) for version in WRONG_TRAINING),
    *(("val_step", *version) for version in WRONG_VALIDATION),
]


@pytest.mark.parametrize(
    "case",
    first_of_each({f"{case[1]}-{i}": case for i, case in enumerate(CASES)}, lambda name: name.rpartition("-")[0]),
)
def test_each_wrong_step_is_told_its_cause(case):
    name, cause, *changes = case
    found = result(name, *changes)
    assert (found.passed, found.cause) == (False, cause), found
    assert found.function is getattr(training, name)
    for text in (found.message, found.look, *found.hints):
        assert text and not set("{}!") & set(text) and text.count("`") % 2 == 0


@pytest.mark.long
@pytest.mark.parametrize("version", TOLD, ids=[f"{cause}-{number}" for number, (_, cause, *_) in enumerate(TOLD)])
def test_messages_say_what_is_found(version):
    name, cause, part, *changes = version
    found = result(name, *changes)
    assert (found.passed, found.cause) == (False, cause), found
    assert part in found.message and "  " not in found.message


RIGHT = [
    *(("train_step", style, changes) for style, changes in RIGHT_TRAINING.items()),
    *(("val_step", style, changes) for style, changes in RIGHT_VALIDATION.items()),
]


@pytest.mark.parametrize("case", RIGHT, ids=[f"{name}, {style}" for name, style, _ in RIGHT])
def test_each_right_step_is_accepted(case):
    name, _, changes = case
    found = result(name, *changes)
    assert found.passed and found.cause is None and found.function is not getattr(training, name), found
    assert found.fraction == 1 and all(aspect.right for aspect in found.aspects)


def test_every_id_has_words_and_every_entry_of_the_catalog_an_id():
    ids = {cause for _, cause, *_ in (*CASES, *TOLD)} | {"not_a_function", "package_step"}
    assert ids == WORDS.keys() - {"train_step", "val_step", "reasons"}
    assert all(len(WORDS[cause]["hints"]) >= 2 for cause in ids)
    assert {mistake.id for entries in step_mistakes.CATALOG.values() for mistake in entries} <= ids


def wrapped(*arguments, **options):
    return training.train_step(*arguments, **options)


@pytest.mark.parametrize("function", [training.train_step, wrapped, lambda *a, **k: wrapped(*a, **k)])
def test_the_packages_own_step_is_no_answer(function):
    found = steps.train_step(function)
    assert found.cause == "package_step" and found.fraction == 0 and checks.points("train_step", function, 12) == 0


@pytest.mark.parametrize("thing", [None, 3, "train_step", training], ids=lambda thing: type(thing).__name__)
def test_what_is_no_function_is_told_so(thing):
    for check in CHECKS.values():
        assert check(thing).cause == "not_a_function"


@pytest.mark.parametrize("thing", [print, len, dict, lambda: 1], ids=lambda thing: type(thing).__name__)
def test_functions_for_something_else_are_refused(thing):
    assert not steps.train_step(thing) and not steps.val_step(thing)


@pytest.mark.parametrize(
    "change",
    [
        (PAIRS, "loss_fn(gradients, model.trainable_variables)"),
        (PAIRS, "zip(gradients, [loss])"),
        (CALL_LOSS, "loss_fn([mask, image], [probability, image])"),
        (CALL_LOSS, "loss_fn(None, None)"),
        ("model(image", "model(optimizer"),
        ("training=True", "training=image"),
        ("update_state(loss)", "update_state([mask, [loss]])"),
        ("update_state(loss)", "update_state(loss * float('inf'))"),
        ("model(image", "model(tf.strings.as_string(image)"),
        paired("[0.0] * 8"),
        (RETURN, "    return {'loss': loss, 'all': [model, (mask, object())]}\n"),
        (RETURN, "    raise RecursionError\n"),
        (RETURN, "    raise ExceptionGroup('two', [ValueError(), KeyError('`')])\n"),
    ],
)
def test_no_check_raises_whatever_a_step_does(change):
    found = result("train_step", change)
    assert not found.passed and found.message in repr(found)


def test_an_interrupt_passes_in_one_line():
    def interrupted(model, image, mask, **options):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        steps.train_step(interrupted)
    assert len(stopped.value._render_traceback_()) == 1


def test_a_slip_costs_its_own_aspect_alone():
    lost = {
        "prediction": [(", training=True", "")],
        "loss": [(CALL_LOSS, "loss_fn(probability, mask)")],
        "update": [(APPLY, "")],
        "running loss": [(UPDATE_LOSS, "")],
        "running accuracy": [(UPDATE_ACCURACY, "")],
        "value returned": [(RETURN, "    return loss\n")],
        "compiled": [(RETURN, "    return probability.numpy()\n")],
    }
    for aspect, changes in lost.items():
        assert {part.name for part in result("train_step", *changes).aspects if not part.right} == {aspect}
    assert sum(part.share for part in result("val_step").aspects) == pytest.approx(1)


def test_an_error_is_told_with_its_line_and_a_reason():
    message = result("train_step", (CALL_LOSS, "los_fn(mask, probability)")).message
    assert "`NameError: name 'los_fn' is not defined`, in line 5, `loss = los_fn(mask, probability)`" in message


@pytest.mark.parametrize(
    "change", [after(UPDATE_LOSS, "    print(loss)\n"), (LOSS, "        loss = object() + mask\n")]
)
def test_the_same_function_gets_the_same_card_and_nothing_is_printed(change, capfd):
    step = written(changed(TRAIN, change), "train_step")
    one, two = (steps.train_step(step)._repr_mimebundle_() for _ in range(2))
    assert one == two and "0x" not in one["text/plain"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change", [(RETURN, RETURN), before(TAPE, "    tf.config.run_functions_eagerly(True)\n    raise ValueError\n")]
)
def test_a_check_leaves_everything_as_it_was(change):
    def everything():
        seeds = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
        settings = (tf.config.functions_run_eagerly(), tf.get_logger().level, keras.config.dtype_policy().name)
        return seeds, settings, tf.GradientTape.gradient, keras.Model.fit

    before_it = everything()
    steps.train_step(written(changed(TRAIN, change), "train_step"))
    assert everything() == before_it


def test_what_the_probe_gives_is_plain_and_the_judge_needs_no_more():
    with probe.aside():
        seen = probe.observe_step(written(TRAIN, "train_step"), "train_step", probe.trials(5)[:3])
    again = pickle.loads(pickle.dumps([*seen, [], []]))
    assert b"keras" not in pickle.dumps(seen)
    right = {aspect.name for aspect in judge.judge_step("train_step", again, 5) if aspect.right}
    assert right == judge.SHARES["train_step"].keys() - {"compiled"}


def test_kerass_own_step_tells_losses_and_modes_apart():
    for name in SOURCES:
        plain, steep, flat, *_ = (trial[0] for trial in judge.expected(name))
        losses = [np.divide(*judge.added(step, judge.LOSS)) for step in (plain, steep, flat)]
        assert losses[1] > 100 * losses[0] > losses[2] == 0
        assert plain.returned.min() < 0.1 and plain.returned.max() > 0.98
