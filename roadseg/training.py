"""The two steps of a training, the loop around them, and the recipes. Batches come from `data`, results go to `runs`.

Tensors in a step: image float32 (batch, H, W, 3) in [0, 1]; road, weight and probability float32 (batch, H, W, 1).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from roadseg import data as road_data
from roadseg import devices, metrics, models, optimizers, provenance, recipes, runs
from roadseg.backend import keras, tf
from roadseg.board import Board
from roadseg.data import RoadData, Split
from roadseg.errors import OptionError, RunError, interruptible
from roadseg.files import written_whole
from roadseg.losses import RoadLoss
from roadseg.recipes import Recipe

VALIDATION_BATCH = 8  # the course's
HDF5_OVERHEAD = 2**20  # bytes; more than a file of weights holds beside them


@dataclass(frozen=True)
class Progress:
    """What a training tells after each epoch (and before the first, with epoch 0) to whoever watches."""

    title: str
    epoch: int
    epochs: int
    curves: dict[str, np.ndarray]
    prediction: np.ndarray | None  # uint8 (n, H, W), validation pictures
    validation_names: tuple[str, ...]
    seconds_per_epoch: float
    seconds_left: float


def train_step(model, image, road, *, loss_fn, optimizer, running_loss, running_accuracy, weight=None):
    """Learn from one batch: predict, measure the loss, step down its gradient. Returns the probabilities (task 1)."""
    with tf.GradientTape() as tape:
        probability = model(image, training=True)
        loss = loss_fn(road, probability, sample_weight=weight)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    running_loss.update_state(loss)
    running_accuracy.update_state(road, probability, sample_weight=weight)
    return probability


def val_step(model, image, road, *, loss_fn, running_loss, running_accuracy, weight=None):
    """Measure one batch and change nothing in the model. Returns the probabilities (task 2)."""
    probability = model(image, training=False)
    running_loss.update_state(loss_fn(road, probability, sample_weight=weight))
    running_accuracy.update_state(road, probability, sample_weight=weight)
    return probability


def train(
    model: str,
    recipe: str | Recipe = "reported",
    data: RoadData | None = None,
    *,
    split: str = "course",
    seed: int = 0,
    epochs: int | None = None,
    out: str | Path | None = None,
    step: Callable | None = None,
    validation_step: Callable | None = None,
    strategy: str = "one",
    mixed_precision: bool = False,
    watch: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = print,
) -> runs.Run:
    """Train a network, or reuse or resume the run that these settings have already made.

    Parameters
    ----------
    model : simple, unet or unet-no-skip.
    recipe : assigned, reported, fast or best, or a Recipe.
    data : what `roadseg.data.load` gives; None loads it.
    split : course or blocks.
    seed : of the weights, the order of the pictures and their random changes; it sets Keras's global seed. On one
        machine without a GPU the same seed gives the same curves to the last digit, in any process, interrupted or not;
        another number of cores changes the last digits. On a GPU, set TF_DETERMINISTIC_OPS=1 before Python starts.
    epochs : None is the recipe's number. The environment variable ROADSEG_EPOCHS caps either.
    out : folder of runs; None is ROADSEG_RUNS or the project's `runs`.
    step, validation_step : your own `train_step` and `val_step`. None takes the package's, and reuses a run
        of the same settings whoever wrote its steps.
    strategy : one device, or mirrored: each batch is shared between all GPUs, and the losses are the same.
    mixed_precision : multiply in float16 on a GPU, in bfloat16 on a processor that has instructions for it; the run
        has a recipe of its own, such as "fast-bfloat16". To be reused it asks for such a machine, too.
    watch : called with a Progress before the first epoch and after each; once, at the end, for a reused run.
    say : called with one line at the end, which tells whether the run was trained, resumed or reused, and with
        one when there is something to wait for or to go on with.

    Raises
    ------
    OptionError : an unknown name, or a number out of its range.
    RunError : the folder cannot be written, or the loss is no longer a number.
    """
    data = road_data.load() if data is None else data
    strategy, recipe = devices.strategy(strategy), recipes.named(recipe)
    precision = devices.mixed_precision(strategy) if mixed_precision else "float32"
    if mixed_precision:
        recipe = replace(recipe, name=f"{recipe.name}-{precision}")
    plan = _plan(model, recipe, data, split, seed, epochs, step, validation_step, strategy, precision)
    watch = watch or (lambda progress: None)
    run = runs.find(plan.settings, out=out) if step is validation_step is None else None
    if run is None:
        path = runs.folder(out) / runs.key(plan.settings)
        kept = f"{path.name} keeps its last whole epoch, and the same command or cell goes on from there."
        with interruptible(kept), runs.locked(path, say=say), _writing(path):
            run = _finished(path, say) or _trained(plan, path, watch, say)
    if run.how == "reused":
        watch(_progress(run.title, run.path, run.settings, np.stack(list(run.curves.values()), axis=1)))
    seconds = int(run.finished["seconds"])
    taken = f"{seconds // 60}:{seconds % 60:02d} minutes of training"
    say(f"{run.how.capitalize()}: {run.title}, {taken} ({run.path.name}).")
    return run


def predict(
    model: keras.Model, images: np.ndarray, *, flip: bool = False, batch_size: int = VALIDATION_BATCH
) -> np.ndarray:
    """Road probabilities float32 (n, H, W) of uint8 images (n, H, W, 3); of a softmax, (n, H, W, classes).

    flip : the mean of what the network says to each picture and to its mirror image, at twice the time.
    """
    if flip:
        mirrored = predict(model, images[:, :, ::-1], batch_size=batch_size)[:, :, ::-1]
        return (predict(model, images, batch_size=batch_size) + mirrored) / 2
    batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    parts = [model(batch.astype(np.float32) / 255, training=False).numpy() for batch in batches]
    probability = np.concatenate(parts)
    return probability[..., 0] if probability.shape[-1] == 1 else probability


def evaluate(
    run: runs.Run, data: RoadData, *, images: str = "validation", flip: bool = False
) -> dict[str, dict[str, float]]:
    """Scores of a run's last weights on `all` or on its own `validation` pictures, by category and for all together:
    what `roadseg.metrics.report` gives, excluded pixels left out. flip : as `predict` takes it."""
    if images not in ("validation", "all"):
        raise OptionError(f"images is {images!r}: choose validation or all.")
    if images == "validation" and data.fingerprint != run.settings["data"]:
        raise OptionError(
            f"{run.path.name} was trained on other images than these, so its validation pictures are not among them: "
            "score all of them (--images all)."
        )
    names = run.validation_names if images == "validation" else data.names
    where = np.array([data.names.index(name) for name in names])
    probability = predict(run.model(), data.images[where], flip=flip)
    return metrics.report(probability, data.road[where], data.evaluated[where], data.categories[where])


@dataclass(frozen=True, eq=False)
class _Plan:
    """All that a training needs to know before it starts; `settings` is the part that goes to disk."""

    settings: dict
    recipe: Recipe
    data: RoadData
    split: Split
    step: Callable
    validation_step: Callable
    strategy: tf.distribute.Strategy
    precision: str

    @property
    def title(self) -> str:
        return runs.title(self.settings)

    @property
    def small_epochs(self) -> int:
        """How many epochs, the first ones, train on pictures of half the size."""
        return round(self.recipe.half_size * self.settings["epochs"])


@dataclass
class _State:
    """What a training has reached after a whole epoch: all of it goes into state.npz, and comes back from there."""

    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    curves: list = field(default_factory=list)
    steps: list = field(default_factory=list)
    best_loss: float = np.inf
    best_weights: list = field(default_factory=list)

    @property
    def epoch(self) -> int:
        return len(self.curves)


def _plan(model, recipe, data, split_name, seed, epochs, step, validation_step, strategy, precision) -> _Plan:
    epochs = recipe.epochs if epochs is None else epochs
    if not isinstance(epochs, int) or epochs < 1 or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise OptionError(f"epochs {epochs!r}, seed {seed!r}: expected whole numbers, from 1 and from 0 on.")
    try:
        keras.initializers.get(recipe.initializer)
    except (ValueError, TypeError):
        raise OptionError(f"initializer is {recipe.initializer!r}: expected a name that Keras knows.") from None
    for size in (data.size, _half(data.size)) if recipe.half_size else (data.size,):
        models.build(model, size=size)  # an unknown name or a size that does not fit is told before anything starts
    split = road_data.split(data, split_name)
    step, validation_step = step or train_step, validation_step or val_step
    settings = {
        "model": model,
        "recipe": recipes.settings(recipe) | ({} if precision == "float32" else {"precision": precision}),
        "seed": seed,
        "split": split_name,
        "epochs": min(epochs, _epochs_cap()),
        "size": list(data.size),
        "data": data.fingerprint,
        "source": data.source,
        "step": provenance.source_digest(step, validation_step),
        "train_count": len(split.train),
        "validation_names": [data.names[i] for i in split.validation],
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "devices": strategy.num_replicas_in_sync,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return _Plan(settings, recipe, data, split, step, validation_step, strategy, precision)


def _half(size: tuple[int, int]) -> tuple[int, int]:
    """Half the height and half the width."""
    return size[0] // 2, size[1] // 2


def _epochs_cap() -> int:
    text = os.environ.get("ROADSEG_EPOCHS") or "1000000"
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(f"ROADSEG_EPOCHS is {text!r}: expected a whole number of at least 1, or unset it.")
    return int(text)


def _finished(path: Path, say) -> runs.Run | None:
    """The finished run at `path`; a finished run with lost files is no run: what is left of it makes room."""
    if not (path / "finished.json").is_file():
        return None
    try:
        return runs.open_run(path)
    except RunError as error:
        say(f"{error} It is trained again now.")
        for name in ("state.npz", "finished.json"):  # in this order: without the second, the first counts
            (path / name).unlink(missing_ok=True)
        return None


def _trained(plan: _Plan, path: Path, watch, say) -> runs.Run:
    """Train from the last whole epoch on the disk, or from the start, to the end."""
    (path / "predictions").mkdir(parents=True, exist_ok=True)
    for part in path.rglob(".*part*"):  # of a process that was killed
        part.unlink()
    with plan.strategy.scope():
        state = _start(plan, path, say)
        steps = _compiled(plan, state)
    how = "resumed" if state.epoch else "trained"
    with closing(Board(path, plan.data.images[plan.split.validation])) as board:
        for row in state.curves:
            board.log(row)
        watch(_progress(plan.title, path, plan.settings, state.curves))
        for epoch in range(state.epoch + 1, plan.settings["epochs"] + 1):
            _epoch(plan, path, state, steps, epoch)
            board.log(state.curves[-1])
            watch(_progress(plan.title, path, plan.settings, state.curves))
    _finish(plan, path, state)
    return runs.open_run(path, how=how)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses in the run's folder into a RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the run {path} cannot be written ({error.strerror or error}): free space or set ROADSEG_RUNS to another "
            "folder; the last whole epoch is kept."
        ) from error


def _start(plan: _Plan, path: Path, say) -> _State:
    """A fresh state, or the one on the disk."""
    keras.utils.set_random_seed(plan.settings["seed"])
    with devices.precision(plan.precision):
        model = models.build(
            plan.settings["model"],
            size=plan.data.size,
            initializer=plan.recipe.initializer,
            standardize=plan.recipe.standardize,
        )
    steps = -(-len(plan.split.train) // plan.recipe.batch_size)
    optimizer = optimizers.build(plan.recipe, steps=steps, epochs=plan.settings["epochs"])
    if plan.precision == "float16":  # whose smallest numbers are too large for small gradients
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    state = _State(model, optimizer)
    state.optimizer.build(model.trainable_variables)
    if (path / "state.npz").is_file():
        try:
            _restore(state, path)
            say(f"Going on with {plan.title} after epoch {state.epoch} of {plan.settings['epochs']}.")
        except RunError:
            say(f"{path / 'state.npz'} is damaged; {plan.title} is trained from the start.")
    runs.write_json(path / "settings.json", plan.settings)
    return state


@contextmanager
def _averaged(plan: _Plan, state: _State) -> Iterator[None]:
    """The model with the average of its weights, where the recipe keeps one; afterwards with its own again."""
    if not plan.recipe.average:
        yield
        return
    own = state.model.get_weights()
    state.optimizer.finalize_variable_values(state.model.trainable_variables)
    try:
        yield
    finally:
        state.model.set_weights(own)


@dataclass(frozen=True)
class _Steps:
    """The compiled steps and the running metrics that they update."""

    train: Callable
    train_small: Callable | None  # on pictures of half the size, where the recipe has some
    validate: Callable
    loss: keras.metrics.Mean
    accuracy: keras.metrics.BinaryAccuracy


def _compiled(plan: _Plan, state: _State) -> _Steps:
    """Compile the steps for batches of any length; each returns what the batch adds to the running loss and accuracy,
    float32 (2, 2), a sum and a count for each, and the probabilities."""
    loss, accuracy = keras.metrics.Mean(), keras.metrics.BinaryAccuracy(threshold=0.5)
    common = {"running_loss": loss, "running_accuracy": accuracy}

    def compile_step(step: Callable, model: keras.Model, **options) -> Callable:
        def call(*batch):
            rows = tf.shape(batch[0])[0]
            batch, copies = devices.repeated(plan.strategy, batch)
            loss_fn = _loss_fn(plan, state.optimizer, weight=batch[2])

            def on_one(image, road, weight):
                extra = {} if plan.recipe.count_excluded else {"weight": weight}
                return step(model, image, road, loss_fn=loss_fn, **common, **options, **extra)

            before = _totals(loss, accuracy)
            probability = devices.on_each(plan.strategy, on_one, batch)
            # running loss: one value a device; running accuracy: all pixels, as often as they are there
            counted = tf.cast([[plan.strategy.num_replicas_in_sync], [copies]], tf.float32)
            return (_totals(loss, accuracy) - before) / counted, probability[:rows]

        shape = [None, *model.input_shape[1:3]]
        return tf.function(call, input_signature=[tf.TensorSpec([*shape, 3]), *[tf.TensorSpec([*shape, 1])] * 2])

    train, small = compile_step(plan.step, state.model, optimizer=state.optimizer), None
    if plan.small_epochs:
        small = compile_step(plan.step, models.resized(state.model, _half(plan.data.size)), optimizer=state.optimizer)
    return _Steps(train, small, compile_step(plan.validation_step, state.model), loss, accuracy)


def _loss_fn(plan: _Plan, optimizer: keras.optimizers.Optimizer, weight: tf.Tensor) -> Callable:
    """The recipe's loss of a batch with these weights (n, H, W, 1), on one device or as a part of it on each."""
    if plan.strategy.num_replicas_in_sync > 1:
        return devices.PartLoss(weight, plan.strategy.num_replicas_in_sync, plan.recipe.dice)
    loss_fn = RoadLoss(plan.recipe.dice)
    if plan.precision != "float16":
        return loss_fn
    # so small gradients survive in float16; the optimiser takes the factor out again
    return lambda *args, **options: devices.scaled_gradient(loss_fn(*args, **options), optimizer.scale_loss(1.0))


def _totals(*means: keras.metrics.Mean) -> tf.Tensor:
    """The sum and the count so far of each running mean, float32 (means, 2)."""
    variables = [variable for mean in means for variable in (mean.total, mean.count)]
    return tf.reshape([tf.convert_to_tensor(variable) for variable in variables], (-1, 2))


def _epoch(plan: _Plan, path: Path, state: _State, steps: _Steps, epoch: int) -> None:
    """Train and validate for one epoch, then put all of it on the disk."""
    started = time.perf_counter()
    small = epoch <= plan.small_epochs
    batches = road_data.dataset(
        plan.data,
        plan.split.train,
        batch_size=plan.recipe.batch_size,
        shuffle=True,
        flip=plan.recipe.flip,
        zoom=plan.recipe.zoom,
        colour=plan.recipe.colour,
        half_size=small,
        seed=plan.settings["seed"],
        epoch=epoch,
    )
    trained = _passed(steps, steps.train_small if small else steps.train, batches)
    learning_rate = float(keras.ops.convert_to_numpy(state.optimizer.learning_rate))
    batches = road_data.dataset(plan.data, plan.split.validation, batch_size=VALIDATION_BATCH)
    with _averaged(plan, state):
        validated = _passed(steps, steps.validate, batches)
        if validated.loss < state.best_loss:
            state.best_loss, state.best_weights = validated.loss, state.model.get_weights()
    if not np.isfinite(trained.loss + validated.loss):
        raise RunError(f"the loss of {plan.title} is no longer a number in epoch {epoch}: take a lower learning rate.")
    count = len(state.steps)
    state.steps += [(count + i, *row) for i, row in enumerate(trained.rows, start=1)]
    seconds = time.perf_counter() - started
    state.curves.append(
        (epoch, trained.loss, trained.accuracy, validated.loss, validated.accuracy, learning_rate, seconds)
    )
    prediction = np.round(255 * validated.probability).astype(np.uint8)
    runs.write_arrays(path / "predictions" / runs.prediction_name(epoch), compress=True, probability=prediction)
    _save(state, path)


@dataclass(frozen=True)
class _Pass:
    """What one pass over a data set measured; rows hold (loss, accuracy) of each batch."""

    loss: float
    accuracy: float
    rows: list
    probability: np.ndarray | None  # float32 (n, H, W), of a validation


def _passed(steps: _Steps, step: Callable, batches: tf.data.Dataset) -> _Pass:
    steps.loss.reset_state()
    steps.accuracy.reset_state()
    added, probability = [], []
    for batch in batches:
        sums, predicted = step(*batch)
        added.append(sums)
        if step is steps.validate:
            probability.append(predicted[..., 0].numpy())
    added = np.stack(added).astype(np.float64)
    kept = np.concatenate(probability) if probability else None
    return _Pass(*_means(added.sum(0)).tolist(), _means(added).tolist(), kept)


def _means(sums: np.ndarray) -> np.ndarray:
    """(..., 2), a sum and its count, to (...); 0 where nothing was counted."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0)


def _save(state: _State, path: Path) -> None:
    """One file, written whole: so a training killed at any moment goes on from a whole epoch."""
    runs.write_arrays(
        path / "state.npz",
        curves=np.array(state.curves, np.float64),
        steps=np.array(state.steps, np.float64),
        best_loss=np.array(state.best_loss),
        **_numbered(_weights(state, best=state.best_weights)),
    )
    runs.write_csv(path / "curves.csv", runs.CURVES, np.array(state.curves))


def _restore(state: _State, path: Path) -> None:
    """Read the state back; RunError where it is damaged or belongs to another network, and then nothing has changed."""
    kept = runs.read_arrays(path / "state.npz")
    parts = _weights(state, best=state.model.get_weights())
    expected = {name: (array.shape, array.dtype) for name, array in _numbered(parts).items()}
    tables = {name: kept.pop(name, np.empty(0)) for name in ("curves", "steps", "best_loss")}
    found = {name: (array.shape, array.dtype) for name, array in kept.items()}
    if found != expected or [table.ndim for table in tables.values()] != [2, 2, 0]:
        raise RunError(f"{path / 'state.npz'} belongs to another network: delete {path} and train again.")
    parts = {part: [kept[f"{part}_{i}"] for i in range(len(arrays))] for part, arrays in parts.items()}
    state.model.set_weights(parts["model"])
    for variable, value in zip(state.optimizer.variables, parts["optimizer"]):
        variable.assign(value)
    state.curves, state.steps = ([tuple(row) for row in tables[name].tolist()] for name in ("curves", "steps"))
    state.best_loss, state.best_weights = float(tables["best_loss"]), parts["best"]


def _weights(state: _State, *, best: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What the network and its optimiser have learned so far, and the best weights."""
    optimizer = [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in state.optimizer.variables]
    return {"model": state.model.get_weights(), "best": best, "optimizer": optimizer}


def _numbered(parts: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    return {f"{part}_{i}": array for part, arrays in parts.items() for i, array in enumerate(arrays)}


def _progress(title: str, path: Path, settings: dict, rows) -> Progress:
    table = np.array(rows, np.float64).reshape(-1, len(runs.CURVES))
    epoch = len(table)
    seconds = float(np.median(table[:, -1])) if epoch else 0.0
    return Progress(
        title=title,
        epoch=epoch,
        epochs=settings["epochs"],
        curves=dict(zip(runs.CURVES, table.T)),
        prediction=runs.read_prediction(path, epoch) if epoch else None,
        validation_names=tuple(settings["validation_names"]),
        seconds_per_epoch=seconds,
        seconds_left=seconds * (settings["epochs"] - epoch),
    )


def _finish(plan: _Plan, path: Path, state: _State) -> None:
    """Write the tables and weights, and last of all the file that says that the run is whole."""
    runs.write_csv(path / "curves.csv", runs.CURVES, np.array(state.curves))
    runs.write_csv(path / "steps.csv", runs.STEPS, np.array(state.steps))
    with _averaged(plan, state):
        last = state.model.get_weights()
    for which, weights in (("best", state.best_weights), ("last", last)):
        state.model.set_weights(weights)
        _write_weights(state.model, path / f"{which}.weights.h5")
    losses = [row[3] for row in state.curves]
    runs.write_json(
        path / "finished.json",
        {
            "epochs": state.epoch,
            "best_epoch": int(np.argmin(losses)) + 1,
            "seconds": round(sum(row[-1] for row in state.curves), 1),
            "weights": {which: runs.digest(path / f"{which}.weights.h5") for which in runs.WEIGHTS},
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _write_weights(model: keras.Model, path: Path) -> None:
    """Write the weights whole, by way of a file beside it: Keras writes to paths that end with .weights.h5 only."""
    part = path.with_name(f".part.{path.name}")
    try:
        _check_space(path.parent, 2 * sum(array.nbytes for array in model.get_weights()) + HDF5_OVERHEAD)
        model.save_weights(part)
        with written_whole(path) as file:
            file.write(part.read_bytes())
    finally:
        part.unlink(missing_ok=True)


def _check_space(folder: Path, count: int) -> None:
    """Raise OSError unless so many bytes fit: on a full disk HDF5 may end the whole process."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(os.urandom(count))  # zeros take no space on some disks
        file.flush()
        os.fsync(file.fileno())
