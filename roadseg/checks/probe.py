"""A reader's step on small batches, all that it does noted, and Keras's own step on an equal model beside it.

Arrays: image float32 (batch, 16, 16, 3) in [0, 1]; road and probability float32 (batch, 16, 16, 1).

The model holds what tells a right step from one that only looks right: batch normalisation, which works otherwise in
training and keeps averages; a layer that is not to be trained; weights of equal shapes. Nothing here draws on a seed of
others, and what is set for the time of a trial is set back after it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import cache, partial, wraps
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from roadseg.backend import keras, tf
from roadseg.checks.result import BUSY, Attempt, TimeUp, attempt

SIZE = 16
FILTERS = 4
BATCHES = (4, 2)  # pictures in the first and in the second batch: unequal, as at the end of an epoch
KERAS_LOOPS = (
    *("fit", "train_on_batch", "evaluate", "test_on_batch", "predict", "predict_on_batch"),
    *("train_step", "test_step", "compute_loss"),
)
METRICS = ("running_loss", "running_accuracy")
PRECISION = 1e-3  # of the largest number that is compared; float32 sums in another order are off by 1e-6
NOISE = 1e-6
NUMBERS = "biuf"  # NumPy's kinds of real numbers; text that looks like one is none
SURE = 3.0  # how far the last kernel is stretched, so that predictions come close to 0 and to 1
COUNTED = 3.0  # what the running metrics have counted before the first step, so that resetting them shows
SECONDS = 1.5  # what the steps of one check may take together before they are called endless; right ones take 0.2
MODELS = 40  # as many models could be built meanwhile, where that takes longer: the machine is slow, not the step
COMPILED_SECONDS = 20.0  # what one compiled step may take, with its recording
SETTINGS = ("momentum", "nesterov", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema")


@dataclass(frozen=True)
class Setting:
    """What a step is tried with: a loss, how steep it is, an optimiser, and how many steps."""

    penalty: Callable = keras.losses.binary_crossentropy
    scale: float = 1.0
    learning_rate: float = 0.1
    momentum: float = 0.9
    steps: int = 2


PLAIN = Setting()
ONCE = Setting(steps=1)
STEEP = Setting(keras.losses.mean_squared_error, scale=1e4, learning_rate=1e-5, steps=1)  # whoever clips, clips here
DOUBLED = Setting(scale=2.0, steps=1)
FLAT = Setting(scale=0.0, learning_rate=10.0, momentum=0.0, steps=1)  # the loss is zero: nothing may move a weight


class KerasLoop(Exception):
    """The step calls one of Keras's own loops."""


@dataclass(frozen=True, eq=False)
class Event:
    """Something that happened in a step, with arrays as they were then; None stands for what has no value."""

    what: str
    values: tuple


class Log:
    """Takes down what happens, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, what: str, *values: Any) -> None:
        self.events.append(Event(what, tuple(_value(value) for value in values)))


def _value(thing: Any) -> Any:
    """A tensor as an array; a list item by item; anything else as it is, and a tensor without a value as None."""
    if isinstance(thing, list | tuple):
        return [_value(part) for part in thing]
    if isinstance(thing, np.ndarray):
        return thing.copy()
    if not (keras.ops.is_tensor(thing) or isinstance(thing, keras.Variable | tf.Variable)):
        return thing
    try:
        return np.array(keras.ops.convert_to_numpy(thing))
    except Exception:  # a symbol of a graph; each kind has its own error
        return None


def _unheard(what: str, *values: Any) -> None:
    """Stands in for a Log."""


# These look to the reader's code, and in its errors, like the classes that they come from.


class Entrance(keras.layers.Layer):
    """The first layer: hands on the image, and tells in which mode."""

    note = staticmethod(_unheard)

    def call(self, inputs, training=None):
        self.note("forward", inputs, training)
        return inputs


class Conv2D(keras.layers.Conv2D):
    """The last layer: tells the prediction."""

    note = staticmethod(_unheard)

    def call(self, inputs):
        prediction = super().call(inputs)
        self.note("prediction", prediction)
        return prediction


class Model(keras.Model):
    """Tells when it is called, and refuses Keras's own loops."""

    note = staticmethod(_unheard)

    def __call__(self, *inputs, **options):
        self.note("call", inputs[0] if inputs else options.get("inputs"))
        return super().__call__(*inputs, **options)


def _refusing(loop: str) -> Callable:
    def refuse(self, *arguments, **options):
        raise KerasLoop(loop)

    return refuse


for _loop in KERAS_LOOPS:
    setattr(Model, _loop, _refusing(_loop))


class Loss(keras.losses.Loss):
    """The mean of a penalty over all pixels."""

    note = staticmethod(_unheard)

    def __init__(self, setting: Setting) -> None:
        super().__init__(name="loss")
        self.setting = setting

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            self.note("loss weights", sample_weight)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        self.note("loss", y_true, y_pred)
        penalties = self.setting.scale * self.setting.penalty(y_true, y_pred)
        self.note("loss done")
        return penalties


class Optimizer(keras.optimizers.SGD):
    """Moves each weight in proportion to its gradient, so that a wrong scale shows."""

    note = staticmethod(_unheard)

    def apply_gradients(self, *pairs, **options):
        self.note("apply_gradients")
        return super().apply_gradients(*pairs, **options)

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is not None:
            grads, trainable_variables = list(grads), list(trainable_variables)
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        gradients = grads if isinstance(grads, list | tuple) else None
        self.note("apply", gradients, [weight_name(variable) for variable in variables])
        super().apply(grads, trainable_variables)
        self.note("apply done")


class Mean(keras.metrics.Mean):
    """The running loss."""

    note = staticmethod(_unheard)

    def update_state(self, *values, **options):
        self.note("running_loss", *values, *options.values())
        return super().update_state(*values, **options)

    def reset_state(self):
        self.note("reset")
        return super().reset_state()


class BinaryAccuracy(keras.metrics.BinaryAccuracy):
    """The running accuracy."""

    note = staticmethod(_unheard)

    def update_state(self, *values, **options):
        self.note("running_accuracy", *values, *options.values())
        return super().update_state(*values, **options)

    def reset_state(self):
        self.note("reset")
        return super().reset_state()


def weight_name(variable: Any) -> str:
    """Such as "edges/kernel"; the type of what is no variable of Keras."""
    return getattr(variable, "path", type(variable).__name__)


@dataclass(frozen=True, eq=False)
class State:
    """All that a step may change.

    weights : name to float64 array, of whatever the model holds.
    trainable : the names of those that training is to move.
    totals : what the running loss and the running accuracy have added up, and of how many: float64 (2, 2).
    learning_rate, iterations : of the optimiser.
    settings : what else is set in the optimiser, name to text.
    """

    weights: dict[str, np.ndarray]
    trainable: tuple[str, ...]
    totals: np.ndarray
    learning_rate: float
    iterations: int
    settings: dict[str, str]


class Kit:
    """A new model, and all else that a step is called with; all of it notes in the log what is done with it."""

    def __init__(self, setting: Setting, kind: type[keras.Model], *, counted: float = 0.0) -> None:
        self.log = Log()
        self.model = _network(kind)
        self.loss_fn = Loss(setting)
        self.optimizer = Optimizer(setting.learning_rate, momentum=setting.momentum, name="optimizer")
        self.optimizer.build(self.model.trainable_variables)
        self.running_loss = Mean(name="running_loss")
        self.running_accuracy = BinaryAccuracy(name="running_accuracy")
        for metric in (self.running_loss, self.running_accuracy):
            metric.total.assign(counted)
            metric.count.assign(counted)
        parts = (*self.model.layers, self.loss_fn, self.optimizer, self.running_loss, self.running_accuracy)
        for part in (self.model, *parts):
            part.note = self.log

    def options(self, *, training: bool) -> dict[str, Any]:
        """The keyword arguments of a step."""
        metrics = {"running_loss": self.running_loss, "running_accuracy": self.running_accuracy}
        return {"loss_fn": self.loss_fn, **({"optimizer": self.optimizer} if training else {}), **metrics}

    def state(self) -> State:
        """All that a step may change, as it is now."""
        weights = {weight_name(variable): _value(variable).astype(np.float64) for variable in self.model.variables}
        sums = [[_value(metric.total), _value(metric.count)] for metric in (self.running_loss, self.running_accuracy)]
        trainable = tuple(weight_name(variable) for variable in self.model.trainable_variables)
        rate, iterations = float(self.optimizer.learning_rate), int(_value(self.optimizer.iterations))
        settings = {name: repr(_value(getattr(self.optimizer, name, None))) for name in SETTINGS}
        return State(weights, trainable, np.array(sums, np.float64), rate, iterations, settings)


def _network(kind: type[keras.Model]) -> keras.Model:
    """Its weights come from a seed of their own, so they are the same each time; it is sure of some of its pixels."""
    inputs = x = keras.Input((SIZE, SIZE, 3), name="image")
    layers = keras.layers
    for layer in (
        Entrance(name="entrance"),
        layers.Conv2D(FILTERS, 3, padding="same", activation="tanh", kernel_initializer="zeros", name="edges"),
        layers.BatchNormalization(momentum=0.5, name="normal"),
        layers.Conv2D(FILTERS, 1, activation="tanh", kernel_initializer="zeros", name="fixed", trainable=False),
        layers.Conv2D(FILTERS, 3, padding="same", activation="tanh", kernel_initializer="zeros", name="shapes"),
        Conv2D(1, 1, activation="sigmoid", kernel_initializer="zeros", name="score"),
    ):
        x = layer(x)
    model = kind(inputs, x, name="model")
    random = np.random.default_rng(1)
    for variable in model.weights:
        usual = 1.0 if variable.name in ("gamma", "moving_variance") else 0.0
        variable.assign(usual + random.uniform(-0.8, 0.8, size=variable.shape))
    last = model.get_layer("score").kernel
    last.assign(SURE * last)
    return model


def batches(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first so many batches of (image, road): noise, brighter where there is road, which is a third of it."""
    random = np.random.default_rng(2)
    made = []
    for pictures in BATCHES[:count]:
        road = (random.uniform(size=(pictures, SIZE, SIZE, 1)) < 1 / 3).astype(np.float32)
        image = random.uniform(size=(pictures, SIZE, SIZE, 3)).astype(np.float32)
        made.append(((image + road) / 2, road))
    return made


@dataclass(frozen=True, eq=False)
class Expected:
    """What Keras's own step gives on a batch: its gradients by the name of the weight, and the state afterwards."""

    probability: np.ndarray
    loss: float
    accuracy: float
    gradients: dict[str, np.ndarray]
    after: State


@cache
def expected(setting: Setting, *, training: bool) -> tuple[Expected, ...]:
    """What Keras's `train_on_batch` (in training) or `test_on_batch` gives on each batch of a setting."""
    with _aside():
        kit = Kit(setting, keras.Model)
        kit.model.compile(kit.optimizer, kit.loss_fn, metrics=[kit.running_accuracy], run_eagerly=True)
        return tuple(_keras_own_step(kit, *batch, training=training) for batch in batches(setting.steps))


def _keras_own_step(kit: Kit, image: np.ndarray, road: np.ndarray, *, training: bool) -> Expected:
    kit.log.events.clear()
    own_step = kit.model.train_on_batch if training else kit.model.test_on_batch
    measured = own_step(image, road, return_dict=True)
    told = {event.what: event.values for event in kit.log.events}
    gradients = dict(zip(*reversed(told["apply"]))) if training else {}
    probability = told["running_accuracy"][1]
    return Expected(probability, measured["loss"], measured["running_accuracy"], gradients, kit.state())


@dataclass(frozen=True, eq=False)
class Step:
    """One call of the reader's step: what was noted in it, and what Keras's own step does on the same batch."""

    image: np.ndarray
    road: np.ndarray
    events: tuple[Event, ...]
    before: State
    after: State
    outcome: Attempt
    keras: Expected

    def told(self, what: str) -> list[tuple]:
        """The values of each event of a kind."""
        return [event.values for event in self.events if event.what == what]

    @property
    def error(self) -> BaseException | None:
        return self.outcome.error

    @property
    def returned(self) -> Any:
        return _value(self.outcome.value)

    @property
    def images(self) -> list:
        """What the model was given, prediction by prediction."""
        return [values[0] for values in self.told("call") or self.told("forward")]

    @property
    def modes(self) -> list[bool]:
        """Whether in training mode, prediction by prediction."""
        return [bool(np.any(values[1])) for values in self.told("forward")]

    @property
    def predictions(self) -> list[np.ndarray]:
        return [values[0] for values in self.told("prediction")]

    @property
    def losses(self) -> list[tuple]:
        """What `loss_fn` was given, as (truth, prediction); parts of a batch put together where they make up all."""
        pairs = self.told("loss")
        parts_of_all = all(0 < size(part) < self.road.size for pair in pairs for part in pair)
        if not pairs or not parts_of_all or any(sum(map(size, parts)) != self.road.size for parts in zip(*pairs)):
            return pairs
        return [tuple(np.concatenate([part.ravel() for part in parts]) for parts in zip(*pairs))]

    @property
    def accuracies(self) -> list[tuple]:
        """What the running accuracy was given, as (truth, prediction)."""
        return [values[:2] for values in self.told("running_accuracy") if len(values) > 1]

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """What the optimiser was given, by the name of the weight; what has no gradient is not in it."""
        pairs = [pair for values in self.told("apply") if values[0] for pair in zip(values[1], values[0])]
        return {name: gradient for name, gradient in pairs if gradient is not None}

    @property
    def moved(self) -> bool:
        """Whether a weight that is to be trained is another than before."""
        return not all(np.array_equal(self.before.weights[n], self.after.weights[n]) for n in self.before.trainable)

    @property
    def added(self) -> np.ndarray:
        """What the step added to the sum and the count of each running metric: (2, 2)."""
        return self.after.totals - self.before.totals

    @property
    def leaves_the_right_state(self) -> bool:
        before, after, wanted = self.before.weights, self.after, self.keras.after
        rest = [(state.trainable, state.learning_rate, state.iterations) for state in (after, wanted)]
        moves = [(after.weights[name] - before[name], wanted.weights[name] - before[name]) for name in before]
        return rest[0] == rest[1] and all(close(*move) for move in moves)

    def measures(self, metric: int) -> bool:
        """Whether the running loss (0) or the running accuracy (1) goes up by the right value, once."""
        total, count = self.added[metric]
        wanted = (self.keras.loss, self.keras.accuracy)[metric]
        return count > 0 and close(total / count, wanted) and not self.updated_twice(metric)

    def updated_twice(self, metric: int) -> bool:
        """Whether a metric was given the same more than once."""
        given = [values[0] for values in self.told(METRICS[metric]) if values]
        return len(given) > 1 and all(same(each, given[0]) for each in given)

    @property
    def returns_probabilities(self) -> bool:
        wanted = self.keras.probability
        return shape(self.returned) == wanted.shape and same(self.returned, wanted)

    @property
    def is_right(self) -> bool:
        metrics = all(map(self.measures, range(len(METRICS))))
        return not self.error and self.leaves_the_right_state and metrics and self.returns_probabilities


class Budget:
    """What the steps of one check may take together, compiled ones aside: by the clock, and of work."""

    def __init__(self) -> None:
        self.passed = self.worked = 0.0

    def attempt(self, call: Callable, *, slow: float) -> Attempt:
        """Run a step in what is left; `slow` seconds are granted to all steps in any case."""
        clock, work = time.monotonic(), time.thread_time()
        left = {"seconds": max(SECONDS, slow) - self.passed, "busy": max(BUSY, slow) - self.worked}
        try:
            return attempt(call, **left)
        finally:
            self.passed += time.monotonic() - clock
            self.worked += time.thread_time() - work

    @property
    def idle(self) -> bool:
        """Whether little work was done in the time that passed: the step waits, or others keep the machine busy."""
        return self.worked < self.passed / 2


def tried(
    function: Callable, setting: Setting, *, training: bool, compiled: bool = False, budget: Budget | None = None
) -> list[Step]:
    """Call a step on the batches of a setting, up to the first error; compiled, it tells less and may take longer.

    A step that the clock ends while it hardly works is tried once more: the machine may have been busy with others.
    """
    budget = budget or Budget()
    trial = partial(_tried_once, function, setting, budget, training=training, compiled=compiled)
    steps = trial()
    if isinstance(steps[-1].error, TimeUp) and budget.idle and not compiled:
        budget.passed = 0.0
        return trial()
    return steps


def _tried_once(function: Callable, setting: Setting, budget: Budget, *, training: bool, compiled: bool) -> list[Step]:
    wanted = expected(setting, training=training)
    steps = []
    with _aside():
        start = time.monotonic()
        kit = Kit(setting, Model, counted=COUNTED)
        run = partial(budget.attempt, slow=MODELS * (time.monotonic() - start))
        call = partial(_call, function, kit, training=training)
        if compiled:
            call = tf.function(call, input_signature=[tf.TensorSpec([None, SIZE, SIZE, depth]) for depth in (3, 1)])
            run = partial(attempt, seconds=COMPILED_SECONDS)
        with nullcontext() if compiled else _open_to_view(kit.log):
            for batch, keras_own in zip(batches(setting.steps), wanted):
                tf.config.run_functions_eagerly(not compiled)  # each time: a step may set it, too
                steps.append(_step(call, kit, *batch, keras_own, run))
                if steps[-1].error:
                    break
    return steps


def _call(function: Callable, kit: Kit, image: tf.Tensor, road: tf.Tensor, *, training: bool) -> Any:
    return function(kit.model, image, road, **kit.options(training=training))


def _step(call: Callable, kit: Kit, image: np.ndarray, road: np.ndarray, keras_own: Expected, run: Callable) -> Step:
    kit.log.events.clear()
    before = kit.state()
    outcome = run(partial(call, tf.constant(image), tf.constant(road)))
    return Step(image, road, tuple(kit.log.events), before, kit.state(), outcome, keras_own)


def close(found: Any, wanted: Any) -> bool:
    """Whether numbers agree but for rounding, which is measured by the largest of those wanted."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    tolerance = NOISE + PRECISION * np.abs(wanted).max(initial=0)
    return found.shape == wanted.shape and bool(np.all(np.abs(found - wanted) <= tolerance))


def shape(thing: Any) -> tuple[int, ...] | None:
    """The shape of an array; None of anything else."""
    return thing.shape if isinstance(thing, np.ndarray) else None


def size(thing: Any) -> int:
    """How many numbers an array holds; 0 for anything else."""
    return thing.size if isinstance(thing, np.ndarray) else 0


def same(one: Any, two: Any) -> bool:
    """Whether two things hold the same numbers in the same order, in any shape; what is empty or no number is not."""
    try:
        one, two = (np.asarray(thing).ravel() for thing in (one, two))
    except (TypeError, ValueError):
        return False
    numbers = one.dtype.kind in NUMBERS and two.dtype.kind in NUMBERS
    return numbers and one.size > 0 and close(one.astype(np.float64), two.astype(np.float64))


@contextmanager
def _aside() -> Iterator[None]:
    """Nothing is printed or warned about, and all is computed where every machine rounds almost alike."""
    logger, eagerly = tf.get_logger(), tf.config.functions_run_eagerly()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with redirect_stdout(io.StringIO()), catch_warnings(), tf.device("CPU"):
            simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        tf.config.run_functions_eagerly(eagerly)


@contextmanager
def _open_to_view(log: Log) -> Iterator[None]:
    """Gradient tapes tell the log what they do."""
    tape = tf.GradientTape
    own = {name: getattr(tape, name) for name in ("__enter__", "__exit__", "gradient")}

    @wraps(own["__enter__"])
    def enter(self):
        log("tape opens")
        return own["__enter__"](self)

    @wraps(own["__exit__"])
    def leave(self, kind, *rest):
        if kind is None:  # otherwise the error is the last thing to be told
            log("tape closes")
        return own["__exit__"](self, kind, *rest)

    @wraps(own["gradient"])
    def gradient(self, target, sources, *rest, **options):
        log("asks", target, *([weight_name(part) for part in tf.nest.flatten(parts)] for parts in (target, sources)))
        found = own["gradient"](self, target, sources, *rest, **options)
        log("gradients", *tf.nest.flatten(found))
        return found

    tape.__enter__, tape.__exit__, tape.gradient = enter, leave, gradient
    try:
        yield
    finally:
        for name, method in own.items():
            setattr(tape, name, method)
