"""Which mistake explains what a step did: one rule for each cause, named after it.

The rules look at behaviour alone: at what was noted while the step ran, and at what it left behind (see `trials`). They
stand in the order in which data flow through a step, and `cause` gives the first that holds. None of them is asked
whether a step is right: that is for `Seen` to say, which compares what is left behind with Keras's own step.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable
from functools import cached_property, partial
from itertools import dropwhile, product
from types import CodeType
from typing import Any

import numpy as np

from roadseg.checks.probe import (
    BATCHES,
    DOUBLED,
    FLAT,
    METRICS,
    NOISE,
    ONCE,
    PLAIN,
    SIZE,
    STEEP,
    Budget,
    KerasLoop,
    Setting,
    Step,
    close,
    same,
    shape,
    size,
    tried,
)
from roadseg.checks.result import TimeUp

LOSS, ACCURACY = 0, 1  # the running metrics, in the order of METRICS
PIXELS = SIZE * SIZE
SUMS = (tuple(PIXELS * pictures for pictures in BATCHES), (PIXELS, PIXELS), BATCHES)  # what a sum exceeds its mean by
POSITIONAL = ("model", "image", "road")
OPTIONS = {
    "train_step": ("loss_fn", "optimizer", "running_loss", "running_accuracy"),
    "val_step": ("loss_fn", "running_loss", "running_accuracy"),
}


class Seen:
    """What a step does with each loss, and what of it is right. Each trial is made when something first asks for it."""

    def __init__(self, function: Any, name: str) -> None:
        self.function, self.name, self.training = function, name, name == "train_step"
        self.budget = Budget()

    def _tried(self, setting: Setting, **options) -> list[Step]:
        return tried(self.function, setting, training=self.training, budget=self.budget, **options)

    @cached_property
    def plain(self) -> list[Step]:
        return self._tried(PLAIN)

    @cached_property
    def steep(self) -> list[Step]:
        return self._tried(STEEP)

    @cached_property
    def flat(self) -> list[Step]:
        return self._tried(FLAT)

    @cached_property
    def doubled(self) -> list[Step]:
        return self._tried(DOUBLED)

    @cached_property
    def compiled(self) -> list[Step]:
        """Recorded twice, as for two models; an error ends them."""
        steps = self._tried(PLAIN, compiled=True)
        return steps if steps[-1].error else steps + self._tried(ONCE, compiled=True)

    @cached_property
    def steps(self) -> list[Step]:
        """All that were not compiled; an error ends them."""
        steps = []
        for name in ("plain", "steep", "flat"):
            if not (steps and steps[-1].error):
                steps += getattr(self, name)
        return steps

    @cached_property
    def error(self) -> BaseException | None:
        """The first error, unless the steps before it are wrong already: then it may follow from that."""
        return next((step.error for step in self.steps if step.error or not step.is_right), None)

    @cached_property
    def at(self) -> Step:
        """The step to explain: that with the error, else the first that is wrong, weights before metrics."""
        aspects = (
            lambda step: step.error is not self.error or not self.error,
            lambda step: step.leaves_the_right_state,
            lambda step: step.measures(LOSS),
            lambda step: step.measures(ACCURACY),
            lambda step: step.returns_probabilities,
        )
        return next((step for right in aspects for step in self.steps if not right(step)), self.steps[0])

    @property
    def predicts(self) -> bool:
        """Whether a prediction is that of Keras's own step, which depends on the mode."""
        step = self.plain[0]
        return any(same(prediction, step.keras.probability) for prediction in step.predictions)

    @property
    def leaves_the_right_state(self) -> bool:
        return all(step.leaves_the_right_state for step in self.steps)

    @property
    def returns_probabilities(self) -> bool:
        return all(step.returns_probabilities for step in self.plain)

    def measures(self, metric: int) -> bool:
        """Whether a running metric goes up by the right values: a mean over batches or over pixels."""
        steps = self.plain if self.training or self.plain[-1].error else [*self.plain, *self.steep]
        return all(step.measures(metric) for step in steps) and self.weighs_evenly(metric)

    def weighs_evenly(self, metric: int) -> bool:
        """Whether batches count alike, or each as its pictures do."""
        counts = np.array([step.added[metric, 1] for step in self.plain])
        pictures = np.array([len(step.image) for step in self.plain])
        return any(close(weights, np.full_like(weights, weights[0])) for weights in (counts, counts / pictures))

    @property
    def loss_scales(self) -> list[float]:
        """By how much the running loss goes up for one of Keras's, batch by batch."""
        return [step.added[LOSS, 0] / step.added[LOSS, 1] / step.keras.loss for step in self.plain]

    @property
    def runs_compiled(self) -> bool:
        return all(step.is_right for step in self.compiled)


def cause(seen: Seen) -> str | None:
    """The name of the first rule that holds; None for a step that is right."""
    stages = TRAINING if seen.training else VALIDATION
    return next((rule.__name__ for wrong, rules in stages if wrong(seen) for rule in rules if rule(seen)), None)


# Before anything runs, or where nothing does.


def not_a_function(seen: Seen) -> bool:
    """What was passed cannot be called."""
    return not callable(seen.function)


def wrong_signature(seen: Seen) -> bool:
    """It does not take the arguments of its task, or takes them in another order."""
    try:
        signature = inspect.signature(seen.function)
    except ValueError:  # whatever does not tell what it takes shows it when it is called
        return False
    first = list(signature.parameters)[: len(POSITIONAL)]
    try:
        signature.bind(*POSITIONAL, **dict.fromkeys(OPTIONS[seen.name]))
    except TypeError:
        return True
    return sorted(first) == sorted(POSITIONAL) and tuple(first) != POSITIONAL


def not_written(seen: Seen) -> bool:
    """Nothing happens, and nothing comes back."""
    step = seen.plain[0]
    if step.error:
        return not step.events and isinstance(step.error, NotImplementedError)
    return not step.events and (step.outcome.value is None or step.outcome.value is ...)


def runs_later(seen: Seen) -> bool:
    """The call gives a generator or a coroutine, and nothing has run."""
    value = seen.plain[0].outcome.value
    return inspect.isgenerator(value) or inspect.isawaitable(value)


# It ends in an error.


def stub_left(seen: Seen) -> bool:
    """It is written, but still raises NotImplementedError itself."""
    own = code(seen)
    return isinstance(seen.error, NotImplementedError) and own is not None and _raised_in(seen.error) == own.co_name


def endless(seen: Seen) -> bool:
    """It does not come to an end."""
    return isinstance(seen.error, TimeUp)


def calls_keras_loop(seen: Seen) -> bool:
    """It calls fit, train_on_batch, predict or their like."""
    return isinstance(seen.error, KerasLoop)


def road_as_image(seen: Seen) -> bool:
    """The model is given the road."""
    return any(same(image, seen.at.road) for image in seen.at.images)


def tape_used_up(seen: Seen) -> bool:
    """The tape is asked for gradients a second time."""
    return "non-persistent" in str(seen.error)


def gradients_not_paired(seen: Seen) -> bool:
    """The optimiser is not given gradients and weights in the form that it takes."""
    last = seen.at.events[-1]
    return last.what == "apply_gradients" or last.values[0] is None


def accuracy_needs_both(seen: Seen) -> bool:
    """The running accuracy is given one thing, where it compares two."""
    return len(seen.at.events[-1].values) < 2


def raises_error(seen: Seen) -> bool:
    """Some other error."""
    return seen.error is not None


# What goes into the model.


def model_not_used(seen: Seen) -> bool:
    """The model that was passed predicts nothing."""
    return not seen.at.images


def part_of_batch(seen: Seen) -> bool:
    """Only some of the pictures are looked at."""
    step = seen.at
    truths = [pair[0] for pair in step.losses]
    are_labels = all(map(_is_rounded, truths))
    return _are_part(step.images, step.image) or (are_labels and _are_part(truths, step.road))


def picture_by_picture(seen: Seen) -> bool:
    """The model is given one part of the batch after the other, whatever else it is given besides."""
    sizes = [size(image) for image in seen.at.images if size(image) < seen.at.image.size]
    return len(sizes) > 1 and sum(sizes) == seen.at.image.size


def image_changed(seen: Seen) -> bool:
    """The model is given other numbers than the image's, or in another shape."""
    return bool(changed_images(seen.at))


def not_in_training_mode(seen: Seen) -> bool:
    """The model never predicts in training mode."""
    return bool(seen.at.modes) and not any(seen.at.modes)


def in_training_mode(seen: Seen) -> bool:
    """The model predicts in training mode, where it should only measure."""
    return any(seen.at.modes)


def other_prediction(seen: Seen) -> bool:
    """The model gets the image, but gives something else than Keras's own step sees."""
    return not any(same(prediction, seen.at.keras.probability) for prediction in seen.at.predictions)


# What goes into the loss.


def loss_not_computed(seen: Seen) -> bool:
    """There is no loss, and nothing is done with any."""
    step = seen.at
    return not (step.told("loss") or step.told("asks") or step.told("apply") or step.moved)


def loss_fn_not_used(seen: Seen) -> bool:
    """The loss is another than the one passed."""
    if seen.error or not seen.at.told("loss"):
        return not seen.at.told("loss")
    one, two = (steps[0].gradients for steps in (seen.plain, seen.steep))
    if one.keys() != two.keys() or not any(np.any(gradient) for gradient in one.values()):
        return False
    return all(close(one[name], two[name]) for name in one)


def loss_arguments_swapped(seen: Seen) -> bool:
    """The loss gets the prediction first."""
    return _swapped(seen, seen.at.losses)


def loss_weighted(seen: Seen) -> bool:
    """The loss is given weights for its pixels, or its penalties are multiplied by some."""
    return bool(seen.at.told("loss weights")) or _weighs_pixels(seen)


def pixels_left_out(seen: Seen) -> bool:
    """The loss gets some of the pixels only."""
    predictions = seen.at.predictions
    return any(
        0 < size(predicted) < seen.at.road.size and any(np.isin(predicted, each).all() for each in predictions)
        for _, predicted in seen.at.losses
    )


def averaged_before_loss(seen: Seen) -> bool:
    """The loss gets means in place of pixels."""
    return any(0 < size(part) < seen.at.road.size for pair in seen.at.losses for part in pair)


def road_changed(seen: Seen) -> bool:
    """The loss gets another truth than the road."""
    return not all(same(truth, seen.at.road) for truth, _ in seen.at.losses)


def loss_of_rounded(seen: Seen) -> bool:
    """The loss gets probabilities rounded to 0 and 1."""
    return any(
        _is_threshold_of(predicted, prediction) for _, predicted in seen.at.losses for prediction in seen.at.predictions
    )


def sigmoid_twice(seen: Seen) -> bool:
    """The loss gets the sigmoid of what is a probability already."""
    return any(
        same(predicted, 1 / (1 + np.exp(-prediction)))
        for _, predicted in seen.at.losses
        for prediction in seen.at.predictions
    )


def prediction_changed(seen: Seen) -> bool:
    """The loss gets other numbers than the model's probabilities."""
    return bool(changed_predictions(seen.at))


# What becomes of the gradients.


def prediction_outside_tape(seen: Seen) -> bool:
    """No gradients, as the model predicts where no tape records."""
    return _lacks_gradients(seen.at) and not _recorded(seen.at, "forward")


def loss_outside_tape(seen: Seen) -> bool:
    """No gradients, as the loss is computed where no tape records."""
    return _lacks_gradients(seen.at) and bool(seen.at.losses) and not _recorded(seen.at, "loss")


def gradient_path_cut(seen: Seen) -> bool:
    """No gradients, though model and loss are recorded: what the tape is asked for does not depend on the weights."""
    numbers = [isinstance(target, float | int | np.generic) for target in targets(seen.at)]
    arrays = ["ndarray" in kinds for _, kinds, _ in seen.at.told("asks")]
    return _lacks_gradients(seen.at) or any(numbers + arrays)


def gradient_of_no_tensor(seen: Seen) -> bool:
    """The tape is asked for the gradients of what is no number at all: a metric, a function, None."""
    return any(not isinstance(target, np.ndarray) for target in targets(seen.at))


def tape_arguments_swapped(seen: Seen) -> bool:
    """The tape is asked how the weights depend on the loss, not how the loss depends on them."""
    return any(name in seen.at.before.weights for _, targets, _ in seen.at.told("asks") for name in targets)


def gradients_of_other_things(seen: Seen) -> bool:
    """The tape is asked how the loss depends on something else than the weights."""
    return any(name not in seen.at.before.weights for *_, sources in seen.at.told("asks") for name in sources)


def gradients_not_computed(seen: Seen) -> bool:
    """The weights stay as they are, as no tape is asked for gradients."""
    step = seen.at
    return not (step.told("apply") or step.told("asks") or step.moved)


def gradients_not_applied(seen: Seen) -> bool:
    """The weights stay as they are, though there are gradients."""
    return not (seen.at.told("apply") or seen.at.moved)


def optimizer_not_used(seen: Seen) -> bool:
    """The weights move, but the optimiser that was passed does nothing."""
    return not seen.at.told("apply")


def model_frozen(seen: Seen) -> bool:
    """The step changes which weights are to be trained."""
    return any(step.before.trainable != step.after.trainable for step in seen.steps)


def pairs_swapped(seen: Seen) -> bool:
    """The optimiser is given weights where it expects gradients."""
    given = [thing for values in seen.at.told("apply") for thing in values[0] or ()]
    return any(same(thing, seen.at.before.weights[name]) for thing in given[:1] for name in seen.at.before.trainable)


def weights_of_another_model(seen: Seen) -> bool:
    """The optimiser is given weights that are none of the model's."""
    return any(name not in seen.at.before.weights for values in seen.at.told("apply") for name in values[1])


def frozen_weights_trained(seen: Seen) -> bool:
    """The optimiser is given weights that are not to be trained."""
    return any(name not in seen.at.before.trainable for values in seen.at.told("apply") for name in values[1])


def some_weights_left_out(seen: Seen) -> bool:
    """The optimiser is given gradients for some of the weights only, or the tape is asked for no more."""
    return bool(left_out(seen.at))


def gradients_mispaired(seen: Seen) -> bool:
    """A weight gets the gradient of another."""
    given, wanted = seen.at.gradients, seen.at.keras.gradients
    return any(
        shape(given[name]) != wanted[name].shape
        or (not close(given[name], wanted[name]) and any(close(given[name], other) for other in wanted.values()))
        for name in given.keys() & wanted.keys()
    )


def applied_twice(seen: Seen) -> bool:
    """The optimiser moves a weight more than once."""
    names = [name for values in seen.at.told("apply") for name in values[1]]
    return len(names) > len(set(names))


def applied_piecewise(seen: Seen) -> bool:
    """The optimiser is called for one part of the weights after the other, and counts each as a step."""
    return len(seen.at.told("apply")) > 1


def learning_rate_changed(seen: Seen) -> bool:
    """The step sets the optimiser's learning rate."""
    return seen.at.before.learning_rate != seen.at.after.learning_rate


def optimizer_changed(seen: Seen) -> bool:
    """The step sets something else in the optimiser."""
    return any(step.before.settings != step.after.settings for step in seen.steps)


def gradient_of_probability(seen: Seen) -> bool:
    """The tape is asked for gradients of the prediction, not of the loss."""
    return any(same(target, each) for target, *_ in seen.at.told("asks") for each in seen.at.predictions)


def wrong_sign(seen: Seen) -> bool:
    """The gradients point the other way."""
    return (scale(seen.at) or 1) < 0


def loss_summed(seen: Seen) -> bool:
    """The gradients are too large by the number of pixels."""
    factor = scale(seen.plain[0])
    return factor is not None and any(close(factor, first) for first, _ in SUMS[:2])


def loss_scaled(seen: Seen) -> bool:
    """The gradients are too large or too small by one factor, however steep the loss is."""
    scales = [scale(steps[0]) for steps in (seen.plain, seen.steep)]
    return None not in scales and close(*scales) and not close(scales[0], 1)


def predicts_twice(seen: Seen) -> bool:
    """Loss, accuracy and what is returned do not all come from one prediction."""
    step = seen.at
    used = [pair[1] for pair in (*step.losses, *step.accuracies)]
    one = all(same(prediction, step.keras.probability) for prediction in (*used, step.returned))
    return len(step.predictions) > 1 and (sum(step.modes) > 1 or not one)


def loss_transformed(seen: Seen) -> bool:
    """The gradients are too large or too small by a factor that changes with the loss, but not by their own size."""
    scales = [scale(steps[0]) for steps in (seen.plain, seen.steep)]
    return None not in scales and not close(*scales) and not gradients_clipped(seen)


def gradients_clipped(seen: Seen) -> bool:
    """The gradients are cut, or brought to one length."""
    steps = seen.plain[0], seen.steep[0]
    scales = [scale(step) for step in steps]
    if None in scales:
        return any(map(_are_shrunk, steps))
    lengths = [abs(factor) * _length(step.keras.gradients) for factor, step in zip(scales, steps)]
    return not close(*scales) and (close(scales[0], 1) or close(*lengths))


def loss_term_added(seen: Seen) -> bool:
    """There are gradients where the loss is zero everywhere."""
    return any(np.any(np.abs(gradient) > NOISE) for gradient in seen.flat[0].gradients.values())


def gradients_differ(seen: Seen) -> bool:
    """The optimiser gets other gradients than those of the loss."""
    return not has_right_gradients(seen.at)


def state_differs(seen: Seen) -> bool:
    """The gradients are right, and yet the model or the optimiser ends in another state."""
    return not seen.leaves_the_right_state


# What becomes of a model that is only to be measured.


def trains_in_validation(seen: Seen) -> bool:
    """The weights move, or an optimiser is told to move them."""
    return seen.at.moved or _calls_on_another_optimizer(seen)


def model_changed(seen: Seen) -> bool:
    """Something else in the model is not as before."""
    return not seen.leaves_the_right_state


# What the running metrics get.


def metrics_not_updated(seen: Seen) -> bool:
    """Neither running metric is given anything."""
    return not seen.plain[0].added.any()


def running_loss_not_updated(seen: Seen) -> bool:
    """The running loss is given nothing."""
    return not seen.plain[0].added[LOSS].any()


def running_accuracy_not_updated(seen: Seen) -> bool:
    """The running accuracy is given nothing."""
    return not seen.plain[0].added[ACCURACY].any()


def metrics_reset(seen: Seen) -> bool:
    """A running metric forgets the batches before."""
    return bool(seen.at.told("reset")) or bool((seen.at.added[:, 1] < 0).any())


def metrics_swapped(seen: Seen) -> bool:
    """A running metric is given what the other should get."""
    step = seen.at
    results = [np.divide(*state.totals[ACCURACY]) for state in (step.before, step.after)]
    not_losses = (step.road, step.keras.accuracy, *results)
    losses = [values[0] for values in step.told(METRICS[LOSS]) if values]
    alone = [values[0] for values in step.told(METRICS[ACCURACY]) if len(values) == 1]
    return any(same(*pair) for pair in (*product(losses, not_losses), *product(alone, [step.keras.loss])))


def metric_updated_twice(seen: Seen) -> bool:
    """A running metric is given the same batch more than once."""
    return seen.at.updated_twice(LOSS) or seen.at.updated_twice(ACCURACY)


def running_loss_scaled(seen: Seen) -> bool:
    """The running loss goes up by the loss times a number, or by its sum."""
    scales = seen.loss_scales
    ratios = [np.divide(sums, sums[0])[: len(scales)] for sums in ((1, 1), *SUMS)]
    patterns = ratios + [1 / ratio for ratio in ratios]
    one_factor = any(close(scales, scales[0] * pattern) for pattern in patterns)
    return one_factor and not close(scales[0], 1) and not close(scales[0], 0)


def running_loss_weighted(seen: Seen) -> bool:
    """Each batch's loss is right, but batches count neither alike nor as their pictures do."""
    return all(step.measures(LOSS) for step in seen.plain) and not seen.weighs_evenly(LOSS)


def running_loss_differs(seen: Seen) -> bool:
    """The running loss is given something else."""
    return not seen.measures(LOSS)


def accuracy_arguments_swapped(seen: Seen) -> bool:
    """The running accuracy gets the prediction first."""
    return _swapped(seen, seen.at.accuracies)


def accuracy_of_changed_values(seen: Seen) -> bool:
    """The running accuracy gets other numbers than the road and the probabilities."""
    predictions = seen.at.predictions
    return not all(
        same(truth, seen.at.road) and any(same(predicted, each) for each in predictions)
        for truth, predicted in seen.at.accuracies
    )


def running_accuracy_differs(seen: Seen) -> bool:
    """The running accuracy goes up by something else."""
    return not seen.measures(ACCURACY)


# What comes back.


def returns_nothing(seen: Seen) -> bool:
    """None comes back."""
    return seen.at.returned is None


def returns_several(seen: Seen) -> bool:
    """More than the probabilities comes back."""
    return isinstance(seen.at.returned, list | dict)


def returns_loss(seen: Seen) -> bool:
    """The loss comes back, or its running mean."""
    mean = np.divide(*seen.at.after.totals[LOSS])
    return any(same(seen.at.returned, loss) for loss in (seen.at.keras.loss, mean))


def returns_rounded(seen: Seen) -> bool:
    """0 and 1 come back in place of probabilities, or one of them everywhere, as after an argmax over one channel."""
    returned = seen.at.returned
    one_label = _is_rounded(returned) and size(returned) == seen.at.road.size and np.ptp(returned.astype(int)) == 0
    return one_label or _is_threshold_of(returned, seen.at.keras.probability)


def returns_other_shape(seen: Seen) -> bool:
    """The probabilities come back in another shape."""
    return same(seen.at.returned, seen.at.keras.probability)


def returns_other(seen: Seen) -> bool:
    """Something else comes back."""
    return not seen.returns_probabilities


# Compiled.


def values_taken_out(seen: Seen) -> bool:
    """It takes a tensor's value into Python, and compiled, tensors have none yet."""
    error = seen.compiled[-1].error
    return error is not None and bool(re.search(r"numpy|[Ss]ymbolic|(float|int)\(\)(?!.*None)", said(error)))


def breaks_when_compiled(seen: Seen) -> bool:
    """Compiled, it ends in another error."""
    return seen.compiled[-1].error is not None


def differs_when_compiled(seen: Seen) -> bool:
    """Compiled, it does something else."""
    return not seen.runs_compiled


# What the rules share.


def code(seen: Seen) -> CodeType | None:
    """The code of the reader's function, behind whatever is wrapped around it; None where it has none."""
    function = seen.function.func if isinstance(seen.function, partial) else inspect.unwrap(seen.function)
    return getattr(getattr(function, "python_function", function), "__code__", None)


def changed_images(step: Step) -> list:
    """What the model was given that is not the image, or has another shape."""
    return [
        given for given in step.images if not same(given, step.image) or shape(given) not in (None, step.image.shape)
    ]


def changed_predictions(step: Step) -> list:
    """What the loss was given as a prediction that the model did not predict."""
    return [given for _, given in step.losses if not any(same(given, each) for each in step.predictions)]


def targets(step: Step) -> list:
    """What the tape was asked for the gradients of."""
    asked = [target for target, *_ in step.told("asks")]
    return [part for target in asked for part in (target if isinstance(target, list) else [target])]


def left_out(step: Step) -> list[str]:
    """The weights that should be trained, and have no part in it."""
    asked = [name for *_, sources in step.told("asks") for name in sources]
    given = step.gradients or asked
    return [name for name in step.before.trainable if name not in given]


def said(error: BaseException) -> str:
    """An error in one line, without what differs from run to run, colours, and names of TensorFlow's parts."""
    noise = r"\x1b\[[\d;]*m| at 0x[0-9a-fA-F]+|\{\{.*?\}\} ?| \[Op:.*|, value=.*"
    lines = [line.strip() for line in re.sub(noise, "", str(error)).replace("`", "'").splitlines()]
    if lines[:1] == ["in user code:"]:  # a compiled function: the error comes after the places
        kind = re.compile(r"\w*(Error|Exception): ?")
        lines = [kind.sub("", line, count=1) for line in dropwhile(lambda line: not kind.match(line), lines)]
    wrapper = "Exception encountered when calling"  # Keras: the error comes next
    line = next((line for line in lines if line and not line.startswith(wrapper)), "")
    return f"{type(error).__name__}: {line[:200]}" if line else type(error).__name__


def _raised_in(error: BaseException) -> str:
    """The name of the function in which an error arose."""
    return traceback.extract_tb(error.__traceback__)[-1].name


def scale(step: Step) -> float | None:
    """By how much the optimiser's gradients exceed Keras's, where all do alike; otherwise None."""
    given, wanted = step.gradients, step.keras.gradients
    if given.keys() != wanted.keys() or any(shape(given[name]) != wanted[name].shape for name in wanted):
        return None
    given, wanted = (np.concatenate([part[name].ravel() for name in wanted]) for part in (given, wanted))
    factor = float(given @ wanted / max(wanted @ wanted, NOISE))
    return factor if factor and close(given, factor * wanted) else None


def has_right_gradients(step: Step) -> bool:
    """Whether the optimiser got the gradients that Keras's own step gives it."""
    given, wanted = step.gradients, step.keras.gradients
    return given.keys() == wanted.keys() and all(close(given[name], wanted[name]) for name in wanted)


def _are_shrunk(step: Step) -> bool:
    """Whether all gradients point where Keras's do, none is larger, some are smaller, and none is gone."""
    given, wanted = step.gradients, step.keras.gradients
    if given.keys() != wanted.keys() or has_right_gradients(step):
        return False
    pairs = [(given[name], wanted[name]) for name in wanted]
    return all(np.any(one) and np.all((one * two >= 0) & (np.abs(one) <= np.abs(two) + NOISE)) for one, two in pairs)


def _length(gradients: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(gradient.astype(np.float64) ** 2) for gradient in gradients.values())))


def _are_part(arrays: list, whole: np.ndarray) -> bool:
    """Whether arrays hold fewer pictures than there are."""
    pictures = [(shape(array) or ())[-3:] for array in arrays]
    return 0 < sum(map(size, arrays)) < whole.size and all(found == whole.shape[-3:] for found in pictures)


def _swapped(seen: Seen, pairs: list[tuple]) -> bool:
    """Whether a prediction stands where the road belongs, and the road in its place: pairs of (truth, predicted)."""
    return any(
        same(truth, prediction) and same(predicted, seen.at.road)
        for truth, predicted in pairs
        for prediction in seen.at.predictions
    )


def _is_rounded(array: Any) -> bool:
    return size(array) > 1 and bool(np.isin(array, (0, 1)).all())


def _is_threshold_of(array: Any, prediction: np.ndarray) -> bool:
    """Whether 1 stands where a prediction is above some number, and 0 elsewhere."""
    if not _is_rounded(array) or size(array) != prediction.size:
        return False
    above, values = array.astype(bool).ravel(), prediction.ravel()
    return above.any() and not above.all() and bool(values[above].min() >= values[~above].max())


def _weighs_pixels(seen: Seen) -> bool:
    """Whether the gradients double with the penalties of all pixels, and yet are no multiples of Keras's."""
    given, wanted = seen.plain[0].gradients, seen.plain[0].keras.gradients
    if not given or {name: shape(given[name]) for name in given} != {name: shape(wanted[name]) for name in wanted}:
        return False
    doubled = seen.doubled[0].gradients
    if doubled.keys() != given.keys():
        return False
    double = all(close(doubled[name], 2 * given[name]) for name in given)
    return double and not all(_is_multiple(given[name], wanted[name]) for name in given)


def _is_multiple(array: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of a shape differ by one factor, which may be 0."""
    return close(array, np.vdot(array, other) / max(np.vdot(other, other), NOISE) * other)


def _lacks_gradients(step: Step) -> bool:
    """Whether a tape was asked for gradients and had none."""
    found = [gradient for values in step.told("gradients") for gradient in values]
    return bool(found) and all(gradient is None for gradient in found)


def _recorded(step: Step, what: str) -> bool:
    """Whether any event of a kind happened while a tape recorded."""
    open_tapes = 0
    for event in step.events:
        open_tapes += {"tape opens": 1, "tape closes": -1}.get(event.what, 0)
        if event.what == what and open_tapes:
            return True
    return False


def _always(seen: Seen) -> bool:
    return True


def _fails(seen: Seen) -> bool:
    return seen.error is not None


def _fails_in(*what: str) -> Callable[[Seen], bool]:
    """Whether an error arose in the midst of what an event began."""
    return lambda seen: _fails(seen) and bool(seen.at.events) and seen.at.events[-1].what in what


def _calls_on_another_optimizer(seen: Seen) -> bool:
    """Whether an optimiser that belongs to another model raises the error: one from another cell, or from outside."""
    return _fails(seen) and not seen.at.told("apply") and "nknown variable" in str(seen.error)


def _fails_without_gradients(seen: Seen) -> bool:
    return _fails(seen) and _lacks_gradients(seen.at)


def _leaves_a_wrong_state(seen: Seen) -> bool:
    return not seen.leaves_the_right_state


def _mismeasures(*metrics: int) -> Callable[[Seen], bool]:
    return lambda seen: not all(seen.measures(metric) for metric in metrics)


def _returns_something_else(seen: Seen) -> bool:
    return not seen.returns_probabilities


def _fails_compiled(seen: Seen) -> bool:
    return not seen.runs_compiled


IMAGE = (model_not_used, part_of_batch, picture_by_picture, image_changed)
LOSS_FN = (
    *(loss_fn_not_used, loss_arguments_swapped, pixels_left_out, averaged_before_loss, road_changed),
    *(loss_of_rounded, sigmoid_twice, prediction_changed),
)
TAPE = (
    *(tape_arguments_swapped, gradients_of_other_things),
    *(prediction_outside_tape, loss_outside_tape, gradient_path_cut),
)
OPTIMIZER = (
    *(gradients_not_computed, gradients_not_applied, optimizer_not_used),
    *(weights_of_another_model, frozen_weights_trained, some_weights_left_out),
    *(applied_twice, applied_piecewise, gradients_mispaired, learning_rate_changed, optimizer_changed),
)
GRADIENTS = (
    *(wrong_sign, loss_summed, loss_scaled, predicts_twice, loss_weighted),
    *(loss_term_added, gradients_clipped, loss_transformed, gradients_differ, state_differs),
)
RUNNING_LOSS = (
    *(metrics_not_updated, running_loss_not_updated, metrics_reset, metrics_swapped, metric_updated_twice),
    *(*LOSS_FN, loss_weighted),
    *(running_loss_scaled, predicts_twice, running_loss_weighted, running_loss_differs),
)
RUNNING_ACCURACY = (
    *(running_accuracy_not_updated, metrics_reset, metric_updated_twice),
    *(accuracy_arguments_swapped, accuracy_of_changed_values, predicts_twice, running_accuracy_differs),
)
RETURNED = (
    *(returns_nothing, returns_several, returns_loss, returns_rounded, returns_other_shape),
    *(predicts_twice, returns_other),
)

# Which rules are asked where what is wrong; the first that holds is the cause.
BEFORE = ((_always, (not_a_function, wrong_signature, not_written, runs_later)),)
ERRORS = (
    (_fails, (stub_left, endless, calls_keras_loop, road_as_image, tape_used_up)),
    (_fails_in("call", "forward"), IMAGE),
    (_fails_in("loss"), (*IMAGE, *LOSS_FN, loss_weighted)),
    (_fails_without_gradients, (model_not_used, weights_of_another_model, loss_fn_not_used)),
    (_fails_without_gradients, (loss_of_rounded, prediction_changed, *TAPE)),
    (_fails_in("asks"), (gradient_path_cut, tape_arguments_swapped, gradient_of_no_tensor)),
    (_fails_in("asks"), (gradients_of_other_things,)),
    (_fails_in("apply"), (model_not_used, pairs_swapped, weights_of_another_model)),
    (_fails_in("apply"), (model_frozen, frozen_weights_trained, gradients_of_other_things, gradients_mispaired)),
    (_fails_in("apply", "apply_gradients"), (model_frozen, some_weights_left_out, gradients_not_paired)),
    (_fails_in(METRICS[ACCURACY]), (metrics_swapped, accuracy_needs_both)),
    (_fails, (raises_error,)),
)
AFTER = (
    (_mismeasures(LOSS), RUNNING_LOSS),
    (_mismeasures(ACCURACY), RUNNING_ACCURACY),
    (_returns_something_else, RETURNED),
    (_fails_compiled, (values_taken_out, breaks_when_compiled, differs_when_compiled)),
)
TRAINING = (
    *BEFORE,
    (_calls_on_another_optimizer, (optimizer_not_used,)),
    *ERRORS,
    (_leaves_a_wrong_state, (*IMAGE, not_in_training_mode, model_frozen, other_prediction)),
    (_leaves_a_wrong_state, (loss_not_computed, gradient_of_probability)),
    (_leaves_a_wrong_state, (*LOSS_FN, *TAPE, *OPTIMIZER, *GRADIENTS)),
    *AFTER,
)
VALIDATION = (
    *BEFORE,
    (_calls_on_another_optimizer, (trains_in_validation,)),
    *ERRORS,
    (_leaves_a_wrong_state, (model_frozen, trains_in_validation, in_training_mode, model_changed)),
    (_mismeasures(LOSS, ACCURACY), (*IMAGE, in_training_mode, other_prediction)),
    *AFTER,
)
