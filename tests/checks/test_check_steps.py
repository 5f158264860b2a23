"""Wrong versions of the two steps, each made by one change of a right one, and the cause that each is told; right
versions in many styles, all accepted; grading, which agrees; and what a check leaves behind, which is nothing."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from students import written

from roadseg import checks, training
from roadseg.backend import keras, tf
from roadseg.checks import judge, probe, step_mistakes, steps
from roadseg.checks.result import read_words
from roadseg.checks.step_mistakes import (
    APPLY,
    CALL,
    COMPARED,
    GRADIENTS,
    LOSS_LINE,
    PAIRS,
    PREDICT,
    RETURN,
    RIGHT,
    TAPE,
    TOLD,
    UPDATE_ACCURACY,
    UPDATE_LOSS,
    WEIGHTS,
)

TRAIN, VALIDATE = RIGHT["train_step"], RIGHT["val_step"]
CHECKS = {"train_step": steps.train_step, "val_step": steps.val_step}
WORDS = read_words(Path(steps.__file__).with_suffix(".toml"))

ASK = "(loss, model.trainable_variables)"
ANOTHER_MODEL = (
    "def ",
    "another = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(1, 1, activation='sigmoid')])\n\ndef ",
)
OTHER_OPTIMIZER = "def ", "ADAM = keras.optimizers.Adam()\nADAM.build([keras.Variable(0.0)])\n\n\ndef "
pytestmark = pytest.mark.slow


OWN_METRICS = "def ", "MEAN, ACCURACY = keras.metrics.Mean, keras.metrics.BinaryAccuracy\n\n\ndef "
IMAGE_BY_IMAGE = "model(image, training=False)", "tf.map_fn(lambda one: model(one[None], training=False)[0], image)"
LOSS_BY_IMAGE = (
    CALL,
    "tf.reduce_mean(tf.map_fn(lambda pair: loss_fn(*pair), (mask, probability), fn_output_signature=tf.float32))",
)


def only(source, text):
    """The change that puts a text in place of the body."""
    return source.split(":\n", 1)[1], text


def paired(other):
    """The change that gives the optimizer other gradients."""
    return PAIRS, PAIRS.replace("gradients", other, 1)


def before(line, more):
    """The change that puts more before a line."""
    return line, more + line


def after(line, more):
    """The change that puts more behind a line."""
    return line, line + more


def result(name, *changes):
    """What the check says of a right step of a task with changes."""
    return CHECKS[name](written(probe.rewritten(RIGHT[name], *changes), name))


WRONG_TRAINING = [
    ("wrong_signature", ("*, loss_fn", "*, loss")),
    ("not_written", only(TRAIN, "    ...\n")),
    ("runs_later", (RETURN, "    yield probability\n")),
    (
        "returns_function",
        only(TRAIN, "    def step():\n        return model(image, training=True)\n\n    return step\n"),
    ),
    ("stub_left", (RETURN, "    raise NotImplementedError\n")),
    ("calls_keras_loop", after(PREDICT, "        model.fit(image, mask, verbose=0)\n")),
    ("mask_as_image", ("model(image", "model(mask")),
    (
        "tape_used_up",
        (GRADIENTS, "    gradients = [tape.gradient(loss, each) for each in model.trainable_variables]\n"),
    ),
    ("accuracy_needs_both", (COMPARED, "update_state(tf.reduce_mean(tf.abs(mask - probability)))")),
    ("raises_error", (CALL, "los_fn(mask, probability)")),
    ("model_not_used", ("model(image", "another(image"), ANOTHER_MODEL),
    (
        "model_not_used",
        ("model(image", "another(image"),
        (ANOTHER_MODEL[0], ANOTHER_MODEL[1].replace("(16, 16, 3)", "(256, 256, 3)")),
    ),
    ("part_of_batch", ("model(image", "model(image[:1]")),
    (
        "image_by_image",
        ("model(image, training=True)", "tf.concat([model(one[None], training=True) for one in image], 0)"),
    ),
    ("image_changed", ("model(image", "model(image / 255")),
    ("not_in_training_mode", (", training=True", "")),
    (
        "other_prediction",
        ("model(image, training=True)", "image"),
        before(LOSS_LINE, "        for layer in model.layers[1:]:\n"),
        before(LOSS_LINE, "            probability = layer(probability, training=layer is model.layers[1])\n"),
    ),
    ("loss_not_computed", only(TRAIN, "    return model(image, training=True)\n")),
    ("loss_fn_not_used", (CALL, "tf.reduce_mean(keras.losses.binary_crossentropy(mask, probability))")),
    ("pixels_left_out", (CALL, "loss_fn(mask[:, 8:], probability[:, 8:])")),
    ("averaged_before_loss", (CALL, "loss_fn(tf.reduce_mean(mask, [1, 2]), tf.reduce_mean(probability, [1, 2]))")),
    ("mask_changed", (CALL, "loss_fn(1 - mask, probability)")),
    ("loss_of_rounded", (CALL, "loss_fn(mask, tf.round(probability))")),
    ("prediction_changed", (CALL, "loss_fn(mask, 1 - probability)")),
    ("loss_arguments_swapped", (CALL, "loss_fn(probability, mask)"), (COMPARED, "update_state(probability, mask)")),
    ("loss_weighted", (CALL, "loss_fn(mask, probability, sample_weight=1 + mask)")),
    ("gradient_path_cut", (CALL, "loss_fn(mask, probability.numpy())")),
    ("model_frozen", before(TAPE, "    model.trainable = False\n")),
    ("optimizer_not_used", before(APPLY, "    optimizer = keras.optimizers.SGD(0.1)\n")),
    ("optimizer_not_used", ("optimizer.apply", "ADAM.apply"), OTHER_OPTIMIZER),
    ("weights_of_another_model", (WEIGHTS, "another.trainable_variables"), ANOTHER_MODEL),
    ("frozen_weights_trained", (WEIGHTS, "model.weights")),
    ("some_weights_left_out", (WEIGHTS, "model.layers[-1].trainable_variables")),
    ("applied_twice", after(APPLY, APPLY)),
    ("applied_sometimes", (APPLY, f"    if len(image) == 2:\n    {APPLY}")),
    ("applied_sometimes", (APPLY, f"    if loss > 1:\n    {APPLY}")),
    ("state_differs", after(APPLY, "    optimizer.iterations.assign_add(1)\n")),
    ("apply_failed", (APPLY, "    try:\n        optimizer.apply_gradients(gradients)\n    except Exception: pass\n")),
    ("pairs_used_up", (APPLY, f"    pairs = {PAIRS}\n    print(*pairs)\n    optimizer.apply_gradients(pairs)\n")),
    ("scaled_by_rate", paired("[optimizer.learning_rate * each for each in gradients]")),
    ("optimizer_changed", before(APPLY, "    optimizer.momentum = 0.0\n")),
    ("wrong_sign", paired("[-each for each in gradients]")),
    ("loss_scaled", (CALL, "tf.reduce_sum(loss_fn.call(mask, probability))")),
    ("loss_scaled", (CALL, "loss_fn(mask, probability) / len(image)")),
    ("predicts_twice", (CALL, "loss_fn(mask, model(image, training=True))")),
    ("gradients_clipped", paired("[tf.clip_by_value(each, -1, 1) for each in gradients]")),
    ("loss_transformed", after(LOSS_LINE, "        loss = tf.sqrt(loss)\n")),
    (
        "loss_term_added",
        after(LOSS_LINE, "        loss += 1e-5 * sum(map(tf.nn.l2_loss, model.trainable_variables))\n"),
    ),
    ("gradients_differ", paired("map(tf.sign, gradients)")),
    ("state_differs", after(APPLY, "    for each in model.trainable_variables:\n        each.assign(0.999 * each)\n")),
    ("running_loss_not_updated", (TOLD, "running_loss.total += loss")),
    ("running_accuracy_not_updated", (UPDATE_ACCURACY, "    keras.metrics.binary_accuracy(mask, probability)\n")),
    ("metric_updated_twice", after(UPDATE_LOSS, "    running_loss(loss)\n")),
    ("running_loss_scaled", ("update_state(loss)", "update_state(loss * len(image))")),
    ("running_loss_weighted", ("update_state(loss)", "update_state(loss, sample_weight=len(image) ** 2)")),
    ("running_loss_differs", ("update_state(loss)", "update_state(probability)")),
    ("accuracy_of_changed_values", (COMPARED, "update_state(mask, probability > 0.3)")),
    ("running_accuracy_weighted", (COMPARED, "update_state(mask, probability, sample_weight=mask)")),
    ("running_accuracy_differs", after(UPDATE_ACCURACY, "    running_accuracy.total.assign_add(1.0)\n")),
    ("returns_nothing", (RETURN, "")),
    ("returns_other", (RETURN, "    return probability, loss\n")),
    ("returns_loss", (RETURN, "    return loss\n")),
    ("returns_other", (RETURN, "    return probability > 0.5\n")),
    ("returns_other", (RETURN, "    return probability[..., 0]\n")),
    ("returns_other", (RETURN, "    return 1 - probability\n")),
    ("values_taken_out", (RETURN, "    return probability.numpy()\n")),
    ("breaks_when_compiled", after(UPDATE_LOSS, "    keras.metrics.Mean().update_state(loss)\n")),
    ("differs_when_compiled", before(UPDATE_LOSS, "    if not tf.executing_eagerly():\n        loss *= 2\n")),
]

CATALOG = [entry for entries in step_mistakes.MISTAKES.values() for entry in entries]
WRONG_TRAINING += {cause: (cause, *changes) for cause, *changes in reversed(CATALOG)}.values()

# another way to the same mistake, or a second slip beside it
SUBTLE = [
    ("gradients_not_applied", LOSS_BY_IMAGE, (APPLY, "")),
    *(entry for entry in CATALOG if entry not in WRONG_TRAINING),
    (
        "tape_used_up",
        (GRADIENTS, "    for each in model.trainable_variables:\n        grad = tape.gradient(loss, each)\n"),
        (APPLY, "        optimizer.apply_gradients([(grad, each)])\n"),
    ),
    ("gradients_mispaired", (ASK, "(loss, model.variables)")),
    ("raises_error", ("probability = model", "probability, _ = model")),
    ("optimizer_changed", before(APPLY, "    optimizer.learning_rate = 1e-4\n")),
    ("model_not_used", ("model(image", "another(image"), (WEIGHTS, "another.trainable_variables"), ANOTHER_MODEL),
    ("gradient_path_cut", (CALL, "-np.mean(mask * np.log(probability) + (1 - mask) * np.log(1 - probability))")),
    *(
        ("gradient_of_no_tensor", ("tape.gradient(loss", f"tape.gradient({each}"))
        for each in ("'loss'", "running_accuracy")
    ),
    ("gradient_path_cut", before(GRADIENTS, f"    loss = {CALL}\n")),
    ("gradients_of_other_things", (WEIGHTS, "model.get_weights()")),
    ("gradients_not_applied", (APPLY, f"    for each, weight in {PAIRS}:\n        weight = weight - 0.1 * each\n")),
    ("gradients_not_paired", (PAIRS, "zip(gradients, model.layers)")),
    ("predicts_twice", (TAPE, "    for _ in range(1000):\n        probability = model(image, training=True)\n" + TAPE)),
    ("predicts_twice", after(PREDICT, "        probability = model(image, training=False)\n")),
    ("state_differs", before(TAPE, "    old = model.get_weights()\n"), before(RETURN, "    model.set_weights(old)\n")),
    (
        "metrics_not_updated",
        before(UPDATE_LOSS, "    running_loss, running_accuracy = MEAN(), ACCURACY()\n"),
        OWN_METRICS,
    ),
    ("metric_updated_twice", (UPDATE_ACCURACY, f"    for _ in range(4):\n    {UPDATE_ACCURACY}")),
    ("accuracy_of_changed_values", (COMPARED, "update_state(probability, probability)")),
    ("metrics_swapped", (COMPARED, "update_state(loss)")),
    ("gradient_path_cut", (PREDICT, "        with tape.stop_recording():\n    " + PREDICT)),
    ("model_frozen", before(TAPE, "    model.layers[1].trainable = False\n")),
    ("loss_scaled", (f"loss = {CALL}", f"loss = 10 * {CALL}")),
    ("loss_term_added", after(LOSS_LINE, "        loss += 1e-4 * tf.nn.l2_loss(model.trainable_variables[0])\n")),
    ("gradients_clipped", paired("[tf.clip_by_norm(each, 1) for each in gradients]")),
    (
        "optimizer_not_used",
        (APPLY, f"    for gradient, weight in {PAIRS}:\n        weight.assign_sub(0.1 * gradient)\n"),
    ),
    ("gradients_mispaired", paired("gradients[:1] + gradients[2:4] + gradients[1:2] + gradients[4:]")),
    ("gradients_clipped", paired("tf.clip_by_global_norm(gradients, 5)[0]")),
    ("gradients_not_applied", (APPLY, ""), (RETURN, "    return loss\n")),
    ("sigmoid_twice", ("model(image, training=True)", "tf.sigmoid(model(image, training=True))")),
    ("metrics_reset", before(TAPE, "    running_loss.reset_state()\n    running_accuracy.reset_state()\n")),
    ("wrong_sign", (f"loss = {CALL}", f"loss = -{CALL}"), ("update_state(loss)", "update_state(-loss)")),
]
WRONG_VALIDATION = [
    ("returns_loss", IMAGE_BY_IMAGE, (RETURN, "    return loss\n")),
    ("in_training_mode", ("training=False", "training=True")),
    (
        "trains_in_validation",
        before(RETURN, "    for each in model.trainable_variables:\n        each.assign(0.99 * each)\n"),
    ),
    (
        "model_frozen",
        before("    loss =", "    model.trainable = True\n"),
        before("    probability = ", "    model.trainable = False\n"),
        ("training=False", "training=True"),
    ),
    ("returns_early", before(UPDATE_ACCURACY, "    if loss < 0.5:\n        return probability\n")),
    ("running_loss_not_updated", (UPDATE_LOSS, f"    if loss < 0:\n    {UPDATE_LOSS}")),
    ("model_changed", before(RETURN, "    model.get_layer('normal').moving_mean.assign([0.0] * 4)\n")),
    ("trains_in_validation", before(RETURN, "    [each.assign(0.5 * each) for each in model.trainable_weights]\n")),
    ("loss_fn_not_used", (CALL, "keras.losses.BinaryCrossentropy()(mask, probability)")),
    ("metric_updated_twice", after(UPDATE_LOSS, UPDATE_LOSS)),
    ("returns_loss", (RETURN, "    return loss\n")),
]
RIGHT_TRAINING = {
    "apply": [(f"apply_gradients({PAIRS})", f"apply(gradients, {WEIGHTS})")],
    "apply without weights": [(f"apply_gradients({PAIRS})", "apply(gradients)")],
    "all below the tape": [
        ("GradientTape()", "GradientTape(persistent=True)"),
        *((line, "    " + line) for line in (GRADIENTS, APPLY)),
    ],
    "metrics called": [
        ("running_loss.update_state", "running_loss"),
        ("running_accuracy.update_state", "running_accuracy"),
    ],
    "mean over images": [("update_state(loss)", "update_state(loss, sample_weight=len(image))")],
    "mean over pixels": [("update_state(loss)", "update_state(keras.losses.binary_crossentropy(mask, probability))")],
    "its own mean": [(CALL, "tf.reduce_mean(loss_fn.call(mask, probability))")],
    "flat": [(CALL, "loss_fn(tf.reshape(mask, [-1, 1]), tf.reshape(probability, [-1, 1]))")],
    "clipped as Keras does itself": [(CALL, "loss_fn(mask, tf.clip_by_value(probability, 1e-7, 1 - 1e-7))")],
    "scaled for mixed precision": [(CALL, "optimizer.scale_loss(loss_fn(mask, probability))")],
    "with the model's own penalties": [(CALL, "loss_fn(mask, probability) + sum(model.losses)")],
    "rounded for the metric": [(COMPARED, "update_state(mask, tf.round(probability))")],
    "with weights": [
        ("running_accuracy):", "running_accuracy, weight=None):"),
        ("mask, probability)", "mask, probability, sample_weight=weight)"),
    ],
    "converted": [("update_state(loss)", "update_state(float(loss))")],
    "watched by hand": [
        ("GradientTape()", "GradientTape(watch_accessed_variables=False)"),
        before(PREDICT, "        tape.watch([weight.value for weight in model.trainable_variables])\n"),
    ],
    "in another function": [
        ("def train_step", "def train_step(*given, **named):\n    return step(*given, **named)\n\n\ndef step"),
    ],
}
RIGHT_VALIDATION = {
    "as it stands": [],
    "mode by default": [(", training=False", "")],
    "predicts for each": [(CALL, "loss_fn(mask, model(image))")],
    "image by image": [("model(image, training=False)", "tf.map_fn(lambda one: model(one[None])[0], image)")],
    "below a tape": [(f"    loss = {CALL}\n", TAPE + LOSS_LINE)],
    "mean over images, one by one": [
        ("running_loss.update_state(loss)", "for one in tf.range(len(mask)):"),
        before(UPDATE_ACCURACY, "        running_loss.update_state(loss_fn(mask[one], probability[one]))\n"),
    ],
    "compiled already": [("def ", "@tf.function\ndef ")],
}


@pytest.mark.parametrize(
    "case",
    [
        *(pytest.param(("train_step", *case), id=case[0]) for case in WRONG_TRAINING),
        *(pytest.param(("val_step", *case), id=f"val_step, {case[0]}") for case in WRONG_VALIDATION),
        *(pytest.param(("train_step", *case), id=f"{case[0]}, too", marks=pytest.mark.long) for case in SUBTLE),
    ],
)
def test_each_wrong_step_is_told_its_cause(case):
    name, cause, *changes = case
    found = result(name, *changes)
    assert (found.passed, found.cause) == (False, cause), found
    assert found.function is getattr(training, name)
    for text in (found.message, found.look, *found.hints):
        assert text and not set("{}!") & set(text) and text.count("`") % 2 == 0


@pytest.mark.parametrize("style", RIGHT_TRAINING)
def test_each_right_training_step_is_accepted(style):
    found = result("train_step", *RIGHT_TRAINING[style])
    assert found.passed and found.cause is None and found.function is not training.train_step, found


@pytest.mark.parametrize("style", RIGHT_VALIDATION)
def test_each_right_validation_step_is_accepted(style):
    found = result("val_step", *RIGHT_VALIDATION[style])
    assert found.passed and found.function is not training.val_step, found
    assert sum(aspect.share for aspect in found.aspects) == pytest.approx(1)


GRAY = np.random.default_rng(0).random((2, 4, 4, 1)) * 0.8 + 0.1


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (1 - GRAY, "inverted, as `1 - image`"),
        (GRAY[:, :, ::-1], "mirrored, left to right"),
        (GRAY[::-1], "images in reverse order"),
        (GRAY / 255, "1/255 of the image"),
        (4 * GRAY, "4 times the image"),
        (GRAY.clip(0.2, 0.6), "clipped, from 0.2 to 0.6"),
        (GRAY**2 - 0.5, "other numbers, from -0."),
        (GRAY * np.inf, "infinite or NaN"),
        (0 * GRAY, "0 everywhere"),
        (GRAY > 0.5, "0 and 1"),
        (GRAY[0], "shape (4, 4, 1), not (2, 4, 4, 1)"),
        (np.array(0.5), "a single number"),
        (GRAY + 1, "`mask`"),
        ([GRAY], "one thing in a list"),
    ],
)
def test_what_is_found_in_place_of_an_array_is_put_in_words(found, words):
    assert words in steps.in_words(found, GRAY, "image", {"`mask`": GRAY + 1})


def test_every_id_has_words_and_is_tried():
    ids = {cause for cause, *_ in (*WRONG_TRAINING, *WRONG_VALIDATION)} | {"not_a_function", "package_step"}
    assert ids == WORDS.keys() - {"train_step", "val_step", "reasons"}
    assert all(len(WORDS[cause]["hints"]) >= 2 for cause in ids)


def wrapped(*arguments, **options):
    return training.train_step(*arguments, **options)


@pytest.mark.parametrize("function", [training.train_step, wrapped])
def test_the_packages_own_step_is_no_answer(function):
    found = steps.train_step(function)
    assert found.cause == "package_step" and checks.points("train_step", function, 12) == 0


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_things_that_are_no_step_are_refused(check):
    assert {check(thing).cause for thing in (None, 3, "train_step", training)} == {"not_a_function"}
    assert not any(check(thing) for thing in (print, len, dict, lambda: 1))


@pytest.mark.parametrize(
    "change",
    [
        (PAIRS, "zip(gradients, [loss])"),
        (CALL, "loss_fn([mask, image], [probability, image])"),
        ("model(image", "model(optimizer"),
        ("update_state(loss)", "update_state([mask, [loss]])"),
        ("update_state(loss)", "update_state(loss * float('inf'))"),
        ("model(image", "model(tf.strings.as_string(image)"),
        (RETURN, "    return {'loss': loss, 'all': [model, (mask, object())]}\n"),
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
        "prediction": [(CALL, "loss_fn(mask, model(image, training=True))")],  # which moves the averages twice
        "loss": [(CALL, "loss_fn(probability, mask)")],
        "update": [(APPLY, "")],
        "running loss": [(UPDATE_LOSS, "")],
        "running accuracy": [(UPDATE_ACCURACY, "")],
        "value returned": [(RETURN, "    return loss\n")],
        "compiled": [(RETURN, "    return probability.numpy()\n")],
    }
    for aspect, changes in lost.items():
        found = result("train_step", *changes)
        assert {part.name for part in found.aspects if not part.right} == {aspect}
    function = written(probe.rewritten(TRAIN, *lost["update"]), "train_step")
    assert checks.points("train_step", function, 12, seed=7) == pytest.approx(12 * 8 / 12)


def test_an_error_is_told_with_its_line_and_a_reason():
    message = result("train_step", (CALL, "los_fn(mask, probability)")).message
    assert "`NameError: name 'los_fn' is not defined`, in line 4, `loss = los_fn(mask, probability)`" in message


def test_errors_of_the_libraries_are_told_with_what_they_come_from():
    reasons = [reason["text"] for reason in WORDS["reasons"] if "text" in reason]
    told = []
    for change in (
        after(TAPE, "        tape.watch(model.trainable_variables)\n"),
        (PREDICT, PREDICT.replace("image", "image, mask")),
        (TOLD, "running_loss += loss"),
        ("apply_gradients", "apply_grads"),
        (CALL, "loss_fn(mask[..., 0], probability)"),
        ("GradientTape()", "GradientTape"),
        (TOLD, "running_loss.update(loss)"),
        ("optimizer.apply", "model.optimizer.apply"),
        (UPDATE_LOSS, "    print(running_loss.update_state(loss).numpy())\n"),
        after(
            LOSS_LINE, "        global kept\n        kept = globals().get('kept', 0.0) + loss\n"
        ),  # breaks when compiled
        after(UPDATE_LOSS, "    keras.metrics.Mean().update_state(loss)\n"),
    ):
        message = result("train_step", change).message
        told += [reason for reason in reasons if message.endswith(reason)]
    assert len(told) == len(set(told)) == 11


@pytest.mark.parametrize(
    "change", [after(UPDATE_LOSS, "    print(loss)\n"), (LOSS_LINE, "        loss = object() + mask\n")]
)
def test_the_same_function_gets_the_same_card_and_nothing_is_printed(change, capfd):
    step = written(probe.rewritten(TRAIN, change), "train_step")
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
    steps.train_step(written(probe.rewritten(TRAIN, change), "train_step"))
    assert everything() == before_it


def test_what_the_probe_gives_is_plain_and_the_judge_needs_no_more():
    with probe.aside():
        seen = probe.observe_step(written(TRAIN, "train_step"), "train_step", probe.trials(5)[:3])
    again = pickle.loads(pickle.dumps([*seen, [], []]))
    assert b"keras" not in pickle.dumps(seen)
    right = {aspect.name for aspect in judge.judge_step("train_step", again, 5) if aspect.right}
    assert right == judge.SHARES["train_step"].keys() - {"compiled"}


def test_kerass_own_step_tells_losses_and_modes_apart():
    for name in RIGHT:
        plain, steep, flat, *_ = (trial[0] for trial in judge.expected(name))
        losses = [np.divide(*judge.added(step, judge.LOSS)) for step in (plain, steep, flat)]
        assert losses[1] > 100 * losses[0] > losses[2] == 0
        assert plain.returned.min() < 0.1 and plain.returned.max() > 0.98
