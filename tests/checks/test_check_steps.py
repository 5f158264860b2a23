"""Wrong versions of the two steps, each made by one change of a right one, and the cause that each is told; right
versions in many styles, all accepted; and what a check leaves behind, which is nothing."""

import itertools
import linecache
import random
import time

import numpy as np
import pytest

from roadseg import training
from roadseg.backend import keras, tf
from roadseg.checks import catalogue as mistakes
from roadseg.checks import probe as trials
from roadseg.checks import steps as check_steps

TRAIN = '''
def train_step(model, image, road, *, loss_fn, optimizer, running_loss, running_accuracy):
    """Learn from one batch; return the probabilities."""
    with tf.GradientTape() as tape:
        probability = model(image, training=True)
        loss = loss_fn(road, probability)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    running_loss.update_state(loss)
    running_accuracy.update_state(road, probability)
    return probability
'''
VALIDATE = '''
def val_step(model, image, road, *, loss_fn, running_loss, running_accuracy):
    """Measure one batch and change nothing; return the probabilities."""
    probability = model(image, training=False)
    loss = loss_fn(road, probability)
    running_loss.update_state(loss)
    running_accuracy.update_state(road, probability)
    return probability
'''
TASKS = {"train_step": (TRAIN, check_steps.train_step), "val_step": (VALIDATE, check_steps.val_step)}

TAPE = "    with tf.GradientTape() as tape:\n"
PREDICT = "        probability = model(image, training=True)\n"
LOSS = "        loss = loss_fn(road, probability)\n"
GRADIENTS = "    gradients = tape.gradient(loss, model.trainable_variables)\n"
APPLY = "    optimizer.apply_gradients(zip(gradients, model.trainable_variables))\n"
UPDATE_LOSS = "    running_loss.update_state(loss)\n"
UPDATE_ACCURACY = "    running_accuracy.update_state(road, probability)\n"
RETURN = "    return probability\n"

CALL_LOSS = "loss_fn(road, probability)"
CALL_ACCURACY = "update_state(road, probability)"
ASK = "(loss, model.trainable_variables)"
WEIGHTS = "model.trainable_variables"
PAIRS = "zip(gradients, model.trainable_variables)"
ANOTHER_MODEL = (
    "def ",
    "another = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(1, 1, activation='sigmoid')])\n\ndef ",
)
CLIPPED = "tf.clip_by_value(probability, 0.1, 0.9)"
NORMAL = "model.get_layer('normal')"
MEANS_OVER_PICTURES = "loss_fn(tf.reduce_mean(road, axis=0), tf.reduce_mean(probability, axis=0))"
PICTURE_BY_PICTURE = """
    for one, truth in zip(image[:, None], road[:, None]):
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
    """The change that gives the optimiser other gradients."""
    return PAIRS, f"zip({gradients}, model.trainable_variables)"


def written(source, name):
    """The function of a notebook's cell with this source, which Python can quote as it can a notebook's."""
    place = f"<cell {next(cells)}>"
    linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    names = {"tf": tf, "keras": keras, "np": np}
    exec(compile(source, place, "exec"), names)
    return names[name]


def result(name, *changes):
    """What the check says of a right step of a task with changes."""
    source, check = TASKS[name]
    return check(written(changed(source, *changes), name))


WRONG_TRAINING = [
    # before anything runs
    ("wrong_signature", ("*, loss_fn", "*, loss")),
    ("wrong_signature", ("optimizer, running", "running")),
    ("wrong_signature", ("model, image, road", "image, road, model")),
    ("not_written", only(TRAIN, "    ...\n")),
    ("not_written", only(TRAIN, "    raise NotImplementedError('your turn')\n")),
    ("not_written", only(TRAIN, "    probability = None\n    print('to do')\n    return probability\n")),
    ("runs_later", (RETURN, "    yield probability\n")),
    # it ends in an error
    ("stub_left", (RETURN, "    raise NotImplementedError\n")),
    ("endless", before(RETURN, "    while True:\n        pass\n")),
    ("calls_keras_loop", after(PREDICT, "        model.fit(image, road, verbose=0)\n")),
    ("calls_keras_loop", only(TRAIN, "    model.compile(optimizer, loss_fn)\n    model.train_on_batch(image, road)\n")),
    ("road_as_image", ("model(image", "model(road")),
    ("tape_used_up", after(GRADIENTS, GRADIENTS)),
    ("accuracy_needs_both", (CALL_ACCURACY, "update_state(tf.reduce_mean(tf.abs(road - probability)))")),
    ("raises_error", (CALL_LOSS, "los_fn(road, probability)")),
    ("raises_error", (APPLY, "    optimizer.minimize(loss, model.trainable_variables)\n")),
    ("raises_error", (GRADIENTS, "    loss.backward()\n")),
    ("raises_error", (RETURN, "    raise SystemExit\n")),
    # what goes into the model
    ("model_not_used", ("model(image", "another(image"), ANOTHER_MODEL),
    ("model_not_used", ("model(image", "another(image"), (WEIGHTS, "another.trainable_variables"), ANOTHER_MODEL),
    ("part_of_batch", ("model(image", "model(image[:1]")),
    ("part_of_batch", (CALL_LOSS, "loss_fn(road[0], probability[0])")),
    (
        "picture_by_picture",
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
    ("loss_fn_not_used", (CALL_LOSS, "tf.reduce_mean(keras.losses.binary_crossentropy(road, probability))")),
    ("loss_fn_not_used", (CALL_LOSS, "tf.nn.sigmoid_cross_entropy_with_logits(road, probability)")),
    ("loss_arguments_swapped", (CALL_LOSS, "loss_fn(probability, road)")),
    ("pixels_left_out", (CALL_LOSS, "loss_fn(road[:, 8:], probability[:, 8:])")),
    ("averaged_before_loss", (CALL_LOSS, "loss_fn(tf.reduce_mean(road, [1, 2]), tf.reduce_mean(probability, [1, 2]))")),
    ("road_changed", (CALL_LOSS, "loss_fn(1 - road, probability)")),
    ("road_changed", (CALL_LOSS, "loss_fn(road / 255, probability)")),
    ("loss_of_rounded", (CALL_LOSS, "loss_fn(road, tf.round(probability))")),
    ("sigmoid_twice", (CALL_LOSS, "loss_fn(road, tf.sigmoid(probability))")),
    ("prediction_changed", (CALL_LOSS, "loss_fn(road, 1 - probability)")),
    ("loss_weighted", (CALL_LOSS, "loss_fn(road, probability, sample_weight=1 + road)")),
    # what becomes of the gradients
    ("tape_arguments_swapped", (ASK, "(model.trainable_variables, loss)")),
    ("gradients_of_other_things", (ASK, "(loss, image)")),
    ("gradients_of_other_things", (ASK, "(loss, model)")),
    ("gradient_of_no_tensor", ("tape.gradient(loss", "tape.gradient(running_loss")),
    ("prediction_outside_tape", (TAPE + PREDICT, PREDICT[4:] + TAPE)),
    ("loss_outside_tape", (LOSS, LOSS[4:])),
    ("gradient_path_cut", (CALL_LOSS, "loss_fn(road, probability.numpy())")),
    ("gradient_path_cut", ("tape.gradient(loss", "tape.gradient(-loss")),
    ("gradient_path_cut", ("tape.gradient(loss", "tape.gradient(float(loss)")),
    ("gradient_path_cut", ("GradientTape()", "GradientTape(watch_accessed_variables=False)")),
    ("model_frozen", before(TAPE, "    model.trainable = False\n")),
    ("model_frozen", before(TAPE, "    model.get_layer('normal').trainable = False\n")),
    ("gradients_not_computed", (GRADIENTS, ""), (APPLY, "")),
    ("gradients_not_applied", (APPLY, "")),
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
    ("loss_summed", (CALL_LOSS, "tf.reduce_sum(loss_fn.call(road, probability))")),
    ("loss_scaled", (CALL_LOSS, "loss_fn(road, probability) / len(image)")),
    ("loss_scaled", paired("[10 * each for each in gradients]")),
    ("predicts_twice", before(UPDATE_LOSS, "    probability = model(image, training=False)\n")),
    ("predicts_twice", (CALL_LOSS, "loss_fn(road, model(image, training=True))")),
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
    ("running_accuracy_not_updated", (UPDATE_ACCURACY, "    keras.metrics.binary_accuracy(road, probability)\n")),
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
    ("accuracy_arguments_swapped", (CALL_ACCURACY, "update_state(probability, road)")),
    ("accuracy_of_changed_values", (CALL_ACCURACY, "update_state(road, probability > 0.3)")),
    ("running_accuracy_differs", (CALL_ACCURACY, "update_state(road, probability, sample_weight=road)")),
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
]
WRONG_VALIDATION = [
    ("wrong_signature", ("loss_fn, running", "loss_fn, optimizer, running")),
    ("not_written", only(VALIDATE, "    pass\n")),
    ("endless", before(RETURN, "    while True:\n        pass\n")),
    ("calls_keras_loop", ("model(image, training=False)", "model.predict(image)")),
    ("raises_error", (RETURN, "    return probabilities\n")),
    ("model_not_used", ("model(image", "another(image"), ANOTHER_MODEL),
    ("part_of_batch", ("model(image", "model(image[:2]"), ("(road, ", "(road[:2], ")),
    ("image_changed", ("model(image", "model(255 * image")),
    ("in_training_mode", ("training=False", "training=True")),
    (
        "trains_in_validation",
        before(RETURN, "    for each in model.trainable_variables:\n        each.assign(0.99 * each)\n"),
    ),
    ("model_frozen", before(RETURN, "    model.trainable = False\n")),
    ("model_changed", before(RETURN, "    model.get_layer('normal').moving_mean.assign([0.0] * 4)\n")),
    ("loss_fn_not_used", (CALL_LOSS, "keras.losses.BinaryCrossentropy()(road, probability)")),
    ("loss_arguments_swapped", (CALL_LOSS, "loss_fn(probability, road)")),
    ("loss_of_rounded", (CALL_LOSS, "loss_fn(road, tf.round(probability))")),
    ("metrics_not_updated", (UPDATE_LOSS, ""), (UPDATE_ACCURACY, "")),
    ("running_loss_not_updated", (UPDATE_LOSS, "")),
    ("running_accuracy_not_updated", (UPDATE_ACCURACY, "")),
    ("metrics_reset", before(UPDATE_LOSS, "    running_loss.reset_state()\n")),
    ("metric_updated_twice", after(UPDATE_LOSS, UPDATE_LOSS)),
    ("running_loss_scaled", (CALL_LOSS, "tf.reduce_sum(loss_fn.call(road, probability))")),
    ("accuracy_arguments_swapped", (CALL_ACCURACY, "update_state(probability, road)")),
    ("returns_nothing", (RETURN, "")),
    ("returns_loss", (RETURN, "    return loss\n")),
    ("values_taken_out", (RETURN, "    return probability.numpy()\n")),
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
    "mean over pixels": [("update_state(loss)", "update_state(keras.losses.binary_crossentropy(road, probability))")],
    "its own mean": [(CALL_LOSS, "tf.reduce_mean(loss_fn.call(road, probability))")],
    "flat": [(CALL_LOSS, "loss_fn(tf.reshape(road, [-1, 1]), tf.reshape(probability, [-1, 1]))")],
    "clipped as Keras does itself": [(CALL_LOSS, "loss_fn(road, tf.clip_by_value(probability, 1e-7, 1 - 1e-7))")],
    "keywords": [(CALL_LOSS, "loss_fn(y_pred=probability, y_true=road)")],
    "scaled for mixed precision": [(CALL_LOSS, "optimizer.scale_loss(loss_fn(road, probability))")],
    "with the model's own penalties": [(CALL_LOSS, "loss_fn(road, probability) + sum(model.losses)")],
    "rounded for the metric": [(CALL_ACCURACY, "update_state(road, tf.round(probability))")],
    "with weights": [
        ("running_accuracy):", "running_accuracy, weight=None):"),
        ("road, probability)", "road, probability, sample_weight=weight)"),
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
    "predicts for each": [(CALL_LOSS, "loss_fn(road, model(image))")],
    "below a tape": [(f"    loss = {CALL_LOSS}\n", TAPE + LOSS)],
    "mean over pixels": [(CALL_LOSS, "loss_fn.call(road, probability)")],
    "mean over pictures, one by one": [
        ("running_loss.update_state(loss)", "for one in tf.range(len(road)):"),
        before(UPDATE_ACCURACY, "        running_loss.update_state(loss_fn(road[one], probability[one]))\n"),
    ],
    "compiled already": [("def ", "@tf.function\ndef ")],
}


# Each with a part of the message that it is told, besides the cause.
TOLD = [
    ("train_step", "image_changed", "arrives as all zeros", ("model(image", "model(tf.cast(image, tf.uint8)")),
    ("train_step", "image_changed", "arrives as all zeros", ("model(image", "model(image // 255")),
    ("val_step", "image_changed", "arrives as all zeros", ("model(image", "model(image * 0")),
    ("val_step", "image_changed", "arrives as all zeros", ("model(image", "model(tf.zeros_like(image)")),
    ("train_step", "image_changed", "as 0.5 everywhere", ("model(image", "model(0 * image + 0.5")),
    ("train_step", "image_changed", "mirrored, left to right.", ("model(image", "model(image[:, :, ::-1]")),
    ("val_step", "image_changed", "upside down.", ("model(image", "model(tf.image.flip_up_down(image)")),
    ("val_step", "image_changed", "colours in reverse order.", ("model(image", "model(image[..., ::-1]")),
    ("train_step", "image_changed", "(NaN), as after a division by zero", ("model(image", "model(image / 0.0")),
    ("train_step", "image_changed", "from -0.5", ("model(image", "model(image - 0.5")),
    ("val_step", "image_changed", "1/255 of what they were", ("model(image", "model(inputs=image / 255")),
    (
        "train_step",
        "image_changed",
        "shape (1, 4, 16, 16, 3), not (batch, 16, 16, 3)",
        ("model(image", "model(image[None]"),
    ),
    ("val_step", "image_changed", "of the type `list`", ("model(image", "model([image, image]")),
    (
        *("val_step", "image_changed", "mirrored, left to right."),
        ("model(image, training=False)", "(model(image) + model(image[:, :, ::-1])[:, :, ::-1]) / 2"),
    ),
    ("train_step", "prediction_changed", "from 0.1 to 0.9", (CALL_LOSS, f"loss_fn(road, {CLIPPED})")),
    ("val_step", "prediction_changed", "from 0.1 to 0.9", (CALL_LOSS, f"loss_fn(road, {CLIPPED})")),
    (
        "train_step",
        "prediction_changed",
        "arrive as 1 everywhere",
        (CALL_LOSS, "loss_fn(road, tf.nn.softmax(probability))"),
    ),
    ("train_step", "prediction_changed", "comes `road`", (CALL_LOSS, "loss_fn(road, road)")),
    ("val_step", "prediction_changed", "comes `road`", (CALL_LOSS, "loss_fn(road, road)")),
    ("train_step", "prediction_changed", "arrive as all zeros", (CALL_LOSS, "loss_fn(road, tf.zeros_like(road))")),
    ("train_step", "prediction_changed", "2 times what they were", (CALL_LOSS, "loss_fn(road, 2 * probability)")),
    ("train_step", "loss_of_rounded", "", (CALL_LOSS, "loss_fn(road, tf.cast(probability > 0.3, tf.float32))")),
    ("train_step", "averaged_before_loss", "", (CALL_LOSS, MEANS_OVER_PICTURES)),
    ("val_step", "averaged_before_loss", "", (CALL_LOSS, MEANS_OVER_PICTURES)),
    ("train_step", "picture_by_picture", "", only(TRAIN, PICTURE_BY_PICTURE)),
    (
        "train_step",
        "loss_fn_not_used",
        "",
        (CALL_LOSS, "1 - running_accuracy(road, probability)"),
        (UPDATE_ACCURACY, ""),
    ),
    (
        "train_step",
        "loss_weighted",
        "",
        (CALL_LOSS, "tf.reduce_mean(loss_fn.call(road, probability) * (1 + road[..., 0]))"),
    ),
    ("train_step", "gradients_differ", "", paired("[0 * gradients[0], *gradients[1:]]")),
    (
        "train_step",
        "loss_term_added",
        "",
        (CALL_LOSS, f"({CALL_LOSS} + tf.reduce_mean(tf.square(road - probability))) / 2"),
    ),
    ("train_step", "gradient_path_cut", "", (CALL_LOSS, f"{CALL_LOSS}.numpy()")),
    ("train_step", "gradient_path_cut", "", ("tape.gradient(loss", "tape.gradient(loss.numpy()")),
    ("train_step", "gradient_of_no_tensor", "a metric", ("tape.gradient(loss", "tape.gradient(running_loss")),
    ("train_step", "gradient_of_no_tensor", "a function", ("tape.gradient(loss", "tape.gradient(loss_fn")),
    ("train_step", "gradient_of_no_tensor", "`str`", ("tape.gradient(loss", "tape.gradient('loss'")),
    (
        *("train_step", "gradient_of_no_tensor", "`update_state`, gives"),
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
        only(TRAIN, "    return model.train_step((image, road))\n"),
    ),
    ("train_step", "calls_keras_loop", "", (CALL_LOSS, "model.compute_loss(image, road, probability)")),
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
    ("val_step", "returns_several", "a `tuple` of 2 things", (RETURN, "    return loss, probability\n")),
    ("val_step", "returns_several", "a `list` of 1 thing,", (RETURN, "    return [probability]\n")),
    ("val_step", "returns_other", "of `running_accuracy`", (RETURN, "    return running_accuracy.result()\n")),
    ("val_step", "returns_other", ": `road`", (RETURN, "    return road\n")),
    ("val_step", "returns_other", "255 times", (RETURN, "    return 255 * probability\n")),
    ("val_step", "returns_other", "a single number", (RETURN, "    return tf.reduce_mean(probability)\n")),
    ("val_step", "returns_other", "shape (16, 16, 1)", (RETURN, "    return probability[0]\n")),
    ("val_step", "returns_other", "the type `Model`", (RETURN, "    return model\n")),
    ("val_step", "returns_other", "through a sigmoid", (RETURN, "    return tf.sigmoid(probability)\n")),
    ("val_step", "returns_other", "of the type `object`", (RETURN, "    return tf.strings.as_string(probability)\n")),
    (
        *("train_step", "breaks_when_compiled", "from one call for the next"),
        *(("def ", "total = 0.0\n\ndef "), before(UPDATE_LOSS, "    global total\n    total = total + loss\n")),
    ),
    (
        *("train_step", "values_taken_out", ""),
        *(before(TAPE, "    tf.config.run_functions_eagerly(True)\n"), (RETURN, "    return probability.numpy()\n")),
    ),
]


def names(versions):
    """An id for each wrong version: its cause, and a number where there are several."""
    return [f"{version[0]}-{number}" for number, version in enumerate(versions)]


@pytest.mark.slow
@pytest.mark.parametrize("version", WRONG_TRAINING, ids=names(WRONG_TRAINING))
def test_each_wrong_training_step_is_told_its_cause(version, monkeypatch):
    is_told("train_step", version, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("version", WRONG_VALIDATION, ids=names(WRONG_VALIDATION))
def test_each_wrong_validation_step_is_told_its_cause(version, monkeypatch):
    is_told("val_step", version, monkeypatch)


def is_told(name, version, monkeypatch):
    """Assert that a wrong version is told its cause, in words, and that the package's step stands in for it."""
    cause, *changes = version
    if cause == "endless":  # no need to wait long for what has no end
        monkeypatch.setattr(trials, "SECONDS", 0.5)
    found = result(name, *changes)
    assert (found.passed, found.cause) == (False, cause), f"{found.message} Works: {found.right}"
    assert found.function is getattr(training, name)
    for text in (found.message, found.look, *found.hints):
        assert text and not set("{}!") & set(text) and text.count("`") % 2 == 0


@pytest.mark.slow
@pytest.mark.parametrize("version", TOLD, ids=[f"{cause}-{number}" for number, (_, cause, *_) in enumerate(TOLD)])
def test_messages_say_what_is_found(version):
    name, cause, part, *changes = version
    found = result(name, *changes)
    assert (found.passed, found.cause) == (False, cause), f"{found.message} Works: {found.right}"
    assert part in found.message and "  " not in found.message


@pytest.mark.slow
@pytest.mark.parametrize("style", RIGHT_TRAINING)
def test_each_right_training_step_is_accepted(style):
    found = result("train_step", *RIGHT_TRAINING[style])
    assert found.passed, found
    assert found.cause is None and found.function is not training.train_step


@pytest.mark.slow
@pytest.mark.parametrize("style", RIGHT_VALIDATION)
def test_each_right_validation_step_is_accepted(style):
    found = result("val_step", *RIGHT_VALIDATION[style])
    assert found.passed, found
    assert found.cause is None and found.function is not training.val_step


def test_the_package_s_own_steps_are_right():
    assert check_steps.train_step(training.train_step).passed
    assert check_steps.val_step(training.val_step).passed


def test_every_cause_has_words_and_a_wrong_version():
    stages = {*mistakes.TRAINING, *mistakes.VALIDATION}
    causes = {rule.__name__ for _, rules in stages for rule in rules}
    words = check_steps._words()
    assert causes == words.keys() - {"train_step", "val_step", "reasons"}
    assert all(len(words[cause]["hints"]) >= 2 for cause in causes)
    told = {cause for cause, *_ in (*WRONG_TRAINING, *WRONG_VALIDATION)}
    assert causes - told == {"not_a_function"}  # which is below


@pytest.mark.parametrize(
    "thing", [None, 3, "train_step", training, [training.train_step]], ids=lambda thing: type(thing).__name__
)
def test_what_is_no_function_is_told_so(thing):
    for check in (check_steps.train_step, check_steps.val_step):
        assert check(thing).cause == "not_a_function"


@pytest.mark.parametrize(
    "thing", [print, len, dict, keras.losses.BinaryCrossentropy(), lambda: 1], ids=lambda thing: type(thing).__name__
)
def test_functions_for_something_else_are_refused(thing):
    assert not check_steps.train_step(thing)
    assert not check_steps.val_step(thing)


@pytest.mark.parametrize(
    "change",
    [
        (PAIRS, "loss_fn(gradients, model.trainable_variables)"),
        (PAIRS, "zip(gradients, [loss])"),
        (CALL_LOSS, "loss_fn([road, image], [probability, image])"),
        (CALL_LOSS, "loss_fn(None, None)"),
        ("model(image", "model(optimizer"),
        ("training=True", "training=image"),
        ("update_state(loss)", "update_state(0)"),
        ("update_state(loss)", "update_state([road, [loss]])"),
        ("update_state(loss)", "update_state(loss * float('inf'))"),
        ("model(image", "model(tf.strings.as_string(image)"),
        paired("[0.0] * 8"),
        before(
            UPDATE_LOSS,
            "    try:\n        running_accuracy.update_state()\n    except TypeError:\n        loss += 1\n",
        ),
        (RETURN, "    return {'loss': loss, 'all': [model, (road, object())]}\n"),
        (RETURN, "    return model\n"),
        (RETURN, "    raise RecursionError\n"),
        (RETURN, "    raise ExceptionGroup('two', [ValueError(), KeyError('`')])\n"),
    ],
)
def test_no_check_raises_whatever_a_step_does(change):
    found = result("train_step", change)
    assert not found.passed and found.message in repr(found)


def test_a_stub_is_not_written_yet():
    assert result("train_step", only(TRAIN, "    ...  # your code goes here\n")).verdict == "not written yet"
    assert result("val_step", (RETURN, "")).verdict == "not right yet"


@pytest.mark.parametrize("name", TASKS)
def test_what_has_no_end_is_ended_once(name, monkeypatch):
    monkeypatch.setattr(trials, "SECONDS", 0.3)
    monkeypatch.setattr(trials, "MODELS", 0)
    endless = ("def ", "calls = []\n\ndef "), before(RETURN, "    calls.append(1)\n    while True:\n        pass\n")
    source, check = TASKS[name]
    step = written(changed(source, *endless), name)
    assert check(step).cause == "endless" and len(step.__globals__["calls"]) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_sleep_is_cut_short(name):
    start = time.monotonic()
    assert result(name, before(RETURN, "    import time\n    time.sleep(60)\n")).cause == "endless"
    assert time.monotonic() - start < 20


def test_many_short_sleeps_are_counted_together(monkeypatch):
    monkeypatch.setattr(trials, "SECONDS", 0.5)
    monkeypatch.setattr(trials, "MODELS", 0)
    assert result("train_step", before(RETURN, "    import time\n    time.sleep(0.4)\n")).cause == "endless"


@pytest.mark.slow
def test_a_machine_that_is_held_up_once_makes_no_step_endless(monkeypatch):
    monkeypatch.setattr(trials, "SECONDS", 1.0)
    pause = before(RETURN, "    time.sleep(pauses.pop() if pauses else 0)\n")
    assert result("train_step", ("def ", "import time\n\npauses = [60]\n\ndef "), pause).passed
    assert result("train_step", ("def ", "import time\n\npauses = [60, 60]\n\ndef "), pause).cause == "endless"


def test_what_works_already_is_told():
    found = result("train_step", (RETURN, ""))
    assert found.right == (
        "the model predicts in training mode",
        "the gradients are right",
        "each weight moves as in Keras's own step",
        "the running loss is right",
        "the running accuracy is right",
    )
    assert result("train_step", (CALL_LOSS, "los_fn(road, probability)")).right == (
        "the model predicts in training mode",
    )


def test_an_error_is_told_with_its_line_and_a_reason():
    found = result("train_step", (CALL_LOSS, "los_fn(road, probability)"))
    assert (
        "`NameError: name 'los_fn' is not defined`, in its line 5, `loss = los_fn(road, probability)`" in found.message
    )
    assert "a slip of the pen" in found.message


@pytest.mark.slow
def test_an_error_in_a_compiled_step_is_told_with_its_line():
    found = result("train_step", (RETURN, "    return probability.numpy()\n"))
    assert "in its line 10, `return probability.numpy()`" in found.message
    assert "has no attribute 'numpy'" in found.message


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("1024 times as large", [(CALL_LOSS, "tf.reduce_sum(loss_fn.call(road, probability))")]),
        ("1/4 of what they should be", [paired("[each / 4 for each in gradients]")]),
        ("1/255 of what they were", [("model(image", "model(image / 255")]),
        ("as `1 - image`", [("model(image", "model(1 - image")]),
        ("7 of 8 weights, such as `edges/bias`", [(WEIGHTS, "model.trainable_variables[:1]")]),
        ("goes up by 4 times the loss", [("update_state(loss)", "update_state(4 * loss)")]),
        ("`running_accuracy` is updated", [after(UPDATE_ACCURACY, UPDATE_ACCURACY)]),
        ("takes `model`, `image`, `road`, `loss_fn`", [("*, loss_fn, optimizer, ", "loss_fn, ")]),
    ],
)
def test_messages_name_the_numbers(part, changes):
    assert part in result("train_step", *changes).message


@pytest.mark.parametrize(
    "change", [after(UPDATE_LOSS, "    print(loss)\n"), (LOSS, "        loss = object() + road\n")]
)
def test_the_same_function_gets_the_same_card_and_nothing_is_printed(change, capfd):
    step = written(changed(TRAIN, change), "train_step")
    one, two = (check_steps.train_step(step)._repr_mimebundle_() for _ in range(2))
    assert one == two and "0x" not in one["text/plain"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("eagerly", [True, False])
def test_a_step_is_compiled_whatever_is_set(eagerly):
    try:
        tf.config.run_functions_eagerly(eagerly)
        assert result("val_step", (RETURN, "    return probability.numpy()\n")).cause == "values_taken_out"
        assert tf.config.functions_run_eagerly() == eagerly
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(
    "change",
    [
        (RETURN, RETURN),
        before(TAPE, "    raise ValueError\n"),
        before(TAPE, "    tf.config.run_functions_eagerly(True)\n"),
    ],
)
def test_a_check_leaves_everything_as_it_was(change):
    def everything():
        logger = tf.get_logger()
        tape = tf.GradientTape
        return (
            *(
                random.getstate(),
                np.random.get_state()[1].tolist(),  # noqa: NPY002
            ),
            *(tf.config.functions_run_eagerly(), logger.level, keras.config.floatx()),
            *(tape.__enter__, tape.__exit__, tape.gradient),
        )

    before_it = everything()
    result("train_step", change)
    assert everything() == before_it


def test_the_seeds_of_others_draw_the_same_numbers_afterwards():
    draws = []
    for check in (lambda: None, lambda: result("train_step")):
        keras.utils.set_random_seed(7)
        check()
        layer = keras.layers.Dense(3)
        layer.build((None, 2))
        draws.append([*layer.kernel.numpy().ravel(), *tf.random.normal([3]).numpy(), random.random()])
    np.testing.assert_array_equal(*draws)


def test_the_trials_tell_modes_frozen_layers_and_batches_apart():
    kit = trials.Kit(trials.PLAIN, trials.Model)
    (image, road), (shorter, _) = trials.batches(2)
    training_mode, inference_mode = (np.array(kit.model(image, training=mode)) for mode in (True, False))
    assert np.abs(training_mode - inference_mode).max() > 0.05
    assert len(kit.model.weights) > len(kit.model.trainable_weights) + 2
    assert len(image) != len(shorter) and 0.2 < road.mean() < 0.5


@pytest.mark.parametrize("in_training", [True, False])
def test_what_is_expected_differs_between_modes_and_losses(in_training):
    plain, steep, flat = (
        trials.expected(each, training=in_training) for each in (trials.PLAIN, trials.STEEP, trials.FLAT)
    )
    assert steep[0].loss > 1000 * plain[0].loss > flat[0].loss == 0
    assert 0.5 != plain[0].accuracy != plain[1].accuracy
    assert plain[0].probability.min() < 0.02 and plain[0].probability.max() > 0.98
    assert bool(plain[0].gradients) == in_training
