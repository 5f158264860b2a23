"""Call a student's step on given arrays and note what it does: arrays go in, arrays come out, nothing of Keras crosses.

Arrays: image float32 (batch, 16, 16, 3) in [0, 1]; mask and probability float32 (batch, 16, 16, 1).

`trials(seed)` draws what a step is tried with; `observe_step` calls it with small models, losses, optimizers and
metrics that note how they are used. What comes back can be pickled, so that grading can run it in another process
than the judge. Nothing of TensorFlow's or Keras's is patched; settings that a trial needs are set back after it.
"""

from __future__ import annotations

import io
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache, partial, partialmethod
from itertools import dropwhile
from pathlib import Path
from sysconfig import get_path
from types import CodeType
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from roadseg import training
from roadseg.backend import keras, tf
from roadseg.errors import interruptible
from roadseg.runs import code_of

SIZE = 16
SEED = 0  # of the instant check; grading takes another
COUNTED = 3.0  # what the running metrics have counted before the first step, so that resetting them shows
OPTIONS = {
    "train_step": ("loss_fn", "optimizer", "running_loss", "running_accuracy"),
    "val_step": ("loss_fn", "running_loss", "running_accuracy"),
}
PACKAGE = (training.train_step.__code__, training.val_step.__code__)
MOST_CALLS = 12  # of the model in one step
KERAS_LOOPS = (
    *("fit", "train_on_batch", "evaluate", "test_on_batch", "predict", "predict_on_batch"),
    *("train_step", "test_step", "compute_loss"),
)
SETTINGS = ("learning_rate", "momentum", "nesterov", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm")
PACKAGES = [str(Path(module.__file__).parents[1]) for module in (keras, np)]
LIBRARIES = (*PACKAGES, get_path("stdlib"), "__autograph_generated", "<frozen")  # whose frames are not the student's
STOPPED = "The check was stopped before your function ended: look for a `while`, a long loop, or a line that waits"


# --- running what students wrote -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """An error of the student's code: its kind, its message in one line, and the line of code that raised it.

    own : whether that line itself raised it, and not a function that it called.
    """

    kind: str
    text: str
    number: int = 0
    line: str = ""
    own: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind

    @property
    def located(self) -> str:
        """The error and, where it is known, its line, as Markdown."""
        return f"`{self}`" + (f", in line {self.number}, `{self.line}`" if self.line else "")


def caught(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Run the student's code: what it gives, or the error that it ends with. Only an interrupt passes."""
    try:
        return call(), None
    except (Exception, SystemExit) as error:  # whatever it raises is what the check is about
        return None, error


def attempt(call: Callable[[], Any], code: CodeType | None = None) -> tuple[Any, Failure | None]:
    """Run the student's code: what it gives, or how it failed."""
    value, error = caught(call)
    return value, failure(error, code) if error else None


def failure(error: BaseException, code: CodeType | None) -> Failure:
    """Describe an error, with the last line of code outside of the libraries that it passed."""
    try:
        whole = str(error)
    except Exception:  # an error of the student's own making may fail at this, too
        whole = ""
    text, frames = _one_line(whole), traceback.extract_tb(error.__traceback__)
    here = str(Path(__file__).parent)
    own = [frame for frame in frames if not frame.filename.startswith((*LIBRARIES, here))]
    places = [(frame.name, frame.lineno, frame.line or "") for frame in own]
    if code:  # in a compiled function, the places are in the text of the error
        pattern = rf'File "{re.escape(code.co_filename)}", line (\d+), in (\w+) .*\n\s+(.+)'
        places = [(name, int(n), line) for n, name, line in re.findall(pattern, whole)] or places
    if not places:
        return Failure(type(error).__name__, text)
    name, number, line = places[-1]
    first = code.co_firstlineno if code and name == code.co_name else 1
    return Failure(type(error).__name__, text, number - first + 1, line.replace("`", "'"), own[-1:] == frames[-1:])


def _one_line(text: str) -> str:
    """What an error says, without what differs from run to run, colors, and names of TensorFlow's parts."""
    noise = r"\x1b\[[\d;]*m| at 0x[0-9a-fA-F]+|\{\{.*?\}\} ?| \[Op:.*|, value=.*|(?<=[a-z])(?:_\d+)+(?![a-z\d])"
    noise += r"|(?<=keras)\._tf_keras\.keras"
    lines = [line.strip() for line in re.sub(noise, "", text).replace("`", "'").splitlines()]
    if lines[:1] == ["in user code:"]:  # a compiled function: the error comes after the places
        kind = re.compile(r"\w*(Error|Exception): ?")
        lines = [kind.sub("", line, count=1) for line in dropwhile(lambda line: not kind.match(line), lines)]
    wrapper = "Exception encountered when calling", "Could not automatically infer"  # Keras: the error comes next
    return next((line for line in lines if line and not line.startswith(wrapper)), "")[:200].removesuffix(".")


def rewritten(source: str, *changes: tuple[str, str]) -> str | None:
    """Code with some of its text replaced, as (old, new); None where an old text is not in it."""
    for old, new in changes:
        if old not in source:
            return None
        source = source.replace(old, new)
    return source


@contextmanager
def aside() -> Iterator[None]:
    """Print and warn about nothing, compute in float32 on the processor; the settings are as before afterwards.

    An interrupt says in one line what to do.
    """
    logger, level, drawn = tf.get_logger(), tf.get_logger().level, random.getstate()  # building draws random numbers
    eagerly, policy = tf.config.functions_run_eagerly(), keras.config.dtype_policy()
    floats, order = keras.config.floatx(), keras.config.image_data_format()
    filtered = [owner for owner in (keras.config, tf.debugging) if owner.is_traceback_filtering_enabled()]
    logger.setLevel("ERROR")
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    for owner in filtered:  # the frames that an error is read from are usually cut out
        owner.disable_traceback_filtering()
    try:
        with interruptible(STOPPED), redirect_stdout(io.StringIO()), catch_warnings(), tf.device("CPU"):
            simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        random.setstate(drawn)
        tf.config.run_functions_eagerly(eagerly)
        keras.config.set_floatx(floats)
        keras.config.set_image_data_format(order)
        keras.config.set_dtype_policy(policy)
        for owner in filtered:
            owner.enable_traceback_filtering()


def plain(thing: Any) -> Any:
    """A tensor as an array, a list or tuple item by item, None as it is; anything else in words, by its type."""
    if isinstance(thing, list | tuple):
        return [plain(part) for part in thing]
    if keras.ops.is_tensor(thing) or isinstance(thing, keras.Variable | tf.Variable):
        try:
            thing = np.array(keras.ops.convert_to_numpy(thing))
        except Exception:  # a symbol of a graph; each kind has its own error
            return "a symbol without a value"
    numbers = isinstance(thing, np.ndarray | np.generic | bool | int | float) and np.asarray(thing).dtype.kind in "biuf"
    if numbers or thing is None or thing is ...:
        return np.array(thing) if numbers else thing
    return f"something of type `{type(thing).__name__}`"


# --- what a step is tried with ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trial:
    """What a step is tried with: a model, its weights, a loss, an optimizer's settings, and batches.

    second : which of two models; loss : crossentropy, steep (whoever clips, clips here) or flat (zero: nothing may
    move a weight); built : whether the optimizer has its variables already; compiled : whether the step is.
    """

    weights: tuple[np.ndarray, ...]
    batches: tuple[tuple[np.ndarray, np.ndarray], ...]
    second: bool = False
    loss: str = "crossentropy"
    rate: float = 0.1
    momentum: float = 0.9
    built: bool = True
    compiled: bool = False


LOSSES = {
    "crossentropy": keras.losses.binary_crossentropy,
    "steep": lambda truth, predicted: 1e4 * keras.losses.mean_squared_error(truth, predicted),
    "flat": lambda truth, predicted: 0.0 * keras.losses.mean_squared_error(truth, predicted),
}


@cache
def trials(seed: int = SEED) -> tuple[Trial, ...]:
    """Three that run step by step and two that are compiled, on two models, with batches of several lengths."""
    random = np.random.default_rng(seed)
    with aside():
        networks = (_network(keras.Model, second=second) for second in (False, True))
        first, second = (tuple(_start(weight, random) for weight in network.weights) for network in networks)
    four, three, two = (_batch(random, count) for count in (4, 3, 2))
    return (
        Trial(first, (four, two), built=False),
        Trial(second, (three,), second=True, loss="steep", rate=1e-5),
        Trial(first, (two,), loss="flat", rate=10.0, momentum=0.0),
        Trial(first, (four, two), compiled=True),
        Trial(second, (three,), second=True, compiled=True),
    )


def _start(weight: keras.Variable, random: np.random.Generator) -> np.ndarray:
    """Values about 1 for a scale, about 0 otherwise; the last kernel's are large: the model is sure of some pixels."""
    usual = 1.0 if weight.path.endswith(("gamma", "moving_variance")) else 0.0
    spread = 2.4 if weight.path == "score/kernel" else 0.8
    return (usual + random.uniform(-spread, spread, size=weight.shape)).astype(np.float32)


def _batch(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brighter where there is road, which is a third of it."""
    mask = (random.uniform(size=(count, SIZE, SIZE, 1)) < 1 / 3).astype(np.float32)
    return (random.uniform(size=(count, SIZE, SIZE, 3)).astype(np.float32) + mask) / 2, mask


# --- parts that note what is done with them; to the student's code they look like the classes that they come from ----


class Noting:
    """What notes, once its kit has given it a log."""

    note = staticmethod(lambda what, *values: None)


class First(Noting, keras.layers.Conv2D):
    """The first layer: notes the image, and the mode."""

    def call(self, inputs, training=None):
        self.note("forward", inputs, training)
        return super().call(inputs)


class Last(Noting, keras.layers.Conv2D):
    """The last layer: notes the prediction."""

    def call(self, inputs):
        prediction = super().call(inputs)
        self.note("prediction", prediction)
        return prediction


class Model(Noting, keras.Model):
    """Notes when it is called, and by whom; refuses Keras's own loops."""

    def __call__(self, *inputs, **options):
        by_package = any(frame.f_code in PACKAGE for frame, _ in traceback.walk_stack(sys._getframe()))
        self.note("call", inputs[0] if inputs else options.get("inputs"), by_package)
        return super().__call__(*inputs, **options)


class KerasLoop(Exception):
    """The step calls one of Keras's own loops."""


class EndlessCalls(Exception):
    """The step calls the model far more often than there are images in a batch."""


def _refuse(model: Model, loop: str, *arguments, **options) -> None:
    raise KerasLoop(loop)


for _loop in KERAS_LOOPS:
    setattr(Model, _loop, partialmethod(_refuse, _loop))


class Loss(keras.losses.Loss):
    """The mean of a penalty over all pixels; notes what it is given."""

    def __init__(self, penalty: Callable, note: Callable) -> None:
        super().__init__(name="loss")
        self.penalty, self.note = penalty, note

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            self.note("loss weights", sample_weight)
        value = super().__call__(y_true, y_pred, sample_weight)
        self.note("loss value", value)
        return value

    def call(self, y_true, y_pred):
        self.note("loss", y_true, y_pred)
        return self.penalty(y_true, y_pred)


class Optimizer(Noting, keras.optimizers.SGD):
    """Moves each weight in proportion to its gradient, so that a wrong scale shows; notes both."""

    def apply_gradients(self, *pairs, **options):
        self.note("apply_gradients")
        return super().apply_gradients(*pairs, **options)

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is not None:
            grads, trainable_variables = list(grads), list(trainable_variables)
        elif not self.built:  # the workbook builds optimizers before it trains, so weights may be left out
            self.build(self.model_variables)
        variables = self.model_variables if trainable_variables is None else trainable_variables
        names = [getattr(variable, "path", None) or type(variable).__name__ for variable in variables]
        self.note("apply", grads if isinstance(grads, list | tuple) else None, tuple(names))
        super().apply(grads, trainable_variables)
        self.note("applied")


class Metric(Noting):
    """Notes what it is given, and when it is reset."""

    def update_state(self, *values, **options):
        self.note(self.name, *values, *options.values())
        return super().update_state(*values, **options)

    def reset_state(self):
        self.note("reset")
        return super().reset_state()


class Mean(Metric, keras.metrics.Mean):
    """The running loss."""


class BinaryAccuracy(Metric, keras.metrics.BinaryAccuracy):
    """The running accuracy."""


def _network(kind: type[keras.Model], *, second: bool) -> keras.Model:
    """A small model; the first one has what tells a right step from one that only looks right: batch normalization,
    which works differently in training and keeps averages, a frozen layer, and weights of equal shapes."""
    layers = keras.layers
    inputs = x = keras.Input((SIZE, SIZE, 3), name="image")
    parts = [
        First(4, 3, padding="same", activation="tanh", kernel_initializer="zeros", name="edges"),
        layers.BatchNormalization(momentum=0.5, name="normal"),
        layers.Conv2D(4, 1, activation="tanh", kernel_initializer="zeros", name="fixed", trainable=False),
        layers.Conv2D(4, 3, padding="same", activation="tanh", kernel_initializer="zeros", name="shapes"),
        Last(1, 1, activation="sigmoid", kernel_initializer="zeros", name="score"),
    ]
    for layer in [part for part in parts if not second or part.name in ("edges", "score")]:
        x = layer(x)
    return kind(inputs, x, name="model")


# --- observing a step ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class State:
    """What a step may change: weights (by name), which are trainable, (sum, count) of the metrics, the optimizer's
    settings, and how many steps it has counted."""

    weights: dict[str, np.ndarray]
    trainable: tuple[str, ...]
    totals: np.ndarray
    settings: dict[str, str]
    applied: int


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a step: the batch, the events in it as (what, values), what it changed and returned, or its error."""

    image: np.ndarray
    mask: np.ndarray
    events: tuple[tuple[str, tuple], ...]
    before: State
    after: State
    returned: Any
    error: Failure | None

    def noted(self, what: str) -> list[tuple]:
        """The values of each event of a kind."""
        return [values for name, values in self.events if name == what]


class Kit:
    """A model, and all else that a step is called with; all of it notes in `events` what is done with it."""

    def __init__(self, *, second: bool, kind: type[keras.Model] = Model) -> None:
        self.events: list[tuple[str, tuple]] = []
        self.muted = False
        self.model = _network(kind, second=second)
        self.trainable = [layer.trainable for layer in self.model.layers]
        for part in (self.model, *self.model.layers):
            part.note = self._note

    def _note(self, what: str, *values: Any) -> None:
        if not self.muted:
            kept = [plain(value) for value in values]
            if what == "apply":
                kept[-1] = values[-1]  # the names of the weights
            self.events.append((what, tuple(kept)))
            if what == "call" and sum(event == "call" for event, _ in self.events) > MOST_CALLS:
                raise EndlessCalls

    def start(self, trial: Trial) -> None:
        """Be as new, for a trial."""
        self.muted = trial.compiled
        for layer, trainable in zip(self.model.layers, self.trainable):
            layer.trainable = trainable
        for variable, value in zip(self.model.weights, trial.weights):
            variable.assign(value)
        self.loss_fn = Loss(LOSSES[trial.loss], self._note)
        self.optimizer = Optimizer(trial.rate, momentum=trial.momentum, name="optimizer")
        self.optimizer.model_variables = self.model.trainable_variables
        if trial.built:
            self.optimizer.build(self.model.trainable_variables)
        self.running_loss, self.running_accuracy = Mean(name="running_loss"), BinaryAccuracy(name="running_accuracy")
        for metric in (self.running_loss, self.running_accuracy):
            metric.total.assign(COUNTED)
            metric.count.assign(COUNTED)
        for part in (self.optimizer, self.running_loss, self.running_accuracy):
            part.note = self._note
        self.totals = [[metric.total, metric.count] for metric in (self.running_loss, self.running_accuracy)]

    def state(self) -> State:
        """What a step may change, as it is now."""
        return State(
            {variable.path: plain(variable).astype(np.float64) for variable in self.model.variables},
            tuple(variable.path for variable in self.model.trainable_variables),
            np.array(self.totals, np.float64),  # which a step may replace, as in `running_loss.total += loss`
            {name: repr(plain(getattr(self.optimizer, name, None))) for name in SETTINGS},
            int(plain(self.optimizer.iterations)),
        )


def observe_step(
    function: Callable, name: str, tried: tuple[Trial, ...], *, kits: dict[bool, Kit] | None = None
) -> list[list[Step]]:
    """Call a step on the batches of each trial. A trial ends at an error; one that is compiled runs only without one.

    kits : the models to use, by `Trial.second`; None makes new ones.
    """
    kits = {} if kits is None else kits
    seen: list[list[Step]] = []
    for trial in tried:
        if trial.compiled and any(step.error for steps in seen for step in steps):
            seen.append([])
            continue
        if trial.second not in kits:
            kits[trial.second] = Kit(second=trial.second)
        seen.append(_tried(function, name, trial, kits[trial.second]))
    return seen


def _tried(function: Callable, name: str, trial: Trial, kit: Kit) -> list[Step]:
    kit.start(trial)
    options = {option: getattr(kit, option) for option in OPTIONS[name]}

    def call(image: tf.Tensor, mask: tf.Tensor) -> Any:
        return function(kit.model, image, mask, **options)

    if trial.compiled:  # with the length of the batch left open, as in training
        call = tf.function(call, input_signature=[tf.TensorSpec([None, SIZE, SIZE, depth]) for depth in (3, 1)])
    steps = []
    for image, mask in trial.batches:
        tf.config.run_functions_eagerly(not trial.compiled)  # each time: a step may set it, too
        kit.events.clear()
        before = kit.state()
        value, error = attempt(partial(call, tf.constant(image), tf.constant(mask)), code_of(function))
        events = tuple(kit.events)  # before the state is read, which notes nothing
        steps.append(Step(image, mask, events, before, kit.state(), plain(value), error))
        if error:
            break
    return steps
