"""The exercises without points: right versions in several styles, every wrong one named, and what is not a function."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from roadseg import checks
from roadseg.backend import keras, tf
from roadseg.checks import exercises
from roadseg.errors import Interrupted

EXERCISES = {name: thing for name, thing in vars(exercises).items() if isinstance(thing, exercises.Exercise)}
WRONG = [(name, *version) for name, exercise in EXERCISES.items() for version in exercise.versions if version[0]]
IMAGE = (1, 2, 3)  # the axes of one image in a batch


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_help_says_what_is_checked_and_shows_no_solution(exercise):
    assert exercise.__doc__ == f"Check {exercise.takes}" and "Exercise(" not in repr(exercise)


@pytest.mark.parametrize("name, cause, message, version", WRONG, ids=[f"{name}-{cause}" for name, cause, *_ in WRONG])
def test_every_wrong_version_is_named(name, cause, message, version):
    result = getattr(checks, name)(version)
    assert (result.passed, result.cause, result.message) == (False, cause, message)
    assert result.function is EXERCISES[name].reference


def scores_of_arrays(predicted, truth):
    both, either = np.logical_and(predicted, truth).sum(), np.logical_or(predicted, truth).sum()
    return np.array([both / either, 2 * both / (predicted.sum() + truth.sum())])


def pipeline_that_casts_batches(files, read_sample, to_float):
    shuffled = files.map(read_sample).cache().shuffle(1000)
    return shuffled.batch(4).map(to_float).prefetch(2)


def loop_by_fresh_metrics(model, train_batches, val_batches, epochs, *, train_step, val_step, loss_fn, optimizer):
    history = {name: np.zeros(epochs) for name in exercises.HISTORY}
    for epoch in range(epochs):
        print("epoch", epoch, model.name, float(optimizer.learning_rate))
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


def field_backwards(operations):
    needed = 1  # of the input, for one output value
    for kernel, stride in reversed(operations):
        needed = (needed - 1) * stride + kernel
    return needed


def scatter_by_keras(values, kernel, stride):
    layer = keras.layers.Conv1DTranspose(1, len(kernel), stride, use_bias=False)
    layer.build((None, len(values), 1))
    layer.set_weights([kernel.reshape(-1, 1, 1)])
    return layer(values.reshape(1, -1, 1))[0, : (len(values) - 1) * stride + len(kernel), 0]  # Keras fills up gaps


def best_by_sklearn(probability, truth, thresholds):
    scores = [f1_score(truth.ravel(), probability.ravel() >= threshold) for threshold in thresholds]
    return max(zip(scores, thresholds))


def flip_if(draw, image, mask, axis=1):
    return tuple(tf.where(draw < 0.5, tf.reverse(part, [axis]), part) for part in (image, mask))


def flip_by_autograph(image, mask):
    if tf.random.uniform(()) > 0.5:
        image, mask = tf.image.flip_left_right(image), tf.image.flip_left_right(mask)
    return image, mask


def flip_by_concatenation(image, mask):
    both = tf.image.random_flip_left_right(tf.concat([image, mask], axis=-1))
    return both[..., :3], both[..., 3:]


def smoothed_dice(mask, probability):
    both = tf.reduce_sum(mask * probability, IMAGE)
    return tf.reduce_mean(1 - (2 * both + 1) / (tf.reduce_sum(mask, IMAGE) + tf.reduce_sum(probability, IMAGE) + 1))


def dice_of_numbers(mask, probability):
    overlap = tf.constant(np.sum(mask * probability, IMAGE))
    return tf.reduce_mean(1 - 2 * overlap / tf.reduce_sum(mask + probability, IMAGE))


def unsmoothed_dice(mask, probability):
    both, total = (tf.reduce_sum(part, IMAGE) for part in (mask * probability, mask + probability))
    return tf.reduce_mean(1 - 2 * both / total)


def schedule_from_one(step, peak, warmup, total):
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step + 1 - warmup) / (total - warmup)))


RIGHT = [
    ("iou_and_f1", scores_of_arrays),
    ("mean_mask", lambda masks: sum(mask.astype(float) for mask in masks) / len(masks)),
    ("make_pipeline", pipeline_that_casts_batches),
    ("softmax", lambda logits: keras.ops.softmax(logits)),
    ("training_loop", loop_by_fresh_metrics),
    (
        "training_loop",
        lambda *given, train_step, **others: loop_by_fresh_metrics(
            *given, train_step=tf.function(train_step), **others
        ),
    ),
    ("receptive_field", field_backwards),
    ("scatter_and_add", scatter_by_keras),
    ("best_f1", best_by_sklearn),
    ("random_flip", flip_by_autograph),
    ("random_flip", flip_by_concatenation),
    ("soft_dice", smoothed_dice),
    ("warmup_cosine", schedule_from_one),
    *((name, exercise.reference) for name, exercise in EXERCISES.items()),
]


@pytest.mark.parametrize("name, function", RIGHT)
def test_right_versions_pass_in_any_style_and_are_used(name, function, capsys):
    result = getattr(checks, name)(function)
    assert result.passed and result.function is function and result.message and not result.hints
    assert capsys.readouterr().out == ""


def test_an_interrupt_ends_in_one_line():
    def endless(masks):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        checks.mean_mask(endless)


def test_of_two_mistakes_in_a_pipeline_the_first_is_named():
    result = checks.make_pipeline(pipeline_by(lambda read, to_float: read.batch(4).shuffle(99).map(to_float)))
    messages = {cause: message for cause, message, _ in exercises.make_pipeline.versions}
    assert (result.cause, result.message) == ("differs", messages["batches_shuffled"])


@pytest.mark.parametrize("name", EXERCISES)
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
    assert result.cause == cause and result.function is EXERCISES[name].reference
    assert name == "mean_mask" or len(result.hints) >= 2  # one line, whose message says all


def loop_noting(entry):
    """The reference loop, with something else noted for each epoch."""

    def loop(*given, **steps):
        history = exercises.loop_over_epochs(*given, **steps)
        metric = keras.metrics.Mean()
        metric.update_state(1.0)
        return {name: [entry(metric) for _ in entries] for name, entries in history.items()}

    return loop


def fixed(value):
    return lambda *arguments, **options: value


def pipeline_by(change):
    return lambda files, read_sample, to_float: change(files.map(read_sample).cache(), to_float)


OTHERS = [
    ("make_pipeline", "unfit", lambda files, read_sample, to_float: [1, 2]),
    ("make_pipeline", "unfit", lambda files, read_sample, to_float: files.map(read_sample).map(to_float)),
    ("make_pipeline", "unfit", pipeline_by(lambda read, to_float: read.map(to_float).repeat().batch(4))),
    ("make_pipeline", "differs", pipeline_by(lambda read, to_float: read.shuffle(99).map(to_float).batch(8))),
    ("softmax", "overflow", lambda logits: np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)),
    ("softmax", "overflow", lambda logits: exercises.softmax_of(np.maximum(logits - logits.max(), -900))),
    ("softmax", "other_axis", lambda logits: np.exp(logits) / np.exp(logits).sum(axis=0)),
    ("softmax", "other_shape", lambda logits: exercises.softmax_of(logits) + 0 * logits.max(axis=2, keepdims=True)),
    ("iou_and_f1", "differs", fixed((0.5, 0.25))),
    ("mean_mask", "differs", fixed([[1], [2, 3]])),
    ("mean_mask", "differs", lambda masks: masks.sum(0) / masks.sum(0).max()),
    ("training_loop", "unfit", fixed([1, 2])),
    ("training_loop", "returns_nothing", lambda *given, **steps: exercises.loop_over_epochs(*given, **steps) and None),
    ("training_loop", "unfit", loop_noting(lambda metric: metric)),
    ("training_loop", "unfit", loop_noting(lambda metric: metric.result())),
    ("training_loop", "unfit", lambda *given, **steps: dict.fromkeys(exercises.HISTORY, [0.0] * exercises.EPOCHS)),
    ("training_loop", "differs", loop_noting(lambda metric: 2 * float(metric.result()))),
    ("training_loop", "differs", lambda *given, **steps: exercises.loop_over_epochs(*given[:3], 4, **steps)),
    ("receptive_field", "differs", fixed(7)),
    ("receptive_field", "differs", lambda pairs: 7 if len(pairs) < 5 else None),
    ("receptive_field", "unfit", lambda pairs: exercises.field_of([pairs.pop(0) for _ in pairs[:]])),
    ("scatter_and_add", "raises_error", lambda values, kernel, stride: np.zeros(4) + np.zeros(3)),
    ("scatter_and_add", "differs", fixed([1.0, 2.0])),
    ("best_f1", "differs", fixed((0.5, 0.5))),
    ("random_flip", "unfit", lambda image, mask: image),
    ("random_flip", "unfit", lambda image, mask: (image.numpy(), mask.numpy())),
    ("random_flip", "differs", lambda image, mask: (mask, image)),
    ("random_flip", "unfair", lambda *parts: flip_if(tf.random.uniform(()) - 0.44, *parts)),
    ("random_flip", "differs", lambda image, mask: (1 - image, mask)),
    ("soft_dice", "unfit", lambda mask, p: keras.losses.dice(mask, p, axis=IMAGE) * tf.ones(3)),
    ("soft_dice", "no_gradient", lambda mask, p: np.float32(exercises.dice_loss(mask, p).numpy())),
    ("soft_dice", "no_gradient", dice_of_numbers),
    ("soft_dice", "no_graph", lambda mask, p: exercises.dice_loss(mask, p) + 0 * p.numpy().sum()),
    ("soft_dice", "no_graph", lambda mask, p: exercises.dice_loss(mask, p) * (len(mask) / len(p))),
    ("soft_dice", "no_graph", lambda mask, p: 0.0 if tf.reduce_sum(p) == 0 else exercises.dice_loss(mask, p)),
    ("soft_dice", "empty", unsmoothed_dice),
    ("soft_dice", "empty", lambda mask, p: unsmoothed_dice(mask, p + 1e-12)),
    ("soft_dice", "differs", lambda mask, p: keras.ops.mean(keras.losses.binary_crossentropy(mask, p))),
    ("warmup_cosine", "unfit", lambda step, peak, warmup, total: np.array([peak, step])),
    ("warmup_cosine", "unfit", lambda step, peak, warmup, total: {"rate": peak}),
    ("warmup_cosine", "differs", lambda step, peak, warmup, total: 3 * peak),
    ("warmup_cosine", "unfit", lambda step, peak, warmup, total: peak * step / warmup if step < warmup else None),
    ("warmup_cosine", "unfit", lambda step, peak, warmup, total: None if step < warmup else peak),
    ("iou_and_f1", "returns_nothing", lambda predicted, truth: print(predicted.sum())),
]  # fmt: skip


@pytest.mark.parametrize("name, cause, function", OTHERS)
def test_what_no_version_explains_has_a_card_too(name, cause, function):
    keras.utils.set_random_seed(0)
    result = getattr(checks, name)(function)
    assert (result.passed, result.cause) == (False, cause) and result.message


ERRORS = [
    ("iou_and_f1", lambda predicted, truth: (predicted - truth).sum()),
    ("training_loop", lambda model, train_batches, val_batches, epochs, **steps: [0 for _ in epochs]),
    ("scatter_and_add", lambda values, kernel, stride: values * kernel),
    ("scatter_and_add", lambda values, kernel, stride: np.add(values, 1.0, out=np.zeros(3, int))),
    ("random_flip", lambda image, mask: tf.random.uniform() < 0.5),
]


@pytest.mark.parametrize("name, function", ERRORS)
def test_an_error_is_told_with_its_usual_cause(name, function):
    message = getattr(checks, name)(function).message
    assert any(message.endswith(reason) for _, reason in EXERCISES[name].errors)


def test_another_optimizer_or_model_is_not_right():
    def loop(*given, optimizer, **steps):
        return exercises.loop_over_epochs(*given, optimizer=object(), **steps)

    result, other = checks.training_loop(loop), checks.training_loop(loop_noting(lambda metric: 2.0))
    assert result.cause == other.cause == "differs" and result.message != other.message
    assert "optimizer" in result.message and "`val_loss`" in other.message


def mirrored_by_turns(image, mask):
    flip = tf.random.uniform(()) < 0.5
    return tf.where(flip, image[:, ::-1], image), tf.where(flip, mask, mask[:, ::-1])


def mask_upside_down(image, mask):
    flip = tf.random.uniform(()) < 0.5
    return tf.where(flip, image[:, ::-1], image), tf.where(flip, mask[::-1], mask)


def mirrored_by_seed(image, mask):
    return tuple(tf.image.random_flip_left_right(part, seed=1) for part in (image, mask))


def always_the_same_draw(image, mask):
    tf.random.set_seed(0)
    return exercises.flip_together(image, mask)


def test_flips_that_go_wrong_in_other_ways_are_told_apart():
    functions = mirrored_by_turns, mask_upside_down, always_the_same_draw, lambda image, mask: (mask, image)
    results = [checks.random_flip(function) for function in functions]
    assert {result.cause for result in results} == {"differs"} and len({result.message for result in results}) == 4
    assert checks.random_flip(mirrored_by_seed).message == exercises.TWO_DRAWS


def test_numbers_say_where_they_stand():
    assert "F1" in checks.iou_and_f1(lambda predicted, truth: (exercises.mask_scores(predicted, truth)[0], 2.0)).message
    assert "[1, 0.5, 2], 2" in checks.scatter_and_add(lambda values, kernel, stride: values).message
    assert "(4, 1)" in checks.receptive_field(lambda pairs: exercises.field_of(pairs) + (pairs == [(4, 1)])).message


def test_the_references_are_their_formulas():
    mask, probability = tf.constant([1.0, 1, 0, 0]), tf.constant([0.5, 1, 0.5, 0])
    shaped = [tf.reshape(part, (1, 2, 2, 1)) for part in (mask, probability)]
    assert float(exercises.dice_loss(*shaped)) == pytest.approx(1 - 2 * 1.5 / (2 + 2), abs=1e-6)
    keras_schedule = keras.optimizers.schedules.CosineDecay(0.0, 100, warmup_target=0.02, warmup_steps=10)
    ours = [exercises.cosine_schedule(step, 0.02, 10, 110) for step in range(110)]
    np.testing.assert_allclose(ours, [float(keras_schedule(step)) for step in range(110)], atol=1e-6)
