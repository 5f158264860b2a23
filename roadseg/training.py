"""How a network is trained: the two steps, and the loop over epochs.

Batches come from `data`, results go to `runs`.

Tensors in a step: image float32 (batch, H, W, 3) in [0, 1]; mask, weight and probability float32 (batch, H, W, 1).
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import compress, product
from pathlib import Path

import numpy as np

from roadseg import backend, metrics, models, runs
from roadseg import data as road_data
from roadseg.backend import keras, tf
from roadseg.data import RoadData, Split
from roadseg.errors import OptionError, RunError, clock, explained, interruptible
from roadseg.optimization import RoadLoss, build_optimizer, scale_gradient
from roadseg.recipes import Recipe, get_recipe
from roadseg.storage import max_epochs, part_of, runs_folder

VALIDATION_BATCH = 8  # the course's
HDF5_OVERHEAD = 2**20  # bytes; more than a file of weights holds beside them
TENSORBOARD_IMAGES = 3
TICK = 1.0  # seconds between two reports within an epoch


# --- steps -----------------------------------------------------------------------------------------------------------


def train_step(model, image, mask, *, loss_fn, optimizer, running_loss, running_accuracy, weight=None):
    """Learn from one batch: predict, compute the loss, follow its gradient. Returns the probabilities (task 1)."""
    with tf.GradientTape() as tape:
        probability = model(image, training=True)
        loss = loss_fn(mask, probability, sample_weight=weight)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    running_loss.update_state(loss)
    running_accuracy.update_state(mask, probability, sample_weight=weight)
    return probability


def val_step(model, image, mask, *, loss_fn, running_loss, running_accuracy, weight=None):
    """Measure one batch and change nothing in the model. Returns the probabilities (task 2)."""
    probability = model(image, training=False)
    running_loss.update_state(loss_fn(mask, probability, sample_weight=weight))
    running_accuracy.update_state(mask, probability, sample_weight=weight)
    return probability


# --- the loop --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """What a callback receives before the first epoch (epoch 0), after each, and about every second within each.

    epoch : how many are complete; fraction : how much of the next one has been trained, in [0, 1), 0 between epochs.
    """

    title: str
    epoch: int
    epochs: int
    curves: dict[str, np.ndarray]
    prediction: np.ndarray | None  # uint8 (n, H, W), validation images
    validation_names: tuple[str, ...]
    seconds_per_epoch: float
    seconds_left: float
    fraction: float = 0.0


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
    network: Callable | None = None,
    strategy: str = "one",
    mixed_precision: bool = False,
    callback: Callable[[Progress], None] | None = None,
    log: Callable[[str], None] = print,
) -> runs.Run:
    """Train a network, or reuse or resume the run that these settings have already made.

    Parameters
    ----------
    model : simple, unet or unet-no-skip.
    recipe : the name of one of `recipes.RECIPES`, or a Recipe.
    data : what `roadseg.data.load` returns; None loads it.
    split : course or blocks.
    seed : of the weights, the order of the images and their random changes; it sets Keras's global seed. On one
        machine without a GPU the same seed gives the same curves to the last digit, in any process, interrupted or not;
        another number of cores changes the last digits. On a GPU, set TF_DETERMINISTIC_OPS=1 before Python starts.
    epochs : None is the recipe's number. The environment variable ROADSEG_EPOCHS caps either.
    out : folder of runs; None is ROADSEG_RUNS or the project's `runs`.
    step, validation_step : your own `train_step` and `val_step`. None takes the package's, and reuses a run
        of the same settings whoever wrote its steps.
    network : your own function that builds the `model` when called without arguments. It has to compute what the
        package's computes, and its weights are kept in the package's layers. None builds the package's.
    strategy : one device, or mirrored: each batch is shared between all GPUs, and the losses are the same.
    mixed_precision : multiply in float16 on a GPU, in bfloat16 on a processor that has instructions for it; the run
        has a recipe of its own, such as "fast-bfloat16". Reusing it requires such a machine, too.
    callback : called with a Progress before the first epoch, within each epoch and after it; once, at the end, for a
        reused run.
    log : called with one line at the end, which says whether the run was trained, resumed or reused, and with
        one when there is something to wait for or to resume.

    Raises
    ------
    OptionError : an unknown name, a number out of its range, or a network of your own that is not the model.
    RunError : the folder cannot be written, the loss is NaN, or the device has no memory left.
    Interrupted : Ctrl-C or Jupyter's stop button; whole epochs are kept.
    """
    data = road_data.load() if data is None else data
    callback = callback or (lambda progress: None)
    recipe, devices = get_recipe(recipe), backend.get_strategy(strategy)
    if (kept := (keras.config.floatx(), keras.config.image_data_format())) != ("float32", "channels_last"):
        raise OptionError(f"Keras is set to {', '.join(kept)}: expected float32, channels_last; set it back.")
    precision = "float32"
    if mixed_precision:
        if not (precision := backend.fast_precision()):
            raise OptionError(
                "mixed precision needs a GPU, or Linux and a processor that computes in bfloat16: leave it out here."
            )
        if devices.num_replicas_in_sync > 1:  # where Keras may miss an overflow
            raise OptionError("mixed precision is for one device only: leave it or the mirrored strategy out.")
        recipe = replace(recipe, name=f"{recipe.name}-{precision}")
    epochs = recipe.epochs if epochs is None else epochs
    if type(epochs) is not int or epochs < 1 or type(seed) is not int or not 0 <= seed < 2**31:  # True is an int, too
        expected = "whole numbers, epochs from 1 on, a seed from 0 to 2 ** 31 - 1"
        raise OptionError(f"epochs {epochs!r}, seed {seed!r}: expected {expected}.")
    try:
        keras.initializers.get(recipe.initializer)
    except (ValueError, TypeError):
        raise OptionError(f"initializer is {recipe.initializer!r}: expected a name that Keras knows.") from None
    for size in (data.size, _half(data.size)) if recipe.progressive_resizing else (data.size,):
        models.build(model, size=size)  # an unknown name or a size that does not fit is an error before anything starts
    if network and (recipe.initializer, recipe.standardize) != (Recipe.initializer, Recipe.standardize):
        raise OptionError(f"the recipe {recipe.name} changes the network itself: leave your own out, or use reported.")
    allowed = min(epochs, max_epochs())
    if allowed < epochs:
        log(f"ROADSEG_EPOCHS stops this run after {allowed} of {epochs} epochs: the text may not fit its result.")
    parts = road_data.split(data, split)
    steps = step or train_step, validation_step or val_step
    start = {"start_sha256": models.read_card(recipe.start)["sha256"]} if recipe.start else {}  # other weights may ship
    settings = {
        "model": model,
        "recipe": recipe.settings() | {"precision": precision} | start,
        "seed": seed,
        "split": split,
        "epochs": allowed,
        "size": list(data.size),
        "data": data.fingerprint,
        "source": data.source,
        "step": runs.source_digest(*steps, *([network] if network else [])),
        "train_count": len(parts.train),
        "validation_names": [data.names[i] for i in parts.validation],
        "versions": runs.versions(),
        "machine": runs.machine(),
        "devices": devices.num_replicas_in_sync,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run = None if step or validation_step or network else runs.find(settings, out=out)
    if run is None:
        path = runs.make_folder(out) / runs.key(settings)
        kept = f"{path.name} keeps the epochs that are complete; the same command or cell continues after them."
        with interruptible(kept), runs.locked(path, log=log):
            run = runs.find_at(path, log=log)
            if run is None:
                with devices.scope():
                    training = _Training(path, settings, recipe, data, parts, steps, devices, network)
                run = training.run_to_the_end(callback, log)
    if run.how == "reused":
        callback(_progress(run.path, run.settings, np.stack(list(run.curves.values()), axis=1)))
    place = run.path.name if run.path.parent == runs_folder(out) else run.path  # a shared one
    log(f"{run.how.capitalize()}: {run.title}, {clock(run.finished['seconds'])} minutes of training ({place}).")
    return run


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] // 2, size[1] // 2


def package_weights(model: keras.Model, package: keras.Model) -> Callable[[list], list]:
    """A function that puts the weights of a network in the order of the package's, which then computes the same.

    The two may differ in the names of their layers and in which part is concatenated first. The weights of `package`
    are overwritten. Raises OptionError where it computes something else in any order tried."""
    after_skip = [i for i, weight in enumerate(package.weights) if re.search(r"decoder\d_conv1/kernel", weight.path)]
    image = np.random.default_rng(0).random((1, *package.input_shape[1:]), np.float32)

    def arranged(weights: list, exchanged: tuple) -> list:
        return [np.roll(w, w.shape[2] // 2, axis=2) if i in exchanged else w for i, w in enumerate(weights)]

    given = model.get_weights()
    if [w.shape for w in given] == [tuple(w.shape) for w in package.weights]:
        expected = model(image, training=False)
        for chosen in product((False, True), repeat=len(after_skip)):
            exchanged = tuple(compress(after_skip, chosen))
            package.set_weights(arranged(given, exchanged))
            if np.allclose(package(image, training=False), expected, atol=1e-6):
                return partial(arranged, exchanged=exchanged)
    raise OptionError("the layers are not those of the package's network, or they are in another order")


class _Training:
    """A network, its optimizer, and what they have reached after a whole epoch: `save` writes all of it to state.npz,
    `restore` reads it back."""

    def __init__(
        self, path: Path, settings: dict, recipe: Recipe, data: RoadData, split: Split, steps, strategy, network
    ):
        self.path, self.settings, self.recipe, self.data, self.split = path, settings, recipe, data, split
        self.strategy, self.precision = strategy, settings["recipe"]["precision"]
        self.title = runs.title(settings)
        self.small_epochs = round(recipe.progressive_resizing * settings["epochs"])
        options = {"initializer": recipe.initializer, "standardize": recipe.standardize}
        build = partial(models.build, settings["model"], size=data.size, **options)
        self.in_package_order = package_weights(network(), build()) if network else list  # found in float32
        keras.utils.set_random_seed(settings["seed"])
        with backend.precision(self.precision):
            self.model = (network or build)()
            self.package = build() if network else self.model
        if recipe.start:
            models.start_from(self.package, recipe.start)
        self.optimizer = build_optimizer(
            recipe.learning_rate,
            cosine=recipe.cosine,
            cosine_floor=recipe.cosine_floor,
            muon=recipe.muon,
            ema=recipe.ema,
            steps=-(-len(split.train) // recipe.batch_size),
            epochs=settings["epochs"],
        )
        if self.precision == "float16":  # whose smallest numbers are too large for small gradients
            self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
        self.optimizer.build(self.model.trainable_variables)
        self.curves, self.steps = [], []  # rows of runs.CURVES and runs.STEPS
        self.best_loss, self.best_weights = np.inf, self.model.get_weights()
        self.running = {"running_loss": keras.metrics.Mean(), "running_accuracy": keras.metrics.BinaryAccuracy()}
        train_step, val_step = steps
        self.train_batch = self.train_small_batch = self.compile(train_step, self.model, optimizer=self.optimizer)
        if self.small_epochs:
            small_model = models.with_input_size(self.model, _half(data.size))
            self.train_small_batch = self.compile(train_step, small_model, optimizer=self.optimizer)
        self.validate_batch = self.compile(val_step, self.model)

    def compile(self, step: Callable, model: keras.Model, **options) -> Callable:
        """A step as a TensorFlow graph for batches of any length. It returns what the batch adds to the running loss
        and accuracy, float32 (2, 2), a sum and a count for each, and the probabilities."""
        replicas = self.strategy.num_replicas_in_sync

        def step_on_one_device(part, batch):
            image, mask, weight = part
            weights = {"weight": weight} if self.recipe.mask_excluded else {}
            loss_fn = plain = RoadLoss(self.recipe.dice, replicas, batch[2] if replicas > 1 else None)
            if self.precision == "float16":  # small gradients survive, and the optimizer takes the factor out again
                loss_fn = lambda *args, **kw: scale_gradient(plain(*args, **kw), self.optimizer.scale_loss(1.0))  # noqa: E731
            return step(model, image, mask, loss_fn=loss_fn, **self.running, **options, **weights)

        def totals():
            return tf.convert_to_tensor([[mean.total.value, mean.count.value] for mean in self.running.values()])

        def call(*batch):
            before = totals()
            probability, copies = backend.run_on_devices(self.strategy, step_on_one_device, batch)
            # the running loss gets one value a device, the running accuracy all pixels, as often as they are there
            return (totals() - before) / tf.cast([[replicas], [copies]], tf.float32), probability

        shape = [None, *model.input_shape[1:3]]
        return tf.function(call, input_signature=[tf.TensorSpec([*shape, 3]), *[tf.TensorSpec([*shape, 1])] * 2])

    def run_to_the_end(self, callback, log) -> runs.Run:
        """Train from the last whole epoch on the disk, or from the start."""
        with self.writing():
            (self.path / "predictions").mkdir(parents=True, exist_ok=True)
            for part in self.path.rglob(".*part*"):  # of a process that was killed
                part.unlink()
        if (self.path / "state.npz").is_file():
            try:
                self.restore()
                log(f"Resuming {self.title} after epoch {len(self.curves)} of {self.settings['epochs']}.")
            except RunError:
                log(f"{self.path / 'state.npz'} is damaged; {self.title} is trained from the start.")
        how = "resumed" if self.curves else "trained"
        with self.writing():
            runs.write_json(self.path / "settings.json", self.settings)
            folder = self.path / "tensorboard"
            shutil.rmtree(folder, ignore_errors=True)
            writers = [tf.summary.create_file_writer(str(folder / part)) for part in ("train", "validation")]
            for row in self.curves:
                self.log_to_tensorboard(row, *writers)
        report = partial(_progress, self.path, self.settings, self.curves)
        try:
            callback(report())
            for epoch in range(len(self.curves) + 1, self.settings["epochs"] + 1):
                prediction = self.run_epoch(epoch, lambda fraction, seconds: callback(report(fraction, seconds)))
                with self.writing():
                    self.save(prediction)
                    self.log_to_tensorboard(self.curves[-1], *writers)
                callback(report())
        except tf.errors.ResourceExhaustedError as error:
            raise RunError(
                f"{self.path.name}: there is no memory left on the device; shut down other notebooks' kernels, or "
                "take a smaller batch_size. The last whole epoch is kept."
            ) from error
        with self.writing():
            self.finish()
        return runs.open_run(self.path, how=how)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Explain what the disk refuses; never around what the caller's functions do."""
        with explained(RunError, self.path, "free space or set ROADSEG_RUNS to another folder; whole epochs are kept"):
            try:
                yield
            except tf.errors.OpError as error:
                raise OSError(f"TensorBoard's files in {self.path}") from error

    def run_epoch(self, epoch: int, tick: Callable[[float, float], None]) -> np.ndarray:
        """Train and validate for one epoch; `tick` gets the fraction that is trained and the seconds it took.

        Returns the road probabilities of the validation images, uint8 (n, H, W)."""
        started = time.perf_counter()
        small = epoch <= self.small_epochs
        batches = road_data.dataset(
            self.data,
            self.split.train,
            batch_size=self.recipe.batch_size,
            shuffle=True,
            random_flip=self.recipe.random_flip,
            random_zoom=self.recipe.random_zoom,
            color_jitter=self.recipe.color_jitter,
            camera_jitter=self.recipe.camera_jitter,
            half_resolution=small,
            seed=self.settings["seed"],
            epoch=epoch,
        )
        step = self.train_small_batch if small else self.train_batch
        (loss, accuracy), rows, _ = self.run_batches(step, batches, tick)
        learning_rate = float(keras.ops.convert_to_numpy(self.optimizer.learning_rate))
        if epoch == self.settings["epochs"]:  # where the recipe averages the weights, the averages are the result
            self.optimizer.finalize_variable_values(self.model.trainable_variables)
        held_out = road_data.dataset(self.data, self.split.validation, batch_size=VALIDATION_BATCH)
        (val_loss, val_accuracy), _, probability = self.run_batches(self.validate_batch, held_out)
        if not np.isfinite(loss + val_loss):
            raise RunError(f"the loss of {self.title} is NaN in epoch {epoch}: take a lower learning rate.")
        if val_loss < self.best_loss:
            self.best_loss, self.best_weights = val_loss, self.model.get_weights()
        self.steps += [(len(self.steps) + i, *row) for i, row in enumerate(rows, start=1)]
        seconds = time.perf_counter() - started
        self.curves.append((epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds))
        return np.round(255 * np.concatenate(probability)[..., 0]).astype(np.uint8)

    def run_batches(
        self, step: Callable, batches: tf.data.Dataset, tick: Callable[[float, float], None] | None = None
    ) -> tuple[list, list, list]:
        """Means of loss and accuracy over all batches and of each; of validation the probabilities of each, too.

        tick : called about every second with the fraction of batches that are done and the seconds they took."""
        for mean in self.running.values():
            mean.reset_state()
        added, probabilities = [], []
        started = last = time.perf_counter()
        for done, batch in enumerate(batches, start=1):
            sums, probability = step(*batch)
            added.append(sums)
            if not tick:
                probabilities.append(probability.numpy())
            elif (now := time.perf_counter()) - last > TICK and done < len(batches):
                last = now
                tick(done / len(batches), now - started)
        added = np.stack(added).astype(np.float64)
        added = np.concatenate([added.sum(0, keepdims=True), added])
        means = np.divide(added[..., 0], added[..., 1], out=np.zeros(added.shape[:-1]), where=added[..., 1] > 0)
        overall, *each = means.tolist()
        return overall, each, probabilities

    def save(self, prediction: np.ndarray) -> None:
        """Write the last epoch's predictions; then the state as one file, so that a run that is killed at any moment
        resumes from a whole epoch; then the curves as a table to look at."""
        path = self.path / "predictions" / runs.prediction_name(len(self.curves))
        runs.write_arrays(path, compress=True, probability=prediction)
        tables = {"curves": self.curves, "steps": self.steps, "best_loss": self.best_loss}
        tables = {name: np.array(table, np.float64) for name, table in tables.items()}
        runs.write_arrays(self.path / "state.npz", **tables, **self.weights())
        runs.write_csv(self.path / "curves.csv", runs.CURVES, self.curves)

    def restore(self) -> None:
        """Read the state back; RunError where it is damaged or of another network, and then nothing has changed."""
        kept, expected = runs.read_run_arrays(self.path / "state.npz"), self.weights()
        tables = [kept.pop(name, np.empty(0)) for name in ("curves", "steps", "best_loss")]
        found, fits = ({name: (a.shape, a.dtype) for name, a in arrays.items()} for arrays in (kept, expected))
        if found != fits or [table.ndim for table in tables] != [2, 2, 0]:
            raise RunError(f"{self.path / 'state.npz'} is of another network: delete {self.path} and train again.")
        self.model.set_weights([kept[f"model_{i}"] for i in range(len(self.best_weights))])
        self.best_weights = [kept[f"best_{i}"] for i in range(len(self.best_weights))]
        for i, variable in enumerate(self.optimizer.variables):
            variable.assign(kept[f"optimizer_{i}"])
        self.curves, self.steps = ([tuple(row) for row in table.tolist()] for table in tables[:2])
        self.best_loss = float(tables[2])

    def weights(self) -> dict[str, np.ndarray]:
        """The weights of the network, its best ones, and the optimizer's variables, each under a name of its own."""
        optimizer = [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in self.optimizer.variables]
        parts = {"model": self.model.get_weights(), "best": self.best_weights, "optimizer": optimizer}
        return {f"{part}_{i}": array for part, arrays in parts.items() for i, array in enumerate(arrays)}

    def log_to_tensorboard(self, row: tuple, train: tf.summary.SummaryWriter, validation: tf.summary.SummaryWriter):
        """Show one epoch, a row of `runs.CURVES`, and its predictions in red, in TensorBoard."""
        epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds = row
        road = runs.read_prediction(self.path, int(epoch))[:TENSORBOARD_IMAGES, ..., None] >= 128
        images = self.data.images[self.split.validation[:TENSORBOARD_IMAGES]]
        in_red = np.where(road, images // 2 + np.array([127, 0, 0], np.uint8), images)
        trained = {"loss": loss, "accuracy": accuracy, "learning rate": learning_rate, "seconds an epoch": seconds}
        for writer, scalars in ((train, trained), (validation, {"loss": val_loss, "accuracy": val_accuracy})):
            with writer.as_default(step=int(epoch)):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
                if writer is validation:
                    tf.summary.image("predicted road", in_red, max_outputs=TENSORBOARD_IMAGES)
            writer.flush()

    def finish(self) -> None:
        """Write the tables (a kill may have kept the last line of the curves from the disk) and weights, and last of
        all the file that makes the run a finished one."""
        runs.write_csv(self.path / "curves.csv", runs.CURVES, self.curves)
        runs.write_csv(self.path / "steps.csv", runs.STEPS, self.steps)
        for which, weights in (("last", self.model.get_weights()), ("best", self.best_weights)):
            self.package.set_weights(self.in_package_order(weights))
            _write_weights(self.package, self.path / f"{which}.weights.h5")
        finished = {
            "epochs": len(self.curves),
            "best_epoch": int(np.argmin([row[3] for row in self.curves])) + 1,
            "seconds": round(sum(row[-1] for row in self.curves), 1),
            "parameters": self.model.count_params(),
            "weights": {which: runs.digest(self.path / f"{which}.weights.h5") for which in runs.WEIGHTS},
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        runs.write_json(self.path / "finished.json", finished)


def _progress(path: Path, settings: dict, rows, fraction: float = 0.0, elapsed: float = 0.0) -> Progress:
    """The Progress of a run of these settings whose curves have these rows, `elapsed` seconds into the next epoch."""
    table = np.array(rows, np.float64).reshape(-1, len(runs.CURVES))
    epoch = len(table)
    seconds = float(np.median(table[:, -1])) if epoch else elapsed / fraction if fraction else 0.0
    return Progress(
        title=runs.title(settings),
        epoch=epoch,
        epochs=settings["epochs"],
        curves=dict(zip(runs.CURVES, table.T)),
        prediction=runs.read_prediction(path, epoch) if epoch else None,
        validation_names=tuple(settings["validation_names"]),
        seconds_per_epoch=seconds,
        seconds_left=seconds * (settings["epochs"] - epoch - fraction),
        fraction=fraction,
    )


def _write_weights(model: keras.Model, path: Path) -> None:
    """Write the weights whole, by way of a file beside it: Keras writes to paths that end with .weights.h5 only.

    Raises OSError where they do not fit: on a full disk HDF5 may end the whole process, so the space is tried first.
    """
    with tempfile.TemporaryFile(dir=path.parent) as file:
        file.write(os.urandom(2 * sum(array.nbytes for array in model.get_weights()) + HDF5_OVERHEAD))
        file.flush()
        os.fsync(file.fileno())
    with part_of(path) as part:
        model.save_weights(part)


# --- progress of other loops -----------------------------------------------------------------------------------------


class TimeLeft(keras.callbacks.Callback):
    """A line below a notebook's cell, renewed every second: how far Keras's `fit` is, and how long the rest takes.

    A callback of `fit`, or of `fits` of them in a row, which share the line. For a loop of your own, `around` makes a
    training step that counts; `steps` is then the number of steps in all.
    """

    def __init__(self, title: str, *, fits: int = 1, steps: int = 0):
        from IPython import display, get_ipython

        super().__init__()
        self.title, self.fits, self.steps = title, fits, steps
        self.done, self.started, self.last = 0.0, time.perf_counter(), 0.0  # done: the fraction of all steps
        first = {"text/plain": f"{title}: the first step is under way"}
        self.line = display.display(first, raw=True, display_id=True) if get_ipython() else None  # not in a script

    def around(self, step: Callable) -> Callable:
        """The same step, which is counted."""

        def counting(*batch, **options):
            result = step(*batch, **options)
            self.on_train_batch_end()
            return result

        return counting

    def on_train_batch_end(self, batch=None, logs=None):
        """Count a step, and renew the line where a second has passed."""
        self.done += 1 / (self.fits * (self.steps or self.params["epochs"] * self.params["steps"]))
        now, over = time.perf_counter(), self.done > 1 - 1e-6
        if self.line and (now - self.last > TICK or (over and self.last < math.inf)):
            self.last, passed = math.inf if over else now, now - self.started
            left = f"{self.done:.0%}, about {clock(passed * (1 / self.done - 1))} minutes left"
            told = f"done in {clock(passed)} minutes" if over else left
            self.line.update({"text/plain": f"{self.title}: {told}"}, raw=True)


# --- using a trained network -----------------------------------------------------------------------------------------


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Road probabilities float32 (n, H, W) of uint8 images (n, H, W, 3); of a softmax, (n, H, W, classes).

    Raises OptionError for other arrays, such as images that are divided by 255 already, and where n is 0.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise OptionError(f"images: expected uint8 (n, H, W, 3), from 0 to 255, found {images.dtype} {images.shape}.")
    batches = (images[start : start + VALIDATION_BATCH] for start in range(0, len(images), VALIDATION_BATCH))
    probability = np.concatenate([model(batch.astype(np.float32) / 255, training=False).numpy() for batch in batches])
    return probability[..., 0] if probability.shape[-1] == 1 else probability


def evaluate(
    run: runs.Run, data: RoadData, *, images: str = "validation", tta: bool = False
) -> dict[str, dict[str, float]]:
    """Scores of a run's last weights by category and for all together, as `roadseg.metrics.report` returns them;
    excluded pixels are left out.

    images : all, or the run's own validation images; tta : with test-time augmentation, as `roadseg.models` has it.
    Raises OptionError where the validation images are not among the data.
    """
    where, probability = predict_chosen(run, data, images, tta=tta)
    return metrics.report(probability, data.masks[where], data.valid[where], data.categories[where])


def predict_chosen(run: runs.Run, data: RoadData, images: str, *, tta: bool) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the images to score, int (n,), and what a run's last weights predict for them; as `evaluate`."""
    where, model = choose_images(run, data, images), run.model()
    return where, predict(models.with_test_time_augmentation(model) if tta else model, data.images[where])


def choose_images(run: runs.Run, data: RoadData, images: str) -> np.ndarray:
    """Positions, int (n,), of the images to score: "all", or the run's "validation" images. OptionError as above."""
    if images not in ("validation", "all"):
        raise OptionError(f"images is {images!r}: choose validation or all.")
    if images == "validation" and data.fingerprint != run.settings["data"]:
        raise OptionError(
            f"{run.path.name} was trained on other images than these, so its validation images are not among them: "
            "score all of them (--images all)."
        )
    if list(data.size) != run.settings["size"]:
        raise OptionError(f"{run.path.name} takes images of {run.settings['size']} pixels: load these with that size.")
    names = run.validation_names if images == "validation" else data.names
    return np.array([data.names.index(name) for name in names])
