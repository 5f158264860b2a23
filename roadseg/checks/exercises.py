"""The exercises without points: a few lines that teach, in the order of the notebooks.

Each check runs the student's function on cases with known results, beside the reference solution. What is wrong is
named by imitation: by the first mistake, the reference with some of its text changed, that gives the same. To name
another mistake, write it down in its exercise's list.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np

from roadseg.backend import keras, tf
from roadseg.checks.exercise import Exercise, Unfit, call
from roadseg.checks.probe import attempt

# --- the pipeline ----------------------------------------------------------------------------------------------------

FILES = 42  # of batches of four, the last one is smaller


def _run_pipeline(function: Callable) -> list:
    """The sizes of the batches in each of two epochs, largest first, and eight facts."""
    reads, casts = (tf.Variable(0, dtype=tf.int64) for _ in range(2))

    def read_sample(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        reads.assign_add(1)
        return tf.fill((2, 2, 3), image), tf.fill((2, 2, 1), label)

    def to_float(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        casts.assign_add(tf.size(mask, tf.int64) // 4)  # of one sample, or of a batch
        return tf.cast(image, tf.float32) / 255, tf.cast(mask, tf.float32)

    numbers = np.arange(FILES, dtype=np.uint8)
    pipeline = function(tf.data.Dataset.from_tensor_slices((numbers, numbers)), read_sample, to_float)
    if pipeline is None:
        return [None]
    if not isinstance(pipeline, tf.data.Dataset):
        raise Unfit(f"It returns something of type `{type(pipeline).__name__}`; expected a dataset.")
    parts = tf.nest.flatten(pipeline.element_spec)
    if [part.shape.rank for part in parts] != [4, 4]:
        shapes = " and ".join(str(part.shape) for part in parts)
        raise Unfit(f"Its elements have shape {shapes}; expected batches of images and masks: read, then `batch` once.")
    scale = 255 if parts[0].dtype == tf.float32 else 1
    epochs = [[np.rint(scale * image[:, 0, 0, 0]) for image, _ in islice(pipeline, FILES + 1)] for _ in range(2)]
    if len(epochs[0]) > FILES:
        raise Unfit("It does not end: leave `repeat` out, an epoch is one pass.")
    orders, half = [np.concatenate(batches) for batches in epochs], np.arange(FILES // 2)
    same_batches = len({frozenset(batch) for batches in epochs for batch in batches}) == len(epochs[0])
    facts = (
        reads.numpy(),
        casts.numpy(),
        scale,
        np.array_equal(*orders),
        same_batches or any((order[half] > FILES // 3 + half).any() for order in orders),  # a sample from far behind
        same_batches,
        np.array_equal(orders[0], np.arange(FILES)),
        "Prefetch" in repr(pipeline),
    )
    return [*(sorted(map(len, batches), reverse=True) for batches in epochs), facts]


def _pipeline_differs(given: list, right: list) -> str:
    """The first mistake whose effects are all there, among those of others; or the sizes of the batches."""
    for _, message, version in make_pipeline.versions:
        results = zip(given[-1], right[-1], make_pipeline.results(version)[-1])
        effects = [found == wrong for found, good, wrong in results if wrong != good]
        if effects and all(effects):
            return message
    return f"An epoch has {len(given[0])} batches, of {given[0][0]} down to {given[0][-1]} samples: use `batch(4)`."


def pipeline_of(files: tf.data.Dataset, read_sample: Callable, to_float: Callable) -> tf.data.Dataset:
    """Batches of four images and masks, float32, from a dataset of file names: read once, shuffled in each epoch."""
    read = files.map(read_sample, num_parallel_calls=tf.data.AUTOTUNE).cache()
    return read.shuffle(len(files)).map(to_float).batch(4).prefetch(tf.data.AUTOTUNE)


CACHE, SHUFFLE, CAST, BATCH = ".cache()", ".shuffle(len(files))", ".map(to_float)", ".batch(4)"
ONE_ORDER = (
    "Every epoch has the same order: the cache keeps the first one. What is random comes after the cache, so `shuffle` "
    "does."
)
make_pipeline = Exercise(
    "make_pipeline",
    "Exercise, the pipeline",
    "`make_pipeline(files, read_sample, to_float)`, which returns a dataset of batches, by two epochs of it.",
    "It reads each file once, in two epochs of different order, and prepares the next batch in the meantime.",
    _run_pipeline,
    pipeline_of,
    [
        ("not_cached", "Each epoch reads all files again: keep what was read, with `cache()`. (Each method returns a "
         "new dataset: go on with that one.)", (CACHE, "")),
        ("cached_late", ONE_ORDER, (CACHE, ""), (SHUFFLE, SHUFFLE + CACHE)),
        ("cached_late", ONE_ORDER, (CACHE, ""), (BATCH, BATCH + CACHE)),
        ("floats_cached", "The cache keeps float32, which takes four times the memory of uint8: `to_float` comes after "
         "it.", (CAST, ""), (CACHE, CAST + CACHE)),
        ("not_cast", "The images stay uint8: use `map` with `to_float`, too.", (CAST, "")),
        ("batches_shuffled", "Batches are shuffled, so the same four images are always together: `shuffle` comes "
         "before `batch`.", (SHUFFLE, ""), (BATCH, BATCH + SHUFFLE)),
        ("not_shuffled", "Every epoch has the order of the files: use `shuffle`, after the cache.", (SHUFFLE, "")),
        ("small_buffer", "It shuffles neighbors only: `shuffle(n)` draws from the next n samples, so n should be "
         "`len(files)`.", ("len(files)", "4")),
        ("remainder_dropped", "The last batch is dropped, as it has fewer than four samples: leave `drop_remainder` "
         "out.", (BATCH, ".batch(4, drop_remainder=True)")),
        ("not_prefetched", "Nothing is prepared while a batch is used: end with `prefetch(tf.data.AUTOTUNE)`.",
         (".prefetch(tf.data.AUTOTUNE)", "")),
    ],
    hints=("Write one line a step: `samples = files.map(...)`, then `samples = samples.cache()`, and so on.",
           "The order is read, cache, shuffle, to float, batch, prefetch."),
    differs=_pipeline_differs,
)  # fmt: skip


# --- IoU and F1, the mean mask ---------------------------------------------------------------------------------------


def _run_scores(function: Callable) -> list:
    rng = np.random.default_rng(0)
    truth = np.zeros((2, 8, 8), bool)
    truth[0, 4:], truth[1, 6:, 2:5] = True, True  # of unequal size: an average over images is another number
    pairs = [(truth ^ (rng.random(truth.shape) < 0.2), truth), (truth, truth), (~truth, truth)]
    return [call(function, predicted, true) for predicted, true in pairs]


def mask_scores(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """IoU and F1, two fractions, of bool masks of one shape."""
    tp, fp, fn = (predicted & truth).sum(), (predicted & ~truth).sum(), (~predicted & truth).sum()
    return tp / (tp + fp + fn), 2 * tp / (2 * tp + fp + fn)


IOU, F1 = "tp / (tp + fp + fn)", "2 * tp / (2 * tp + fp + fn)"
WITHOUT_PARENTHESES = [(IOU, "tp / tp + fp + fn"), (F1, "2 * tp / 2 * tp + fp + fn")]
iou_and_f1 = Exercise(
    "iou_and_f1",
    "Exercise, IoU and F1",
    "a function of two masks, bool arrays of one shape (predicted, truth), that returns (IoU, F1).",
    "Both agree with the counts on three pairs of masks, counting the pixels of all images together.",
    _run_scores,
    mask_scores,
    [
        ("exchanged", "The two are exchanged: return IoU first, then F1.", (f"{IOU}, {F1}", f"{F1}, {IOU}")),
        ("accuracy", "The first is accuracy, the fraction of pixels that are equal: IoU leaves the true negatives out.",
         (IOU, "(predicted == truth).mean()")),
        ("union_too_large", "The union counts the intersection twice: it is TP + FP + FN, the pixels that are road in "
         "one mask or both.", (IOU, "tp / (2 * tp + fp + fn)")),
        *(("no_parentheses", "A denominator needs parentheses: else the division comes before the sum.", *changes)
          for changes in (WITHOUT_PARENTHESES, WITHOUT_PARENTHESES[:1], WITHOUT_PARENTHESES[1:])),
        ("arithmetic_mean", "The second is the plain mean of precision and recall: F1 is their harmonic mean.",
         (F1, "(tp / (tp + fp) + tp / (tp + fn)) / 2")),
        ("precision", "The first is precision: the missed road, FN, belongs in the union.", (IOU, "tp / (tp + fp)")),
        ("recall", "The first is recall: the false road, FP, belongs in the union.", (IOU, "tp / (tp + fn)")),
        ("no_overlap", "It is right but for masks that do not overlap: precision and recall are 0 there, and their "
         "harmonic mean 0 / 0. 2 TP / (2 TP + FP + FN) is the same number elsewhere, and 0 there.",
         (F1, "2 / ((tp + fp) / tp + (tp + fn) / tp) if tp else np.nan")),
        ("one_error_twice", "FP is counted twice, and FN not at all: FN is road that was not predicted.",
         ("(~predicted & truth)", "(predicted & ~truth)")),
        ("precision_and_recall", "These are precision and recall; both scores have TP, FP and FN in them.",
         (IOU, "tp / (tp + fp)"), (F1, "tp / (tp + fn)")),
        ("factor_missing", "F1 is half of what it should be: its numerator is 2 TP.", (F1, F1.removeprefix("2 * "))),
        ("iou_twice", "Both are IoU: in F1, TP counts twice, in numerator and denominator.", (F1, IOU)),
        ("factor_below", "F1 counts TP twice in the denominator, too: 2 TP + FP + FN.",
         (F1, "2 * tp / (tp + fp + fn)")),
        ("true_negatives", "FN counts the true negatives: it is road in `truth` that is none in `predicted`.",
         ("(~predicted & truth)", "(~predicted & ~truth)")),
        ("no_intersection", "The union leaves out what is road in both masks, TP: it is TP + FP + FN.",
         (IOU, "tp / (fp + fn)")),
        ("not_counted", "These are still masks: count the pixels that are True, with `.sum()`.", (".sum()", "")),
        ("all_right_pixels", "TP counts the true negatives, too: it is the road in both masks, `predicted & truth`.",
         ("(predicted & truth)", "(predicted == truth)")),
        ("percent", "These are percentages: both scores are fractions, from 0 to 1.",
         (IOU, f"100 * {IOU}"), (F1, f"100 * {F1}")),
        ("mean_over_images", "These are means over the images: count the pixels of all images first, then divide.",
         ("sum()", "sum((1, 2))"), (IOU, f"({IOU}).mean()"), (F1, f"({F1}).mean()")),
    ],
    hints=("Give TP, FP and FN a line each, as numbers.", "`tp = (predicted & truth).sum()`"),
    errors=[("truth value of an array", "`not`, `and` and `or` want a single True or False: for arrays these are `~`, "
             "`&` and `|`, with parentheses around comparisons."),
            ("boolean subtract", "Masks cannot be subtracted: what is in one and not in the other is "
             "`predicted & ~truth`.")],
    place=lambda case, index: f" as {('IoU', 'F1')[index[0]]}" if index else "",
)  # fmt: skip


def fraction_of_road(masks: np.ndarray) -> np.ndarray:
    """The fraction of masks, bool (N, H, W), in which each pixel is road: (H, W)."""
    return masks.mean(axis=0)


mean_mask = Exercise(
    "mean_mask",
    "Exercise, the mean mask",
    "a function of training masks, bool (N, H, W), that returns the fraction of road at each pixel, (H, W).",
    "It gives the fraction of the masks in which each pixel is road.",
    lambda function: [call(function, np.random.default_rng(0).random((300, 4, 6)) < np.linspace(0.1, 0.9, 6))],
    fraction_of_road,
    [
        ("one_number", "This is one number, the fraction of road in all masks: average over the images alone, axis 0.",
         ("axis=0", "")),
        ("by_image", "This is one number for each image: average over the images, axis 0, and keep the pixels.",
         ("axis=0", "axis=(1, 2)")),
        ("rows_averaged", "This averages over the rows: the images are axis 0.", ("axis=0", "axis=1")),
        ("columns_averaged", "This averages over the columns: the images are axis 0.", ("axis=0", "axis=2")),
        ("sum", "This is the number of masks with road at each pixel: divide by how many masks there are.",
         ("mean(", "sum(")),
        ("sum_of_bools", "It adds up bools, and True + True is True: start from zeros of type `float`.",
         ("masks.mean(axis=0)", "masks.any(axis=0) / len(masks)")),
        ("overflow", "It counts in 8 bits, which hold 255 at most, and there are more masks: start from zeros of type "
         "`float`.", ("masks.mean(axis=0)", "masks.sum(axis=0, dtype=np.uint8) / len(masks)")),
        ("rounded", "This is 0 or 1 at each pixel: return the fraction itself, which is a probability.",
         ("axis=0)", "axis=0) >= 0.5")),
    ],
)  # fmt: skip


# --- the loop over epochs --------------------------------------------------------------------------------------------

EPOCHS, TRAIN_BATCHES, VALIDATION_BATCHES = 3, 3, 2  # of the case for the loop
HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy")


def _run_loop(loop: Callable) -> list:
    """What a loop returns and does, in one row of numbers.

    Batches are numbers. The steps note what they get; the loss of a batch is its number, and grows with every training
    step, so that each mean tells which batches it is of. The accuracy tells, too."""
    events = []  # of each step: whether it trains, its batch, whether model, loss and optimizer are those given
    model, loss, adam = parts = _parts()

    def train_step(model, image, mask, *, loss_fn, optimizer, running_loss, running_accuracy):
        return step(True, (model, loss_fn, optimizer), image, mask, running_loss, running_accuracy)

    def val_step(model, image, mask, *, loss_fn, running_loss, running_accuracy):
        return step(False, (model, loss_fn, adam), image, mask, running_loss, running_accuracy)

    def step(training, used, image, mask, running_loss, running_accuracy):
        number = float(np.ravel(image)[0])
        events.append((training, number, used == parts))
        running_loss.update_state(number + 0.1 * sum(event[0] for event in events))
        predicted = np.full_like(mask, 0.9)
        running_accuracy.update_state(mask, predicted)
        return predicted

    train_step.__qualname__, val_step.__qualname__ = "train_step", "val_step"  # as errors name them
    batches = []
    for number in range(TRAIN_BATCHES + VALIDATION_BATCHES):  # in its mask, the first pixels are road
        mask = (np.arange(4) < number).astype(np.float32).reshape(1, 1, 4, 1)
        batches.append((np.full((1, 1, 4, 3), number, np.float32), mask))
    steps = {"train_step": train_step, "val_step": val_step, "loss_fn": loss, "optimizer": adam}
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # the loop may compile its steps, and these note Python's numbers
    try:
        history = loop(model, batches[:TRAIN_BATCHES], batches[TRAIN_BATCHES:], EPOCHS, **steps)
    finally:
        tf.config.run_functions_eagerly(eagerly)
    if history is None:
        return [None]
    if not isinstance(history, dict) or set(HISTORY) - set(history):
        raise Unfit(f"It should return a dictionary with the entries {', '.join(HISTORY)}.")
    if len({id(history[name]) for name in HISTORY}) == 1:
        raise Unfit("All four entries are one and the same list: make one for each name.")
    columns = [_column(name, history[name]) for name in HISTORY]
    return [*columns, [float(value) for event in events for value in event]]


@cache
def _parts() -> tuple[Any, Any, Any]:
    """A model, a loss and an optimizer, which a loop may also ask for their names and the like."""
    layers = [keras.Input((1, 4, 3)), keras.layers.Conv2D(1, 1, activation="sigmoid")]
    return keras.Sequential(layers), keras.losses.BinaryCrossentropy(), keras.optimizers.Adam()


def _column(name: str, entries: Any) -> list[float]:
    """The entries of a history under a name."""
    if not isinstance(entries, list | tuple | np.ndarray):
        raise Unfit(f"`{name}` is of type `{type(entries).__name__}`; expected a list with an entry for each epoch.")
    if kinds := [type(entry).__name__ for entry in entries if not isinstance(entry, Real)]:
        raise Unfit(f"`{name}` holds something of type `{kinds[0]}`: append a number, `float(metric.result())`.")
    return [float(entry) for entry in entries]


def _loop_differs(given: list, right: list) -> str:
    """How a loop differs: how many entries it notes, what it gives to the steps, or what it notes."""
    for name, found, wanted in zip(HISTORY, given, right):
        if len(found) != len(wanted):
            epochs = "one epoch" if len(found) == 1 else f"{len(found)} epochs"
            return f"`{name}` has entries for {epochs}; {len(wanted)} were asked for."
    for name, kind, batches in ("train_step", 1, TRAIN_BATCHES), ("val_step", 0, VALIDATION_BATCHES):
        if (calls := given[-1][::3].count(kind)) != EPOCHS * batches:
            return f"Calls of `{name}` in {EPOCHS} epochs of {batches} batches: {calls}. Call it for each batch."
    if not np.array_equal(given[-1], right[-1]):
        return (
            "The steps are not given what the reference loop gives them. Look at the order of the two parts, at their "
            "batches (image first, then mask), and whether both get the model, loss and optimizer that the loop got."
        )
    wrong = [name for name, found, wanted in zip(HISTORY, given, right) if not np.allclose(found, wanted, 1e-4)]
    named = ", ".join(f"`{name}`" for name in wrong)
    if wrong in (["loss", "val_loss"], ["accuracy", "val_accuracy"]):
        return (
            f"Only {named} are wrong: is this metric of the right class, is it reset as often as the other one, and do "
            "the steps alone update it?"
        )
    return (
        f"The steps get what they should, but other numbers stand in {named}: reset the metrics before each part, "
        "and note what each metric tells after it."
    )


def loop_over_epochs(model, train_batches, val_batches, epochs, *, train_step, val_step, loss_fn, optimizer):
    """The history of a training run, from its batches (image, mask) and its two steps: under each name of HISTORY a
    list with an entry for each epoch."""
    history = {name: [] for name in HISTORY}
    running = {"running_loss": keras.metrics.Mean(), "running_accuracy": keras.metrics.BinaryAccuracy()}

    def reset():
        for metric in running.values():
            metric.reset_state()

    def note(names):
        for name, metric in zip(names, running.values()):
            history[name].append(float(metric.result()))

    for _ in range(epochs):
        reset()
        for image, mask in train_batches:
            train_step(model, image, mask, loss_fn=loss_fn, optimizer=optimizer, **running)
        note(HISTORY[:2])
        reset()
        for image, mask in val_batches:
            val_step(model, image, mask, loss_fn=loss_fn, **running)
        note(HISTORY[2:])
    return history


RESET, TRAINED, VALIDATED = "        reset()\n", "        note(HISTORY[:2])\n", "        note(HISTORY[2:])\n"
FOR_TRAINING, FOR_VALIDATION = (f"        for image, mask in {part}_batches:\n" for part in ("train", "val"))
TRAINS = FOR_TRAINING + "            train_step(model, image, mask, loss_fn=loss_fn, optimizer=optimizer, **running)\n"
VALIDATES = FOR_VALIDATION + "            val_step(model, image, mask, loss_fn=loss_fn, **running)\n"
TRAINING, VALIDATION = RESET + TRAINS + TRAINED, RESET + VALIDATES + VALIDATED
MOVED = [(RESET + line, line + "    " + RESET) for line in (FOR_TRAINING, FOR_VALIDATION)]  # into the loop
training_loop = Exercise(
    "train_loop",
    "Exercise, the loop over epochs",
    "a loop over epochs, called as `train_loop(model, train_batches, val_batches, epochs, train_step=..., "
    "val_step=..., loss_fn=..., optimizer=...)`, that returns the history: under each name of HISTORY a list with an "
    "entry for each epoch.",
    "Every epoch trains on all batches, then validates, and its four means are those of that epoch alone.",
    _run_loop,
    loop_over_epochs,
    [
        ("never_reset", "The metrics are never reset: each entry is the mean of all batches since the start. Call "
         "`reset_state()` of both before training and before validation.", (RESET, "")),
        ("not_before_validation", "Validation continues with the metrics of training: reset both before it, too.",
         (VALIDATION, VALIDATES + VALIDATED)),
        ("not_before_training", "Training continues with the metrics of the last validation: reset both at the start "
         "of each epoch, too.", (TRAINING, TRAINS + TRAINED)),
        ("first_batch_only", "Each epoch trains on the first batch alone: an epoch is all of them.",
         (TRAINED, "            break\n" + TRAINED)),
        ("entry_for_each_batch", "The history has an entry for each batch: append after the loop over the batches.",
         (TRAINED, "    " + TRAINED)),
        ("entry_for_each_batch", "The history has an entry for each batch: append after the loops over the batches.",
         (TRAINED, "    " + TRAINED), (VALIDATED, "    " + VALIDATED)),
        *(("reset_for_each_batch", "The metrics are reset before each batch, so an entry tells of the last one alone: "
           "reset them before the loop over the batches.", *changes)
          for changes in ([MOVED[0]], MOVED)),
        ("validates_first", "Validation comes before training: it should measure what the epoch reached.",
         (TRAINING + VALIDATION, VALIDATION + TRAINING)),
        ("validates_on_training", "The validation step gets the training batches: it needs those for validation.",
         ("in val_batches", "in train_batches")),
        ("learns_in_validation", "The validation batches go to the training step: the model learns what it is measured "
         "on. Use the validation step.", ("val_step(model, image, mask,", "train_step(model, image, mask, "
                                          "optimizer=optimizer,")),
        ("no_validation", "Nothing is validated: after training, run the validation step on all validation batches.",
         (VALIDATION, "")),
        ("noted_as_training", "The means of the validation are appended to `loss` and `accuracy`, and `val_loss` and "
         "`val_accuracy` stay empty.", (VALIDATED, TRAINED)),
        ("one_epoch", "Only one epoch is trained: repeat both parts `epochs` times, and return after the loop.",
         ("range(epochs)", "[0]")),
        ("one_epoch_missing", "One epoch is missing: `range(epochs)` repeats `epochs` times.",
         ("range(epochs)", "range(1, epochs)")),
    ],
    hints=("In words, for each epoch: reset, train on every batch, note; reset, validate on every batch, note.",
           "Two loops stand side by side in the loop over epochs: `for image, mask in train_batches:`, then one over "
           "`val_batches`.",
           "The same two metrics go to every call, as `running_loss` and `running_accuracy`."),
    differs=_loop_differs,
    errors=[("'int' object is not iterable", "`epochs` is a number: repeat with `range(epochs)`.")],
)  # fmt: skip


# --- the receptive field, scatter and add ----------------------------------------------------------------------------


ENCODER = 4 * [(3, 1), (3, 1), (2, 2)] + [(3, 1), (3, 1)]
FIELD_CASES = [(5, 2), (5, 2), (1, 1)], ENCODER, [(4, 1)], [(7, 2), (3, 3), (2, 1)]


def field_of(operations: list[tuple[int, int]]) -> int:
    """How many pixels in a row one value depends on, after these pairs of kernel size and stride."""
    r, j = 1, 1
    for kernel, stride in operations:
        r += (kernel - 1) * j
        j *= stride
    return r


receptive_field = Exercise(
    "receptive_field",
    "Exercise, the receptive field",
    "a function of a list of (kernel size, stride) that returns how many pixels in a row one output sees.",
    "It is right for the simple model, for the U-Net's encoder and for two made-up networks.",
    lambda function: [call(function, case) for case in FIELD_CASES],
    field_of,
    [
        ("stride_ignored", "The distance between neighboring values stays 1: each stride multiplies it.",
         ("j *= stride", "pass")),
        ("stride_first", "The stride counts one layer too early: a kernel spans the values that go into its layer. "
         "Let r grow first, then multiply j.", ("* j\n", "* j * stride\n")),
        ("whole_kernel", "It grows by k distances a layer: between k neighboring values there are k - 1.",
         ("(kernel - 1)", "kernel")),
        ("last_stride", "The distance is the last stride alone: strides multiply each other from layer to layer.",
         ("j *=", "j =")),
        ("strides_added", "The strides are added: after two strides of 2 neighboring values lie 4 pixels apart, and "
         "after three 8.", ("j *=", "j +=")),
        ("exchanged", "Kernel size and stride are exchanged: in each pair the kernel size comes first.",
         ("kernel, stride in", "stride, kernel in")),
        ("distance", "That is j, the distance between neighboring values: return r.", ("return r", "return j")),
        ("first_layer", "That is the first layer's alone: `return` stands inside of the loop, which ends there.",
         ("        j *= stride\n", "        break\n")),
        ("starts_at_zero", "It is one too small: without any layer, a value is one pixel.", ("1, 1", "0, 1")),
        ("backwards", "(r - 1) s + k goes from the last layer to the first: begin with the last one.",
         ("r += (kernel - 1) * j", "r = (r - 1) * stride + kernel")),
    ],
    hints=("Begin with `r, j = 1, 1`, then loop over the pairs; each changes both numbers.",
           "First `r` grows by k - 1 times `j`; then `j` is multiplied by the stride."),
    place=lambda case, index: f" for {'the U-Net encoder' if case == 1 else FIELD_CASES[case]}",
)  # fmt: skip


SCATTER_CASES = [  # values, kernel, stride
    ([1, 3, 2], [1, 0.5, 2], 2),
    ([1, 3, 2], [1, 0.5], 2),
    ([2, -1, 4], [1, 2, 3], 1),
    ([1, 2, 1], [3, 4], 3),
]


def scattered(values: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Each value times the kernel, added up `stride` places apart: arrays (n,) and (k,) to ((n - 1) stride + k,)."""
    output = np.zeros((len(values) - 1) * stride + len(kernel))
    for i, value in enumerate(values):
        output[i * stride : i * stride + len(kernel)] += value * kernel
    return output


scatter_and_add = Exercise(
    "transposed_convolution",
    "Exercise, the transposed convolution",
    "a transposed convolution in one dimension: values (n,), kernel (k,), stride to (n - 1) stride + k.",
    "Scatter and add: it is right with overlaps, without them, and with gaps.",
    lambda function: [call(function, np.array(values, float), np.array(kernel, float), stride)
                      for values, kernel, stride in SCATTER_CASES],
    scattered,
    [
        ("overwritten", "Where two copies overlap, the later one replaces the earlier: add them (`+=`; at an array "
         "of places that is `np.add.at`).", ("+=", "=")),
        ("flipped", "The kernel is turned round: its first weight goes to the first place.",
         ("* kernel", "* kernel[::-1]")),
        ("not_scaled", "The kernel itself is added: multiply it by the value first.", ("value * kernel", "kernel")),
        *(("stride_ignored", "The copies are placed 1 apart: place them `stride` apart.", change)
          for change in (("* stride", ""), ("i * stride : i * stride +", "i : i +"))),
        ("too_long", "The output is too long: the last copy begins at (n - 1) stride, not at n stride.",
         ("(len(values) - 1)", "len(values)")),
        ("cut_off", "The end is cut off: the last copy begins at (n - 1) stride and has the kernel's whole length.",
         ("return output", "return output[: len(values) * stride]")),
    ],
    hints=("The first copy begins at place 0. Where does the last of n copies begin, and where does it end?",
           "`enumerate(values)` gives each value and its number i: its copy begins at `i * stride`.",
           "Add to a part of the output: `output[start:start + len(kernel)] += ...`"),
    errors=[("broadcast", "A copy of the kernel does not fit in. Is it one value times the kernel, has the output "
             "(n - 1) stride + k places, and is the slice as long as the kernel?"),
            ("Cannot cast", "The output holds whole numbers only: leave `dtype` out.")],
    place=lambda case, index: f" {f'at {index} ' * bool(index)}for {SCATTER_CASES[case]}",
)  # fmt: skip


# --- the best F1 over all thresholds ---------------------------------------------------------------------------------


def _run_best(function: Callable) -> list:
    rng, thresholds = np.random.default_rng(0), np.arange(1, 10) / 10
    truth = rng.random((2, 20, 30)) < np.array([0.1, 0.5]).reshape(2, 1, 1)
    cases = [
        (np.round(10 * np.clip(rng.normal(middle + 0.3 * truth, 0.15), 0, 1)) / 10, truth) for middle in (0.1, 0.5)
    ]
    steps = [2, 40, 1, 1, 1, 5, 5]  # of a case in which F1 falls and rises again
    cases.append((np.repeat([0.1, 0.5, 0.6, 0.7, 0.8, 0.2, 0.9], steps), np.repeat([False, True], [45, 10])))
    return [call(function, probability, truth, thresholds) for probability, truth in cases]


def highest_f1(probability: np.ndarray, truth: np.ndarray, thresholds: np.ndarray) -> tuple[float, float]:
    """The best F1 over the thresholds, and the threshold that gives it; `probability` and `truth` have one shape."""
    scores = []
    for threshold in thresholds:
        scores.append(mask_scores(probability >= threshold, truth)[1])
    best = np.argmax(scores)
    return scores[best], thresholds[best]


BEST = "scores[best], thresholds[best]"
best_f1 = Exercise(
    "best_f1",
    "Exercise, MaxF",
    "a function of probability, truth (bool) and thresholds that returns (the best F1, its threshold).",
    "It finds the best F1 and its threshold in three cases.",
    _run_best,
    highest_f1,
    [
        ("exchanged", "The two are exchanged: return F1 first, then the threshold.",
         (BEST, "thresholds[best], scores[best]")),
        ("index", "The second is the place of the threshold in the list: return the threshold itself.",
         ("thresholds[best]", "best")),
        ("strictly_above", "A probability equal to the threshold counts as road, too: compare with `>=`.", (">=", ">")),
        *(("below", "What lies below the threshold is predicted as road: turn the comparison round.", (">=", sign))
          for sign in ("<", "<=")),
        ("iou", "The threshold is right, but the first number is IoU: F1 counts TP twice.", ("[1]", "[0]")),
        ("factor_missing", "F1 is half of what it should be: its numerator is 2 TP.", ("[1]", "[1] / 2")),
        ("most_accurate", "That is the threshold of the best accuracy, the one with the fewest errors. Choose by F1.",
         ("np.argmax(scores)", "np.argmax([((probability >= t) == truth).sum() for t in thresholds])")),
        *(("rounded", "F1 is rounded: return all of its digits.", ("scores[best],", f"round(scores[best], {digits}),"))
          for digits in (2, 3)),
        ("one_half", "That is the F1 at 0.5: try all thresholds, and keep the best.",
         ("    scores = []", "    scores, thresholds = [], [0.5]")),
        ("mean_over_images", "That is a mean over the images: count the pixels of all of them together.",
         ("mask_scores(probability >= threshold, truth)[1]",
          "np.mean([mask_scores(p >= threshold, t)[1] for p, t in zip(probability, truth)])")),
        ("nan_wins", "Where no road is found, precision is 0 / 0, and `np.argmax` takes NaN for the largest: "
         "2 TP / (2 TP + FP + FN) is 0 there.", ("[1])", "[1] or np.nan)")),
        ("last_threshold", "F1 is right, but its threshold is not the last one tried: keep the one that gave the best.",
         (BEST, "scores[best], thresholds[-1]")),
        ("accuracy", "That is the best accuracy: F1 leaves the true negatives out.",
         ("mask_scores(probability >= threshold, truth)[1]", "((probability >= threshold) == truth).mean()")),
        ("first_threshold", "That is the F1 of the first threshold: does `return` stand inside of the loop?",
         ("np.argmax(scores)", "0")),
        ("worst", "That is the lowest F1: keep the highest.", ("argmax", "argmin")),
    ],
    hints=("Collect the F1 of every threshold in a list.",
           "In a loop over the thresholds, `predicted = probability >= threshold` is a mask as in notebook 00."),
    errors=[("bitwise_and", "`&` comes before a comparison, so `(p >= threshold) & truth` needs parentheses.")],
    place=lambda case, index: f" as {('F1', 'the threshold')[index[0]]}" if index else "",
)  # fmt: skip


# --- softmax ---------------------------------------------------------------------------------------------------------


def softmax_of(logits: np.ndarray) -> np.ndarray:
    """Probabilities that add up to 1 along the last axis, from logits of any shape."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _overflows(function: Callable) -> tuple[str, str] | None:
    logits = np.array([[1000.0, 999.0, -1000.0], [-1000.0, -1001.0, -2000.0]])
    found, stopped = attempt(lambda: call(function, logits))
    if stopped:
        return "other_shape", f"It stops where logits have two axes, with {stopped}: the last is axis -1."
    if np.allclose(found, softmax_of(logits)):
        return None
    return "overflow", (
        "It is right for small logits, but e to the power of 1000 is infinite, and e to the power of -1000 is 0: "
        "subtract the largest logit of each pixel first."
    )


softmax = Exercise(
    "softmax",
    "Exercise, softmax",
    "a function of logits, float (..., classes), that returns probabilities of the same shape.",
    "The probabilities of each pixel add up to 1, and large logits do no harm.",
    lambda function: [call(function, np.random.default_rng(0).normal(0, 2, (2, 3, 4)))],
    softmax_of,
    [
        ("whole_sum", "It divides by the sum over all pixels: each pixel has a sum of its own, over the last axis.",
         (".sum(axis=-1, keepdims=True)", ".sum()")),
        *(("other_axis", f"It divides by a sum over axis {axis}: the classes are the last axis, -1.",
           (last, last.replace("-1", axis))) for last in ("axis=-1", "sum(axis=-1") for axis in "01"),
        ("not_divided", "Divide by the sum over the classes, so that the probabilities of a pixel add up to 1.",
         (" / powers.sum(axis=-1, keepdims=True)", ""), (" - logits.max(axis=-1, keepdims=True)", "")),
        ("not_divided", "Divide by the sum over the classes, so that the probabilities of a pixel add up to 1.",
         (" / powers.sum(axis=-1, keepdims=True)", "")),
        ("no_power", "It divides the logits themselves by their sum, which may be negative: take e to their power.",
         ("np.exp(logits - logits.max(axis=-1, keepdims=True))", "logits")),
        ("sigmoid", "That is a sigmoid of each logit, by itself: divide by the sum over the classes of a pixel.",
         ("return powers / powers.sum(axis=-1, keepdims=True)", "return 1 / (1 + np.exp(-logits))")),
    ],
    _overflows,
    hints=("Two lines: the powers, then each divided by a sum.",
           "`powers.sum(axis=-1, keepdims=True)` has one number for each pixel, which divides all of its classes."),
    errors=[("broadcast", "A sum over the last axis has one axis fewer than the logits: `keepdims=True` keeps it.")],
)  # fmt: skip


# --- random flip -----------------------------------------------------------------------------------------------------

SAMPLES = 256
FAIR = range(89, 168)  # of the samples; a fair draw mirrors another number of them once in a million checks


def _run_flip(function: Callable) -> list:
    """Which of the sixteen outcomes occur, called directly and in `Dataset.map`; -1 where only there it is always the
    same one."""
    counts = _flipped(function)
    if counts[0] is None:
        return counts
    eager, mapped = ((count > 0).astype(int) for count in counts)
    return [eager, -np.ones(16) if mapped.sum() == 1 < eager.sum() else mapped]


def _flipped(function: Callable) -> list:
    """How often each outcome occurs, called directly and in `Dataset.map`: the image's kind, then the mask's. The kinds
    are: the same, mirrored, upside down, something else."""
    rng = np.random.default_rng(0)
    images = rng.random((SAMPLES, 4, 6, 3), np.float32)
    masks = rng.integers(0, 2, (SAMPLES, 4, 6, 1)).astype(np.float32)
    samples = tf.data.Dataset.from_tensor_slices((images, masks))
    eager = [function(*sample) for sample in samples]
    if all(pair is None for pair in eager):
        return [None]
    if any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in eager):
        raise Unfit("It should return two things, the image and the mask.")

    def kind(old: np.ndarray, new: tf.Tensor) -> int:
        known = (old, old[:, ::-1], old[::-1])
        return next((i for i, each in enumerate(known) if np.array_equal(each, new)), 3)

    def counts(outcomes: list) -> np.ndarray:
        pairs = zip(images, masks, outcomes)
        kinds = [4 * kind(image, flipped[0]) + kind(mask, flipped[1]) for image, mask, flipped in pairs]
        return np.bincount(kinds, minlength=16)

    mapped, stopped = attempt(lambda: list(samples.map(function)))
    if stopped:
        raise Unfit(f"Called directly it works, but in `Dataset.map` it stops with `{stopped}`: use functions of `tf`.")
    return [counts(eager), counts(mapped)]


def _unfair(function: Callable) -> tuple[str, str] | None:
    if all(count[5] in FAIR for count in _flipped(function)):
        return None
    return "unfair", "Far more, or far fewer, than one half of the samples are mirrored."


def flip_together(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirror one sample, image (H, W, 3) and mask (H, W, 1), left to right with probability one half."""
    flip = tf.random.uniform([]) < 0.5
    return tf.where(flip, tf.reverse(image, [1]), image), tf.where(flip, tf.reverse(mask, [1]), mask)


def _flip_differs(given: list, right: list) -> str:
    """How flips differ, by the outcomes that occur."""
    seen = {divmod(int(i), 4) for outcomes in given for i in np.flatnonzero(outcomes > 0)}
    if seen <= {(0, 0), (1, 1)}:
        return (
            "Image and mask are mirrored together, but each sample is treated the same: draw anew within the function, "
            "without a seed of its own."
        )
    if seen <= {(0, 1), (1, 0)}:
        return "Always one of the two is mirrored and the other is not: mirror both under the same condition."
    if seen <= {(0, 0), (0, 1), (1, 0), (1, 1)}:
        return TWO_DRAWS
    if seen <= {(0, 0), (1, 2)}:
        return "The image is mirrored, but its mask is turned upside down: axis 0 is the height, axis 1 the width."
    return (
        "Some samples become neither what they were nor their mirror images, or image and mask do not agree. Does it "
        "return the image first, then the mask?"
    )


IMAGE, MASK = (f"tf.where(flip, tf.reverse({part}, [1]), {part})" for part in ("image", "mask"))
DRAW = "tf.random.uniform([]) < 0.5"
TWO_DRAWS = (
    "Image and mask each have a random draw of their own, so they need not agree, not even with the same `seed=`. Draw "
    "once, use twice."
)
random_flip = Exercise(
    "random_flip",
    "Exercise, random flip",
    "`random_flip(image, mask)`, called on single samples and in `Dataset.map`.",
    "Image and mask are mirrored together, about every second time, and in `Dataset.map`, too.",
    _run_flip,
    flip_together,
    [
        ("mask_left", "The image is mirrored and its mask is not: the road is then on the wrong side.", (MASK, "mask")),
        ("image_left", "The mask is mirrored and its image is not.", (IMAGE, "image")),
        ("two_draws", TWO_DRAWS, (MASK, MASK.replace("flip", DRAW))),
        ("upside_down", "The sample is turned upside down. Axis 0 is the height, axis 1 the width: mirror a street in "
         "its width.", ("[1]", "[0]")),
        ("colors", "The colors are reversed: a single sample has no batch axis, so its width is axis 1.",
         ("[1]", "[2]")),
        ("always", "Every sample is mirrored; it should be about one half of them. Is the draw made anew for each?",
         (DRAW, "True")),
        ("never", "No sample is mirrored; it should be about one half of them. Is the draw made anew for each?",
         (DRAW, "False")),
        ("drawn_once", "Called directly it draws anew for each sample, but in `Dataset.map` all samples get the same: "
         "`map` runs Python code once, while it builds the graph. Draw with `tf.random.uniform`.",
         (DRAW, "np.random.default_rng().random() < 0.5")),
    ],
    _unfair,
    hints=("One draw decides for both: give it a name before you use it.",
           "`if tf.random.uniform(()) < 0.5:`, and below it mirror both.",
           "`tf.image.flip_left_right` mirrors one image, and a mask as well."),
    differs=_flip_differs,
    errors=[("required positional argument", "`tf.random.uniform(())` draws one number: it needs the shape, `()`.")],
)  # fmt: skip


# --- soft Dice -------------------------------------------------------------------------------------------------------


def _dice_case() -> tuple[tf.Tensor, tf.Tensor]:
    """Three images with little, some and much road, and a prediction that is better where there is more."""
    rng = np.random.default_rng(0)
    share, quality = np.array([[0.2, 0.5, 0.9], [0.4, 0.6, 0.9]]).reshape(2, 3, 1, 1, 1)
    mask = rng.random((3, 48, 48, 1)) < share
    probability = (quality * mask + (1 - quality) * rng.random(mask.shape)) ** 2
    return tf.constant(mask, tf.float32), tf.constant(probability, tf.float32)


def _run_dice(function: Callable) -> list:
    value = function(*_dice_case())
    if np.shape(value) != ():
        raise Unfit(f"It returns an array of shape {np.shape(value)}: take the mean over images.")
    return [value]


def _useless_as_loss(function: Callable) -> tuple[str, str] | None:
    mask, probability = _dice_case()

    def gradient(loss_fn: Callable) -> tf.Tensor | None:
        with tf.GradientTape() as tape:
            tape.watch(probability)
            loss = tf.convert_to_tensor(loss_fn(mask, probability))
        return tape.gradient(loss, probability)

    found, stopped = attempt(lambda: gradient(function))
    if stopped or found is None or not np.allclose(found, gradient(dice_loss), rtol=0.05, atol=1e-7):
        return "no_gradient", "The value is right, but not its gradient: compute all of it with `tf` or `keras.ops`."
    batch = tf.TensorSpec((None, *mask.shape[1:]))  # of a size that is not known, as in `fit`, which has no AutoGraph
    compiled = tf.function(function, input_signature=[batch, batch], autograph=False)
    _, stopped = attempt(lambda: compiled(mask, probability))
    if stopped:
        return "no_graph", f"Called directly it works, but `fit` compiles it, and then it stops with `{stopped}`."
    empty, stopped = attempt(lambda: float(function(0 * mask, 0 * probability)))
    if stopped or not abs(empty) < 0.01:
        return "empty", "Without any road Dice, 0 / 0, should be 1: add the small number to numerator and denominator."
    return None


def dice_loss(mask: tf.Tensor, probability: tf.Tensor) -> tf.Tensor:
    """1 - 2 sum(mask x probability) / (sum(mask) + sum(probability)), for each image, then the mean: float32 ()."""
    overlap = tf.reduce_sum(mask * probability, axis=(1, 2, 3))
    total = tf.reduce_sum(mask, axis=(1, 2, 3)) + tf.reduce_sum(probability, axis=(1, 2, 3))
    return tf.reduce_mean(1 - (2 * overlap + 1e-7) / (total + 1e-7))


soft_dice = Exercise(
    "soft_dice",
    "Exercise, soft Dice",
    "`soft_dice(mask, probability)`: its value, its gradient, and images without any road.",
    "It is 0 for a perfect prediction, has a gradient, and copes with images without road.",
    _run_dice,
    dice_loss,
    [
        ("score", "That is the Dice score, which is 1 for a perfect prediction. A loss has to fall: 1 minus the score.",
         ("1 - ", "")),
        ("no_two", "The 2 is missing: a perfect prediction should have the loss 0, and has one half.", ("2 * ", "")),
        ("iou", "That is the soft IoU (Jaccard) loss: it divides by the union. Dice divides twice the overlap by the "
         "two sums.", ("2 * ", ""), ("(total", "(total - overlap")),
        ("negative", "That is minus the Dice score: the loss is 1 minus the score, so that the best is 0.",
         ("1 - (", "-(")),
        ("squares", "The sums below are of squares, as in V-Net. That is a good loss, too; here it is the plain sums.",
         ("(mask,", "(mask**2,"), ("(probability,", "(probability**2,")),
        ("whole_batch", "The sums run over the whole batch. Sum over each image, axes 1 to 3, then take the mean over "
         "images.", (", axis=(1, 2, 3)", "")),
        ("mean_of_sums", "The images' losses are summed; take their mean, so that the loss does not depend on the "
         "batch size.", ("reduce_mean", "reduce_sum")),
        ("thresholded", "The probabilities are compared with a threshold first. That has no gradient: use them as they "
         "are.", ("    overlap", "    probability = tf.round(probability)\n    overlap")),
    ],
    _useless_as_loss,
    hints=("Three sums for each image: of `mask * probability`, of `mask`, of `probability`.",
           "`tf.reduce_sum(..., axis=[1, 2, 3])` gives one number for each image; the mean of the losses comes last."),
    tolerance=2e-3,  # what a smoothing term of 1 in both sums changes on these images
)  # fmt: skip


# --- warm-up and cosine ----------------------------------------------------------------------------------------------

PEAK, WARMUP, TOTAL = 0.02, 10, 110  # of the schedule that is tried


def _run_schedule(function: Callable) -> list:
    rates = [function(step, PEAK, WARMUP, TOTAL) for step in range(TOTAL)]
    if all(rate is None for rate in rates):
        return [None]
    numbers, stopped = attempt(lambda: np.asarray(rates, float))  # of None it makes NaN
    if stopped or numbers.shape != (TOTAL,):
        raise Unfit("It should return one number for each step.")
    if None in rates:
        raise Unfit(f"It returns nothing{_at_step(0, [rates.index(None)])}.")
    return [rates]


def _at_step(case: int, index: list[int]) -> str:
    """A step, and the arguments that it was called with."""
    return f" at step {index[0]} of `peak={PEAK}, warmup={WARMUP}, total={TOTAL}`"


def cosine_schedule(step: int, peak: float, warmup: int, total: int) -> float:
    """The learning rate: linear from 0 to `peak` in `warmup` steps, then along half a cosine to 0 at `total`."""
    if step < warmup:
        return peak * step / warmup
    time = (step - warmup) / (total - warmup)
    return peak * (1 + math.cos(math.pi * time)) / 2


BEGIN, WAVE = "    if step < warmup:\n", "(1 + math.cos(math.pi * time)) / 2"
LATE = (BEGIN, "    step += 1\n" + BEGIN)  # by somebody who counts the steps from 1, which is as good
RISE, FALL = "return peak * step / warmup", f"peak * {WAVE}"
WITHOUT_PEAK = [(RISE, "return step / warmup"), (FALL, WAVE)]
DIVISIONS = [("step / warmup", "(step // warmup)"), ("(step - warmup) / (", "(step - warmup) // (")]
warmup_cosine = Exercise(
    "warmup_cosine",
    "Exercise, warm-up and cosine",
    "`warmup_cosine(step, peak, warmup, total)` at every step of a short training run; it may count from 0 or 1.",
    "It rises to the peak in a line and falls along half a cosine to zero.",
    _run_schedule,
    cosine_schedule,
    [(None, "", LATE), *((*mistake, *late) for late in ([], [LATE]) for mistake in (
        ("one_ahead", "In the warm-up the rate is one step ahead of the cosine: step 0 gives 0.",
         ("peak * step / warmup", "peak * (step + 1) / warmup")),
        *(("whole_numbers", "`//` leaves whole numbers only, here 0 or 1: divide with `/`.", *changes)
          for changes in (DIVISIONS, DIVISIONS[:1])),
        *(("no_peak", "`peak` is missing: the rate is a fraction of it, in the warm-up and after it.", *changes)
          for changes in (WITHOUT_PEAK, WITHOUT_PEAK[:1], WITHOUT_PEAK[1:])),
        ("no_pi", "The cosine ends at angle 1: multiply the time by `math.pi`.", ("math.pi * ", "")),
        ("no_return", "The rate of the warm-up is computed and not returned: `return` is missing there.",
         (RISE, RISE.removeprefix("return "))),
        *(("floor", "The rate stops at 1 % of the peak, as in the package's own schedule; here it falls to 0.", change)
          for change in ((FALL, f"max(peak / 100, {FALL})"), (WAVE, f"(0.01 + 0.99 * {WAVE})"))),
        ("half_inside", "Only the cosine is halved: (1 + cos) / 2 needs parentheses around the sum.",
         (WAVE, "(1 + math.cos(math.pi * time) / 2)")),
        ("rises", "After the warm-up the rate drops to 0 and rises: it is 1 + cos, not 1 - cos.",
         (WAVE, "(1 - math.cos(math.pi * time)) / 2")),
        ("no_warmup", "There is no warm-up: the rate begins at its peak.", (BEGIN, "    warmup = 0\n" + BEGIN)),
        ("constant_warmup", "In the warm-up the rate is constant at its peak; it should rise in a line from 0.",
         ("peak * step / warmup", "peak")),
        ("jump", "The cosine counts from step 0, so the rate jumps at the end of the warm-up. Count from there.",
         ("(step - warmup) / (total - warmup)", "step / total")),
        ("ends_above", "The rate does not reach zero: the cosine lasts total - warmup steps, so divide by that.",
         ("/ (total - warmup)", "/ total")),
        ("whole_wave", "The rate rises again to its peak: that is a whole wave. Half of one, from 0 to pi, falls only.",
         ("math.pi", "2 * math.pi")),
        ("not_halved", "After the warm-up the rate is twice the peak: 1 + cos runs from 2 to 0, so halve it.",
         (" / 2", "")),
        ("negative", "The rate becomes negative: cos runs from 1 to -1. (1 + cos) / 2 runs from 1 to 0.",
         (WAVE, "math.cos(math.pi * time)")),
        ("line", "After the warm-up the rate falls in a line, not along a cosine.", (WAVE, "(1 - time)")),
        ("warmup_only", "After the warm-up the rate stays at its peak; it should fall. (`//` leaves whole "
         "numbers only.)", (WAVE, "1.0")),
    ))],
    hints=("Two cases: before the step `warmup`, and from it on.",
           "How far the second part has come, from 0 to 1, is `(step - warmup) / (total - warmup)`; times pi, that "
           "is the angle."),
    place=_at_step,
    tolerance=PEAK / 500,
)  # fmt: skip
