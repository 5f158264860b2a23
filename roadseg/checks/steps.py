"""Tasks 1 and 2: is a step right, and if not, which mistake explains what it does?

Whether it is right, `judge` alone says. Only then is a name looked for: that of the entry of the catalog which
behaves as the student's step does on the same batches; where none does, that of the first quantity that differs.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from difflib import SequenceMatcher
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from roadseg import training
from roadseg.checks import judge as judging
from roadseg.checks.judge import ACCURACY, LOSS, METRICS, NOISE, added, close, judged_steps, same
from roadseg.checks.probe import OPTIONS, SEED, Failure, Kit, Step, aside, observe, trials
from roadseg.checks.result import NOT_WRITTEN, Aspect, Result
from roadseg.checks.step_mistakes import CATALOG, Mistake, flat, gradient_factor, gradients, loss_factor
from roadseg.runs import code_of

# What an array may have become on its way, each with how it is made; in this order they are tried.
ALTERED: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("inverted, as `1 - {name}`", lambda batch: 1 - batch),
    ("negative, as `-{name}`", lambda batch: -batch),
    ("mirrored, left to right", lambda batch: batch[:, :, ::-1]),
    ("upside down", lambda batch: batch[:, ::-1]),
    ("with height and width exchanged", lambda batch: batch.transpose(0, 2, 1, 3)),
    ("with the colors in reverse order", lambda batch: batch[..., ::-1]),
    ("with the images in reverse order", lambda batch: batch[::-1]),
    ("rounded to 0 and 1", np.round),
    ("after another sigmoid", lambda batch: 1 / (1 + np.exp(-batch))),
)


def train_step(function: Callable) -> Result:
    """Check task 1: one training step, beside Keras's `train_on_batch`. Takes a second or two and never raises."""
    return _checked(function, "train_step")


def val_step(function: Callable) -> Result:
    """Check task 2: measuring one batch, beside Keras's `test_on_batch`. Takes about a second and never raises."""
    return _checked(function, "val_step")


@np.errstate(all="ignore")  # what a step leaves behind may be infinite
def aspects(name: str, function: Any, seed: int = SEED) -> tuple[tuple[Aspect, ...], list[list[Step]]]:
    """The verdict on a step, aspect by aspect, and what it did in each trial; nothing where it cannot be called."""
    with aside():
        seen = [] if _not_callable(name, function) else observe(function, name, trials(seed))
    if not seen or uses_package(seen):
        return judging.nothing_right(name), seen
    return judging.judge(name, seen, seed), seen


@np.errstate(all="ignore")
def _checked(function: Any, name: str) -> Result:
    found, seen = aspects(name, function)
    passed = all(aspect.right for aspect in found)
    with aside():
        facts = Facts(name, function, seen)
        cause = None if passed else _cause(name, function, seen, facts)
    words = _words()[cause or name]
    return Result(
        name=name,
        title=_words()[name]["title"],
        passed=passed,
        cause=cause,
        message=words["message"].format(its=facts).strip(),
        look=words.get("look", "").format(its=facts),
        hints=tuple(hint.format(its=facts) for hint in words.get("hints", ())),
        aspects=found,
        function=function if passed else getattr(training, name),
    )


@cache
def _words() -> dict[str, Any]:
    """What is said about each task and each cause, and `reasons`, which explain errors by what they say."""
    return tomllib.loads((Path(__file__).parent / "steps.toml").read_text(encoding="utf-8"))


def uses_package(seen: list[list[Step]]) -> bool:
    """Whether the package's own step was at work."""
    return any(called[1] for step in seen[0] for called in step.noted("call"))


# --- naming the mistake ----------------------------------------------------------------------------------------------


def _cause(name: str, function: Any, seen: list[list[Step]], facts: Facts) -> str:
    """The id of the mistake."""
    if cause := _not_callable(name, function):
        return cause
    first = seen[0][0]
    untouched = (
        first.error.kind == "NotImplementedError" if first.error else (first.returned is None or first.returned is ...)
    )
    if not first.events and untouched:
        return NOT_WRITTEN
    if isinstance(first.returned, str) and re.search("generator|coroutine", first.returned):
        return "runs_later"
    if uses_package(seen):
        return "package_step"
    judged = list(judged_steps(name, seen))
    wrong = [(step, wanted, verdict) for step, wanted, verdict in judged if step.error or not all(verdict.values())]
    if not wrong:
        return _uneven(seen) or _compiled(seen, facts)
    facts.step, facts.wanted, verdict = wrong[0]
    facts.error = facts.step.error
    if facts.error and (cause := _plain_error(facts)):
        return cause
    broken = next(aspect for aspect in verdict if not all(each[aspect] for *_, each in judged))
    return _imitated(name, function, seen, broken) or _first_difference(name, seen, verdict, facts)


def _not_callable(name: str, function: Any) -> str | None:
    """Why a thing cannot be called as a step, or None: it takes three arguments by position, the rest by name."""
    if not callable(function):
        return "not_a_function"
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # whatever does not tell what it takes shows it when it is called
        return None
    first = list(signature.parameters)[:3]
    try:
        signature.bind(*range(3), **dict.fromkeys(OPTIONS[name]))
    except TypeError:
        return "wrong_signature"
    in_order = [place == first.index(word) for place, word in enumerate(("model", "image")) if word in first]
    return None if all(in_order) else "wrong_signature"


def _plain_error(facts: Facts) -> str | None:
    """The id of an error that explains itself, whatever was wrong before it."""
    if facts.error.kind == "KerasLoop":
        return "calls_keras_loop"
    if facts.error.kind == "NotImplementedError" and facts.error.own:
        return "stub_left"
    return "raises_error" if facts.error.kind in ("NameError", "UnboundLocalError", "SystemExit") else None


def _uneven(seen: list[list[Step]]) -> str | None:
    """The metric that weighs batches unevenly, where every single step is right."""
    if not judging.weighs_evenly(seen[0], LOSS):
        return "running_loss_weighted"
    return None if judging.weighs_evenly(seen[0], ACCURACY) else "running_accuracy_differs"


def _compiled(seen: list[list[Step]], facts: Facts) -> str:
    """What goes wrong in a compiled step, where step by step all is right."""
    errors = [step.error for steps in seen for step in steps if step.error]
    if not errors:
        return "differs_when_compiled"
    facts.error = errors[0]
    taken_out = re.search(r"numpy|[Ss]ymbolic|(float|int)\(\)(?!.*None)", str(facts.error))
    return "values_taken_out" if taken_out else "breaks_when_compiled"


# --- imitation -------------------------------------------------------------------------------------------------------


def _imitated(name: str, function: Any, seen: list[list[Step]], broken: str) -> str | None:
    """The id of the entry that behaves as the student's step does, among those that break the same aspect first; of
    several, the one that is closest in its course, then in its code."""
    source, wanted, tried = _source(function), judging.expected(name), trials()
    quick = 1 if seen[1] else 0  # the smaller model tells most entries apart, in half the time
    best, found = (0.0, 0.0), None
    for mistake in (each for each in CATALOG[name] if each.aspect == broken):
        number = mistake.number(seen, wanted) if mistake.number else None
        if mistake.number and number is None:
            continue
        run = partial(_behavior, mistake, number) if number is None else partial(_behavior.__wrapped__, mistake, number)
        if not _alike(seen[quick][:1], run(quick, first_only=True)):
            continue
        lists = [(seen[i], run(i)) for i, trial in enumerate(tried) if not trial.compiled and seen[i]]
        if all(_alike(*pair) for pair in lists):
            course = [_course(one, two) for pair in lists for one, two in zip(*pair)]
            likeness = SequenceMatcher(None, source, _tokens(mistake.source)).ratio() if source else 0.0
            score = (round(float(np.mean(course)), 3), likeness)
            best, found = (score, mistake.id) if score > best or found is None else (best, found)
            if score[0] == 1.0 and gradients(lists[0][1][0]) and not lists[0][1][-1].error:
                return mistake.id  # the same numbers all the way: no other entry can be closer
    return found


_KITS: dict[bool, Kit] = {}


@cache
def _behavior(mistake: Mistake, number: float | None, trial: int, *, first_only: bool = False) -> list[Step]:
    """What a wrong step of the catalog does in a trial, or on its first batch."""
    chosen = trials()[trial]
    if first_only:
        chosen = replace(chosen, batches=chosen.batches[:1])
    return observe(mistake.step(number), mistake.name, (chosen,), kits=_KITS)[0]


def _alike(seen: list[Step], others: list[Step]) -> bool:
    """Whether two steps leave the same behind: weights, metrics, settings, what they return or how they fail."""
    if len(seen) != len(others):
        return False
    return all(
        _same_error(one, two)
        and one.after.trainable == two.after.trainable
        and one.after.settings == two.after.settings
        and all(
            _equal(one.after.weights[name], two.after.weights[name], one.before.weights[name])
            for name in two.after.weights
        )
        and close(one.after.totals, two.after.totals)
        and _same_value(one.returned, two.returned)
        for one, two in zip(seen, others)
    )


def _equal(one: np.ndarray, two: np.ndarray, before: np.ndarray) -> bool:
    return close(one - before, two - before)


def _same_error(one: Step, two: Step) -> bool:
    """Whether both fail, or neither; an error is the same where it says the same after the same course of events."""
    if not (one.error and two.error):
        return one.error is two.error
    texts = [re.sub(r"\d+", "", str(step.error)) for step in (one, two)]
    return texts[0] == texts[1] and _course(one, two) == 1.0


def _same_value(one: Any, two: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        return one.shape == two.shape and close(one, two)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_same_value, one, two))
    return type(one) is type(two) and not isinstance(one, np.ndarray) and one == two


def _course(one: Step, two: Step) -> float:
    """How much of what happens in two steps is the same, in the same order: 1 for all of it."""
    pairs = zip(one.events, two.events)
    equal = sum(a[0] == b[0] and len(a[1]) == len(b[1]) and all(map(_same_value, a[1], b[1])) for a, b in pairs)
    return equal / max(len(one.events), len(two.events), 1)


def _source(function: Any) -> list[str]:
    """The words of a function's code; none where it is not known."""
    try:
        return _tokens(inspect.getsource(code_of(function) or function))
    except (OSError, TypeError):
        return []


def _tokens(source: str) -> list[str]:
    """The words of code without its comments and layout, but with its indentation."""
    with suppress(SyntaxError):
        source = ast.unparse(ast.parse(textwrap.dedent(source)))
    return re.findall(r"\n +|\w+|[^\w\s]", source)


# --- the first quantity that differs ---------------------------------------------------------------------------------


def _first_difference(name: str, seen: list[list[Step]], verdict: dict[str, bool], facts: Facts) -> str:
    """The id for what no entry of the catalog does: an error by the place where it arose, else the first aspect that
    is wrong."""
    step, training_step = facts.step, name == "train_step"
    if facts.error:
        return _failed(step, facts)
    if cause := _wrong_images(step):
        return cause
    if not verdict["prediction"]:
        return _wrong_prediction(step, facts.wanted, training_step)
    if not verdict["loss"]:
        return _wrong_loss(step, moved=not np.array_equal(*_moves(step)))
    if not verdict.get("update", True):
        return _wrong_update(seen, facts)
    if not verdict.get("model unchanged", True):
        return _changed_model(step, facts)
    if not verdict["running loss"]:
        return _wrong_metric(step, LOSS)
    if not verdict["running accuracy"]:
        return _wrong_metric(step, ACCURACY)
    return _wrong_value(step, facts)


def _failed(step: Step, facts: Facts) -> str:
    """Look at what the part was given that raised an error."""
    where = step.events[-1][0] if step.events else ""
    images = _wrong_images(step)
    if where in ("call", "forward", "loss", "apply", "running_accuracy") and images:
        return images
    if where == "loss" and (cause := _wrong_arguments(step)):
        return cause
    if where in ("apply", "apply_gradients"):
        return _failed_update(step)
    if where == "running_accuracy" and len(step.events[-1][1]) < 2:
        alone = step.events[-1][1]
        losses = [values[0] for values in step.noted("loss value")]
        return (
            "metrics_swapped" if any(same(alone[0], loss) for loss in losses for _ in alone) else "accuracy_needs_both"
        )
    return facts.reason_entry.get("cause", {}).get(facts.name, "raises_error")


def _failed_update(step: Step) -> str:
    """Look at what the optimizer was given when it refused to work."""
    if where := _wrong_weights(step):
        return where
    if step.events[-1][0] == "apply_gradients" or step.events[-1][1][0] is None:
        return "gradients_not_paired"
    if not gradients(step):
        if not step.noted("loss"):
            return "loss_fn_not_used"
        recorded = [[values[-1] for values in step.noted(what)] for what in ("prediction", "loss")]
        if _wrong_arguments(step):
            return _wrong_arguments(step)
        return next(
            (c for c, r in zip(("prediction_outside_tape", "loss_outside_tape"), recorded) if not any(r)),
            "gradient_path_cut",
        )
    shapes = {name: step.before.weights[name].shape for name in gradients(step)}
    alike = all(gradient.shape == shapes[name] for name, gradient in gradients(step).items())
    return "raises_error" if alike else "gradients_mispaired"


def _wrong_weights(step: Step) -> str | None:
    """Which weights the optimizer was given that it should not have been, or was not given."""
    names = [name for _, names in step.noted("apply") for name in names]
    if any(name not in step.before.weights for name in names):
        return "weights_of_another_model"
    if step.after.trainable != step.before.trainable:
        return "model_frozen"
    if any(name not in step.before.trainable for name in names):
        return "frozen_weights_trained"
    return "some_weights_left_out" if gradients(step) and left_out(step) else None


def left_out(step: Step) -> list[str]:
    """The weights for which the optimizer was given no gradient."""
    return [name for name in step.before.trainable if name not in gradients(step)]


def images(step: Step) -> list:
    """What the model was given, prediction by prediction."""
    return [values[0] for values in step.noted("call") or step.noted("forward")]


def _wrong_images(step: Step) -> str | None:
    """What is wrong with what the model was given."""
    given = images(step)
    if not given:
        return "model_not_used"
    if any(same(image, step.mask) for image in given):
        return "mask_as_image"
    shapes, sizes = [judging.shape(image)[-3:] for image in given], [judging.size(image) for image in given]
    if all(shape == step.image.shape[1:] for shape in shapes) and max(sizes) < step.image.size:
        return "image_by_image" if len(sizes) > 1 and sum(sizes) >= step.image.size else "part_of_batch"
    return "image_changed" if changed_images(step) else None


def changed_images(step: Step) -> list:
    """What the model was given that is not the image, or has another shape."""
    return [given for given in images(step) if not same(given, step.image) or judging.shape(given) != step.image.shape]


def _wrong_prediction(step: Step, wanted: Step, training_step: bool) -> str:
    """What is wrong with the prediction, or with how it came about."""
    if judging.any_training(step) != training_step:
        return "not_in_training_mode" if training_step else "in_training_mode"
    made = [values[0] for values in step.noted("prediction")]
    if step.after.trainable != step.before.trainable:
        return "model_frozen"
    return (
        "predicts_twice" if any(same(each, wanted.returned) for each in made) and len(made) > 1 else "other_prediction"
    )


def _wrong_loss(step: Step, *, moved: bool) -> str:
    """What is wrong with the loss, or with what it was given."""
    if not step.noted("loss"):
        used = moved or step.noted("apply") or added(step, LOSS).any()
        return "loss_fn_not_used" if used else "loss_not_computed"
    return _wrong_arguments(step) or "loss_fn_not_used"


def _wrong_arguments(step: Step) -> str | None:
    """What is wrong with what `loss_fn` was given."""
    made = [values[0] for values in step.noted("prediction")]
    for truth, predicted in judging.loss_pairs(step):
        own = any(same(predicted, each) for each in made)
        if same(predicted, step.mask) and any(same(truth, each) for each in made):
            return "loss_arguments_swapped"
        if own and same(truth, step.mask):
            continue
        if 0 < judging.size(predicted) < step.mask.size:
            kept = any(np.isin(predicted, each).all() for each in made if isinstance(each, np.ndarray))
            return "pixels_left_out" if kept else "averaged_before_loss"
        if own:
            return "mask_changed"
        return (
            "loss_of_rounded"
            if _is_rounded(predicted) and np.ptp(predicted) and not same(predicted, step.mask)
            else "prediction_changed"
        )
    return "loss_weighted" if step.noted("loss weights") else None


def changed_predictions(step: Step) -> list:
    """What the loss was given as a prediction that the model did not predict."""
    made = [values[0] for values in step.noted("prediction")]
    return [given for _, given in judging.loss_pairs(step) if not any(same(given, each) for each in made)]


def _wrong_update(seen: list[list[Step]], facts: Facts) -> str:
    """What is wrong with how the weights move."""
    step, wanted = facts.step, facts.wanted
    if changed_settings(step):
        return "learning_rate_changed" if "learning_rate" in changed_settings(step) else "optimizer_changed"
    if not step.noted("apply"):
        return "gradients_not_computed" if np.array_equal(*_moves(step)) else "optimizer_not_used"
    if cause := _wrong_weights(step):
        return cause
    given, right = gradients(step), gradients(wanted)
    if len(step.noted("apply")) > 1:
        names = [name for _, names in step.noted("apply") for name in names]
        return "applied_twice" if len(names) > len(set(names)) else "applied_piecewise"
    if all(close(given[name], right[name]) for name in right):
        return "state_differs"
    if seen[2] and any(np.any(np.abs(gradient) > NOISE) for gradient in gradients(seen[2][0]).values()):
        return "loss_term_added"
    if any(not close(given[n], right[n]) and any(close(given[n], other) for other in right.values()) for n in right):
        return "gradients_mispaired"
    wanted_steps = judging.expected("train_step")
    factors = [_proportion(steps[0], other[0]) for steps, other in zip(seen[:2], wanted_steps) if steps]
    if None in factors:
        return "gradients_differ"
    if factors[0] < 0:
        return "wrong_sign"
    return "loss_scaled" if close(factors[-1], factors[0]) else "loss_transformed"


def _proportion(step: Step, wanted: Step) -> float | None:
    """By how much all gradients exceed Keras's, where they do so alike."""
    factor = gradient_factor([[step]], [[wanted]])
    return factor if factor and close(flat(step), factor * flat(wanted)) else None


def _moves(step: Step) -> tuple[np.ndarray, np.ndarray]:
    """All trainable weights after and before a step, in one row each."""
    return tuple(
        np.concatenate([state.weights[name].ravel() for name in step.before.trainable])
        for state in (step.after, step.before)
    )


def changed_settings(step: Step) -> list[str]:
    """What a step has set in the optimizer."""
    return [name for name, value in step.before.settings.items() if step.after.settings[name] != value]


def _changed_model(step: Step, facts: Facts) -> str:
    """What a validation step did to the model."""
    if step.after.trainable != step.before.trainable:
        return "model_frozen"
    return "model_changed" if np.array_equal(*_moves(step)) else "trains_in_validation"


def _wrong_metric(step: Step, metric: int) -> str:
    """What is wrong with what a running metric was given."""
    both = [added(step, each) for each in METRICS]
    name = ("running_loss", "running_accuracy")[metric]
    if not any(each.any() for each in both):
        return "metrics_not_updated"
    if not both[metric].any():
        return f"{name}_not_updated"
    if step.noted("reset") or both[metric][1] < 0:
        return "metrics_reset"
    if judging.updated_twice(step, metric):
        return "metric_updated_twice"
    if metric == LOSS:
        return _wrong_arguments(step) or "running_loss_differs"
    made = [values[0] for values in step.noted("prediction")]
    pairs = [values[:2] for values in step.noted(name) if len(values) > 1]
    as_given = [same(truth, step.mask) and any(same(p, each) for each in made) for truth, p in pairs]
    if all(as_given):
        return "predicts_twice" if len(made) > 1 else "running_accuracy_differs"
    return "accuracy_of_changed_values"


def _wrong_value(step: Step, facts: Facts) -> str:
    """What comes back in place of the probabilities."""
    returned, probability = step.returned, facts.wanted.returned
    if returned is None:
        return "returns_nothing"
    if isinstance(returned, list) or "`dict`" in str(returned):
        return "returns_several"
    losses = [values[0] for values in step.noted("loss value")] + [np.array(np.divide(*step.after.totals[LOSS]))]
    if any(same(returned, loss) for loss in losses):
        return "returns_loss"
    if same(returned, probability):
        return "returns_other_shape"
    if any(same(returned, values[0]) for values in step.noted("prediction")):
        return "predicts_twice"
    return (
        "returns_rounded"
        if _is_rounded(returned) and returned.size == probability.size and not same(returned, step.mask)
        else "returns_other"
    )


def _is_rounded(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.size > 1 and bool(np.isin(array, (0, 1)).all())


# --- words -----------------------------------------------------------------------------------------------------------


class Facts:
    """What `steps.toml` puts into its messages, as text. A fact is asked for only where it applies.

    step, wanted : the step to explain, and Keras's own; error : how it failed, if it did.
    """

    def __init__(self, name: str, function: Any, seen: list[list[Step]]) -> None:
        self.name, self.function, self.seen = name, function, seen
        self.step: Step | None = None
        self.wanted: Step | None = None
        self.error: Failure | None = None

    @property
    def call(self) -> str:
        options = ", ".join(f"{name}=..." for name in OPTIONS[self.name])
        return f"{self.name}(model, image, mask, {options})"

    @property
    def parameters(self) -> str:
        return ", ".join(f"`{name}`" for name in inspect.signature(self.function).parameters) or "nothing"

    @property
    def kind(self) -> str:
        return type(self.function).__name__

    @property
    def returned(self) -> str:
        """What comes back in place of probabilities."""
        value, step = self.step.returned, self.step
        if isinstance(value, list):
            return f"{len(value)} " + ("thing in a list or tuple" if len(value) == 1 else "things")
        accuracy = np.array(np.divide(*step.after.totals[ACCURACY]))
        known = {"`mask`": step.mask, "`image`": step.image, "the result of `running_accuracy`": accuracy}
        alike = [words for words, thing in known.items() if same(value, thing)]
        if alike or not isinstance(value, np.ndarray):
            return alike[0] if alike else str(value)
        if value.shape == self.wanted.returned.shape:
            return "the probabilities " + altered(value, self.wanted.returned, "probability")
        return f"an array of shape {value.shape}" if value.shape else "a single number"

    @property
    def labels(self) -> str:
        labels = [str(int(label)) for label in np.unique(self.step.returned)]
        return " and ".join(labels) if len(labels) > 1 else f"{labels[0]} everywhere"

    @property
    def metric(self) -> str:
        return "running_loss" if judging.updated_twice(self.step, LOSS) else "running_accuracy"

    @property
    def loss_times(self) -> str:
        return _times(loss_factor(self.seen, judging.expected(self.name)))

    @property
    def times(self) -> str:
        return _times(gradient_factor(self.seen, judging.expected(self.name)))

    @property
    def image_change(self) -> str:
        """What became of the first image that arrives in the model as another."""
        given, image = next(iter(changed_images(self.step)), None), self.step.image
        if given is None:
            return ""
        if not isinstance(given, np.ndarray):
            kind = "a list" if isinstance(given, list) else given
            return f"The model gets {kind} instead."
        if given.shape != image.shape:
            return f"It arrives with the shape {given.shape}, not {('batch', *image.shape[1:])}.".replace("'", "")
        moved = same(np.sort(given, axis=None), np.sort(image, axis=None))
        known = "" if moved else " The images are in the range from 0 to 1 already."
        return f"It arrives {altered(given, image, 'image')}.{known}"

    @property
    def prediction_change(self) -> str:
        """What became of the first prediction that arrives in the loss as another."""
        given = next(iter(changed_predictions(self.step)), None)
        known = {"`mask`": self.step.mask, "`image`": self.step.image}
        alike = [words for words, thing in known.items() if same(given, thing)]
        if alike:
            return f"Instead of the prediction it gets {alike[0]}, which does not depend on the model."
        if not isinstance(given, np.ndarray):
            kind = "a list" if isinstance(given, list) else given
            return f"It gets {kind}." if kind else ""
        if given.size == self.step.mask.size and not np.ptp(given):
            always = altered(given, given, "prediction")
            return f"They arrive {always}, whatever they were: over one channel a softmax gives 1, and an argmax 0."
        like = [each for each, *_ in self.step.noted("prediction") if judging.shape(each) == given.shape]
        return f"They arrive {altered(given, like[0], 'prediction')}." if like else ""

    @property
    def trainable_change(self) -> str:
        """Which layers are trained afterwards that were not before, or the other way round."""
        before, after = ({n.split("/")[0]: None for n in s.trainable} for s in (self.step.before, self.step.after))
        changes = {
            "a layer that was frozen is trainable now": [name for name in after if name not in before],
            "no longer trained": [name for name in before if name not in after],
        }
        return "; ".join(f"{words}: `{'`, `'.join(names)}`" for words, names in changes.items() if names)

    @property
    def settings(self) -> str:
        return ", ".join(f"`{name}`" for name in changed_settings(self.step))

    @property
    def left_out(self) -> str:
        """Such as "5 of 8 weights, such as `edges/kernel`"."""
        missing = left_out(self.step)
        return (
            f"{len(missing)} of {len(self.step.before.trainable)} weights, such as `{missing[0]}`"
            if missing
            else "some weights"
        )

    @property
    def predictions(self) -> int:
        return len(self.step.noted("prediction"))

    @property
    def loop(self) -> str:
        return self.error.text

    @property
    def failure(self) -> str:
        """The error, and the line of the function where it arose."""
        place = f", in line {self.error.number}, `{self.error.line}`" if self.error.line else ""
        return f"`{self.error}`{place}"

    @property
    def reason_entry(self) -> dict[str, Any]:
        """What an error that says this usually comes from; empty for most."""
        return next((reason for reason in _words()["reasons"] if re.search(reason["error"], str(self.error))), {})

    @property
    def reason(self) -> str:
        return self.reason_entry.get("text", "")


def _times(factor: float | None) -> str:
    """Such as "4 times" and "1/255 of"; what a sign means is left to the words around it."""
    ratio = abs(factor or 0.0)
    if not ratio:
        return "0 times"
    number = ratio if ratio >= 1 else 1 / ratio
    text = f"{number:.0f}" if number >= 10 else f"{number:.2g}"
    return f"{text} times" if ratio >= 1 else f"1/{text} of"


def altered(found: np.ndarray, given: np.ndarray, name: str) -> str:
    """What became of an array, such as "inverted, as `1 - image`"; failing that, which numbers it holds."""
    if not np.isfinite(found).all():
        return "with numbers that are infinite or NaN, as after a division by zero"
    if not np.ptp(found):
        value = float(found.flat[0])
        return f"as {value:.3g} everywhere" if value else "as all zeros"
    lowest, highest = found.min(), found.max()
    if found.shape == given.shape:
        likely = [words for words, change in ALTERED if same(found, change(given))]
        factor = float(np.vdot(given, found) / max(np.vdot(given, given), NOISE))
        if likely:
            return likely[0].format(name=name)
        if close(found, factor * given):
            return f"with numbers that are {_times(factor)} what they were"
        if same(found, np.clip(given, lowest, highest)):
            return f"clipped: from {lowest:.3g} to {highest:.3g}"
    return f"as other numbers, from {lowest:.3g} to {highest:.3g}"
