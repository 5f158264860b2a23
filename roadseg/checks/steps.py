"""Tasks 1 and 2: is a step right, and if not, which mistake explains what it does?

Whether it is right, `judge` alone says. Only then is a name looked for: that of the entry of the catalog which
behaves as the student's step does on the same batches; where none does, that of the first quantity that differs, such
as the image that the model is given, or what the loss compares.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from roadseg import training
from roadseg.checks import judge as judging
from roadseg.checks.judge import ACCURACY, LOSS, NOISE, added, close, gradients, judged_steps, moved, predictions, same
from roadseg.checks.probe import OPTIONS, SEED, Failure, Kit, State, Step, aside, observe_step, trials
from roadseg.checks.result import NOT_WRITTEN, Aspect, Result, aspects_of, read_words
from roadseg.checks.step_mistakes import CATALOG, Mistake
from roadseg.runs import code_of


def train_step(function: Callable) -> Result:
    """Check task 1: one training step, beside Keras's `train_on_batch`. Takes a second or two and never raises."""
    return _checked(function, "train_step")


def val_step(function: Callable) -> Result:
    """Check task 2: measuring one batch, beside Keras's `test_on_batch`. Takes about a second and never raises."""
    return _checked(function, "val_step")


@np.errstate(all="ignore")  # what a step leaves behind may be infinite
def step_aspects(name: str, function: Any, seed: int = SEED) -> tuple[tuple[Aspect, ...], list[list[Step]]]:
    """The verdict on a step, aspect by aspect, and what it did in each trial; nothing where it cannot be called."""
    with aside():
        seen = [] if _not_callable(name, function) else observe_step(function, name, trials(seed))
    if not seen or uses_package(seen):
        return aspects_of(judging.SHARES[name], ()), seen  # it cannot be tried, or is not the student's own
    return judging.judge_step(name, seen, seed), seen


@np.errstate(all="ignore")
def _checked(function: Any, name: str) -> Result:
    found, seen = step_aspects(name, function)
    passed = all(aspect.right for aspect in found)
    with aside():
        mistake = Finding(name) if passed else _find(name, function, seen)
        facts = defaultdict(str, _facts(name, function, seen, mistake))
    words = _words()[mistake.cause]
    return Result(
        name=name,
        title=_words()[name]["title"],
        passed=passed,
        cause=None if passed else mistake.cause,
        message=words["message"].format_map(facts).strip(),
        look=words.get("look", "").format_map(facts),
        hints=tuple(hint.format_map(facts) for hint in words.get("hints", ())),
        aspects=found,
        function=function if passed else getattr(training, name),
    )


@cache
def _words() -> dict[str, Any]:
    """What is said about each task and each cause, and `reasons`, which explain errors by what they say."""
    return read_words(Path(__file__).with_suffix(".toml"))


def uses_package(seen: list[list[Step]]) -> bool:
    """Whether the package's own step was at work."""
    return any(called[1] for step in seen[0] for called in step.noted("call"))


# --- finding the mistake ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """The id of a mistake, and what shows it: a step, Keras's own beside it, and how it failed."""

    cause: str
    step: Step | None = None
    wanted: Step | None = None
    error: Failure | None = None


def _find(name: str, function: Any, seen: list[list[Step]]) -> Finding:
    if cause := _not_callable(name, function):
        return Finding(cause)
    first = seen[0][0]
    nothing = first.returned is None or first.returned is ...
    empty = first.error.kind == "NotImplementedError" if first.error else nothing
    if not first.events and empty:
        return Finding(NOT_WRITTEN)
    kind = first.returned if isinstance(first.returned, str) else ""
    if re.search("generator|coroutine", kind):
        return Finding("runs_later")
    if re.search("[Ff]unction", kind) and not first.events:
        return Finding("returns_function")
    if uses_package(seen):
        return Finding("package_step")
    judged = list(judged_steps(name, seen))
    wrong = [(step, wanted, verdict) for step, wanted, verdict in judged if step.error or not all(verdict.values())]
    if not wrong:
        return _over_several_steps(name, seen)
    broken = next(aspect for aspect in wrong[0][2] if not all(each[aspect] for *_, each in judged))
    step, wanted, verdict = next(each for each in wrong if each[0].error or not each[2][broken])
    source = _source(function)
    cause = (
        _certain(step) or _imitated(name, source, seen, broken) or _first_difference(name, seen, step, wanted, verdict)
    )
    empty = [i for i, metric in enumerate(judging.NAMES) if cause in (f"{metric}_not_updated", "metrics_not_updated")]
    sometimes = any(added(each, metric).any() for metric in empty for steps in seen for each in steps)
    if sometimes and source and _returns_early(source):
        cause = "returns_early"
    return Finding(cause, step, wanted, step.error)


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


def _over_several_steps(name: str, seen: list[list[Step]]) -> Finding:
    """What is wrong where each single step is right: how batches are weighed, or what happens in a compiled step."""
    for metric, cause in ((LOSS, "running_loss_weighted"), (ACCURACY, "running_accuracy_differs")):
        if not judging.weighs_evenly(seen[0], metric):
            return Finding(cause, seen[0][0], judging.expected(name)[0][0])
    error = next((step.error for steps in seen for step in steps if step.error), None)
    if not error:
        return Finding("differs_when_compiled")
    taken_out = re.search(r"numpy|[Ss]ymbolic|(float|int)\(\)(?!.*None)", str(error))
    return Finding("values_taken_out" if taken_out else "breaks_when_compiled", error=error)


def _certain(step: Step) -> str | None:
    """The id of what needs no comparison: an error that explains itself, or another model or its weights."""
    kind = step.error.kind if step.error else ""
    if kind == "KerasLoop":
        return "calls_keras_loop"
    if kind == "NotImplementedError" and step.error.own:
        return "stub_left"
    if kind == "EndlessCalls":
        return "predicts_twice"
    if kind in ("NameError", "UnboundLocalError", "SystemExit"):
        return "raises_error"
    if step.noted("apply_gradients") and not step.error and not step.noted("applied"):
        return "apply_failed"
    if not (step.noted("call") or step.noted("forward")) and (step.events or not step.error):
        return "model_not_used"
    names = [name for _, names in step.noted("apply") for name in names if "/" in name]
    if any(name not in step.before.weights for name in names):
        return "weights_of_another_model"
    if step.after.trainable != step.before.trainable:
        return "model_frozen"
    return "frozen_weights_trained" if any(name not in step.before.trainable for name in names) else None


# --- imitation -------------------------------------------------------------------------------------------------------


def _imitated(name: str, source: list[str], seen: list[list[Step]], broken: str) -> str | None:
    """The id of the entry that behaves as the student's step does, among those that break the same aspect first; of
    several, the one that is closest in its code."""
    wrong = [mistake for mistake in CATALOG[name] if mistake.aspect == broken]
    wrong.sort(key=lambda mistake: -SequenceMatcher(None, source, _tokens(mistake.source)).ratio())
    contradicted = {"returns_early": not _returns_early(source), "tape_not_started": "with" in source}
    wrong = [mistake for mistake in wrong if not contradicted.get(mistake.id)]  # by the code itself
    alike = (mistake.id for whole in (True, False) for mistake in wrong if _behaves_alike(seen, mistake, whole=whole))
    return next(alike, None)


def _returns_early(source: list[str]) -> bool:
    """Whether something stands behind a `return` in the words of a function's code, or these are not known."""
    returns = " ".join(source).split(" return ")
    return len(returns) != 2 or "\n" in returns[1]


def _behaves_alike(seen: list[list[Step]], mistake: Mistake, *, whole: bool) -> bool:
    """Whether an entry leaves the same behind: as a whole, or as far as the aspect that it breaks, where prediction and
    loss are right: there may be another mistake later on."""
    enough = None if whole else {"update": 1, "running loss": 2, "running accuracy": 3}.get(mistake.aspect)
    pairs = (pair for i in (1, 0, 2) for pair in zip(seen[i], _behavior(mistake, i)))  # the smaller model first
    return all(all(_alike(*pair)[:enough]) for pair in pairs)


_KITS: dict[bool, Kit] = {}


@cache
def _behavior(mistake: Mistake, trial: int) -> list[Step]:
    """What the wrong step of the catalog does in a trial."""
    return observe_step(mistake.step, mistake.name, (trials()[trial],), kits=_KITS)[0]


def _alike(one: Step, two: Step) -> tuple[bool, ...]:
    """Whether two steps leave the same behind: model and optimizer, running loss, running accuracy, value; an error is
    the same where it says the same after events of the same kinds."""
    if one.error or two.error:
        texts = [re.sub(r"[1-9]\d*", "", str(step.error)) for step in (one, two)]
        kinds = [[what for what, _ in step.events] for step in (one, two)]
        return (texts[0] == texts[1] and kinds[0] == kinds[1],)
    return (
        judging.leaves_alike(one, two),
        close(one.after.totals[LOSS], two.after.totals[LOSS]),
        close(one.after.totals[ACCURACY], two.after.totals[ACCURACY])
        and _same_value(*(list(map(list, step.noted("running_accuracy"))) for step in (one, two))),
        _same_value(one.returned, two.returned),
    )


def _same_value(one: Any, two: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        return close(one, two)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_same_value, one, two))
    return type(one) is type(two) and one == two


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


def _first_difference(name: str, seen: list[list[Step]], step: Step, wanted: Step, verdict: dict[str, bool]) -> str:
    """The id for what no entry of the catalog does: of the first quantity that is not as with Keras, from the image
    that the model is given to the value returned."""
    if not verdict["prediction"] and (cause := _wrong_images(step)):
        return cause
    if step.error:
        what, values = step.events[-1] if step.events else ("", ())
        if what == "running_accuracy" and len(values) == 1:
            swapped = any(same(values[0], loss[0]) for loss in step.noted("loss value"))
            return "metrics_swapped" if swapped else "accuracy_needs_both"
        otherwise = "loss_fn_not_used" if step.noted("apply") and not step.noted("loss") else "raises_error"
        return _wrong_arguments(step) or _reason(step.error).get("cause", {}).get(name, otherwise)
    if not verdict["prediction"]:
        if judging.any_training(step) != (name == "train_step"):
            return "not_in_training_mode" if name == "train_step" else "in_training_mode"
        if len(predictions(step)) > 1:
            return "predicts_twice"
        return "state_differs" if any(same(each, wanted.returned) for each in predictions(step)) else "other_prediction"
    if not verdict["loss"]:
        used = moved(step) or step.noted("apply") or added(step, LOSS).any()
        return _wrong_arguments(step) or ("loss_fn_not_used" if used else "loss_not_computed")
    if not verdict.get("update", True):
        return _wrong_update(name, seen, step, wanted)
    if not verdict.get("trainable weights unchanged", True):
        return "trains_in_validation" if moved(step) else "model_changed"
    if not verdict["running loss"]:
        if cause := _not_once(step, LOSS):
            return cause
        pairs = _measured(name, seen)
        factors = [_factor(*(np.divide(*added(each, LOSS)) for each in pair)) for pair in pairs]
        if _steady(factors, pairs) and not close(factors[0], 1.0):
            return "running_loss_scaled"
        return "predicts_twice" if len(predictions(step)) > 1 else "running_loss_differs"
    if not verdict["running accuracy"]:
        return _wrong_accuracy(step)
    return _wrong_value(step, wanted)


def changed_images(step: Step) -> list:
    """What the model was given that is not the image, or has another shape."""
    given = [values[0] for values in step.noted("call") or step.noted("forward")]
    return [each for each in given if not same(each, step.image) or judging.shape(each) != step.image.shape]


def _wrong_images(step: Step) -> str | None:
    """What is wrong with what the model was given."""
    changed = changed_images(step)
    if not changed:
        return None
    if any(same(each, step.mask) for each in changed):
        return "mask_as_image"
    sizes = [judging.size(each) for each in changed]
    if any(judging.shape(each)[-3:] != step.image.shape[1:] for each in changed) or max(sizes) >= step.image.size:
        return "image_changed"
    return "image_by_image" if len(sizes) > 1 and sum(sizes) >= step.image.size else "part_of_batch"


def changed_arguments(step: Step) -> list[tuple]:
    """What the loss was given, as (truth, prediction), where that is not the mask and what the model predicted."""
    made, pairs = predictions(step), judging.loss_pairs(step)
    return [pair for pair in pairs if not (same(pair[0], step.mask) and any(same(pair[1], each) for each in made))]


def _wrong_arguments(step: Step) -> str | None:
    """What is wrong with what `loss_fn` was given."""
    made = predictions(step)
    for truth, predicted in changed_arguments(step):
        if same(predicted, step.mask) and any(same(truth, each) for each in made):
            return "loss_arguments_swapped"
        if 0 < judging.size(predicted) < step.mask.size:
            if judging.shape(predicted)[-3:] == step.mask.shape[1:]:
                return "part_of_batch"
            kept = any(np.isin(predicted, each).all() for each in made if isinstance(each, np.ndarray))
            return "pixels_left_out" if kept else "averaged_before_loss"
        if any(same(predicted, each) for each in made):
            return "mask_changed"
        rounded = _is_rounded(predicted) and np.ptp(predicted) and not same(predicted, step.mask)
        return "loss_of_rounded" if rounded else "prediction_changed"
    return "loss_weighted" if step.noted("loss weights") else None


def left_out(step: Step) -> list[str]:
    """The weights for which the optimizer was given no gradient."""
    return [name for name in step.before.trainable if name not in gradients(step)]


def _wrong_update(name: str, seen: list[list[Step]], step: Step, wanted: Step) -> str:
    """What is wrong with how the weights move."""
    if changed_settings(step):
        return "optimizer_changed"
    if not step.noted("apply"):
        sometimes = any(each.noted("apply") for steps in seen for each in steps)
        otherwise = "applied_sometimes" if sometimes else "gradients_not_computed"
        return "optimizer_not_used" if moved(step) else otherwise
    if left_out(step):
        return "some_weights_left_out"
    if len(step.noted("apply")) > 1:
        return "applied_twice"
    given, right = gradients(step), gradients(wanted)
    differing = [weight for weight in right if not close(given[weight], right[weight])]
    if not differing:
        return "state_differs"
    if len(predictions(step)) > 1:
        return "predicts_twice"
    if seen[2] and any(np.any(np.abs(gradient) > NOISE) for gradient in gradients(seen[2][0]).values()):
        return "loss_term_added"
    if any(close(given[weight], other) for weight in differing for other in right.values()):
        return "gradients_mispaired"
    return _wrong_lengths(_measured(name, seen))


def _measured(name: str, seen: list[list[Step]]) -> list[tuple[Step, Step]]:
    """The first steps of the two trials whose loss is not zero, each with Keras's own; batches of four and of three."""
    return [(steps[0], wanted[0]) for steps, wanted in zip(seen[:2], judging.expected(name)) if steps]


def _wrong_lengths(pairs: list[tuple[Step, Step]]) -> str:
    """What is wrong with gradients: too long, too short, or pointing elsewhere."""
    both = [tuple(_flat(gradients(each)) for each in pair) for pair in pairs]
    factors = [_factor(*pair) for pair in both]
    if all(close(found, factor * right) for factor, (found, right) in zip(factors, both)):
        if all(close(factor, trial.rate) for factor, trial in zip(factors, trials())):
            return "scaled_by_rate"
        if all(close(factor, 1.0) for factor in factors):
            return "gradients_differ"
        if _steady(factors, pairs):
            return "wrong_sign" if factors[0] < 0 else "loss_scaled"
        lengths = [np.linalg.norm(found) for found, _ in both]
        clipped = any(close(factor, 1.0) for factor in factors) or close(lengths[0], lengths[-1])
        return "gradients_clipped" if clipped else "loss_transformed"
    weights = [(gradients(step).get(weight), right) for step, own in pairs for weight, right in gradients(own).items()]
    return "gradients_clipped" if all(_points_alike(*weight) for weight in weights) else "gradients_differ"


def _flat(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(array.ravel() for array in arrays.values())])


def _factor(found: np.ndarray, right: np.ndarray) -> float:
    """The factor by which numbers exceed the right ones; NaN where their counts differ, or the right ones are zero."""
    return float(np.vdot(found, right) / np.vdot(right, right)) if found.size == right.size else float("nan")


def _steady(factors: list[float], pairs: list[tuple[Step, Step]]) -> bool:
    """Whether factors are the same in all steps, or go up or down with the number of images."""
    counts = np.array([len(step.image) for step, _ in pairs])
    scaled = [np.array(factors) * counts**power for power in (-1.0, 0.0, 1.0)]
    return any(np.isfinite(each).all() and close(each, np.full_like(each, each[0])) for each in scaled)


def _points_alike(found: np.ndarray | None, right: np.ndarray) -> bool:
    """Whether a gradient is the right one times something positive, or none of its numbers is larger or of another
    sign."""
    if np.shape(found) != right.shape:
        return False
    factor = _factor(found, right)
    smaller = np.all((found * right >= 0) & (np.abs(found) <= 1.001 * np.abs(right) + NOISE))
    return bool(smaller) or (factor > 0 and close(found, factor * right))


def changed_settings(step: Step) -> list[str]:
    """What a step has set in the optimizer."""
    return [name for name, value in step.before.settings.items() if step.after.settings[name] != value]


def _not_once(step: Step, metric: int) -> str | None:
    """The id of a running metric that is not updated, or twice."""
    if not added(step, metric).any():
        return f"{judging.NAMES[metric]}_not_updated"
    return "metric_updated_twice" if judging.updated_twice(step, metric) else None


def _wrong_accuracy(step: Step) -> str:
    """What is wrong with what the running accuracy was given."""
    if any(len(values) > 2 for values in step.noted("running_accuracy")):
        return "running_accuracy_weighted"
    if cause := _not_once(step, ACCURACY):
        return cause
    made = predictions(step)
    pairs = [values[:2] for values in step.noted("running_accuracy") if len(values) > 1]
    if not all(same(truth, step.mask) and any(same(given, each) for each in made) for truth, given in pairs):
        return "accuracy_of_changed_values"
    return "predicts_twice" if len(made) > 1 else "running_accuracy_differs"


def _wrong_value(step: Step, wanted: Step) -> str:
    """What comes back in place of the probabilities."""
    returned = step.returned
    if returned is None:
        return "returns_nothing"
    losses = [values[0] for values in step.noted("loss value")] + [np.array(np.divide(*step.after.totals[LOSS]))]
    if any(same(returned, loss) for loss in losses):
        return "returns_loss"
    twice = any(same(returned, each) for each in predictions(step)) and not same(returned, wanted.returned)
    return "predicts_twice" if twice else "returns_other"


def _is_rounded(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.size > 1 and bool(np.isin(array, (0, 1)).all())


# --- words -----------------------------------------------------------------------------------------------------------

# What an array may have become; in this order they are tried.
ALTERED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverted, as `1 - {name}`": lambda batch: 1 - batch,
    "negative, as `-{name}`": lambda batch: -batch,
    "mirrored, left to right": lambda batch: batch[:, :, ::-1],
    "upside down": lambda batch: batch[:, ::-1],
    "with height and width exchanged": lambda batch: batch.transpose(0, 2, 1, 3),
    "with the colors in reverse order": lambda batch: batch[..., ::-1],
    "with the images in reverse order": lambda batch: batch[::-1],
    "after another sigmoid": lambda batch: 1 / (1 + np.exp(-batch)),
}


def _facts(name: str, function: Any, seen: list[list[Step]], mistake: Finding) -> dict[str, Any]:
    """What fills the gaps in the messages; a fact that does not apply is missing."""
    options = ", ".join(f"{option}=..." for option in OPTIONS[name])
    facts = {"name": name, "kind": type(function).__name__, "call": f"{name}(model, image, mask, {options})"}
    step, wanted, error = mistake.step, mistake.wanted, mistake.error
    if mistake.cause == "wrong_signature":
        taken = ", ".join(f"`{parameter}`" for parameter in inspect.signature(function).parameters)
        facts["parameters"] = taken or "nothing"
    if error:
        facts |= {"failure": error.located, "reason": _reason(error).get("text", ""), "loop": error.text}
    if not step:
        return facts
    expected, missing = judging.expected(name), left_out(step)
    mask, image = {"`mask`": step.mask}, {"`image`": step.image}
    accuracy = {"the result of `running_accuracy`": np.array(np.divide(*step.after.totals[ACCURACY]))}
    given = next((predicted for _, predicted in changed_arguments(step)), None)
    return facts | {
        "image": in_words(next(iter(changed_images(step)), None), step.image, "image", mask),
        "prediction": in_words(given, wanted.returned, "prediction", mask | image),
        "returned": in_words(step.returned, wanted.returned, "probability", mask | image | accuracy),
        "trainable": ", ".join(f"`{name}`" for name in sorted(_layers(step.before) ^ _layers(step.after))),
        "settings": ", ".join(f"`{setting}`" for setting in changed_settings(step)),
        "left_out": f"{len(missing)} of {len(step.before.trainable)} weights, such as `{''.join(missing[:1])}`",
        "predictions": len(predictions(step)),
        "metric": "running_loss" if judging.updated_twice(step, LOSS) else "running_accuracy",
        "times": _times(_factor(*(_flat(gradients(each[0][0])) for each in (seen, expected)))),
        "loss_times": _times(_factor(*(np.divide(*added(each[0][0], LOSS)) for each in (seen, expected)))),
        "gradient_gap": _gradient_gap(step, wanted),
        "loss_gap": _gap(step, wanted, LOSS),
        "accuracy_gap": _gap(step, wanted, ACCURACY),
    }


def _reason(error: Failure) -> dict[str, Any]:
    """What an error that says this usually comes from; empty for most."""
    return next((reason for reason in _words()["reasons"] if re.search(reason["error"], str(error))), {})


def _layers(state: State) -> set[str]:
    """The layers that are trained."""
    return {name.split("/")[0] for name in state.trainable}


def _gradient_gap(step: Step, wanted: Step) -> str:
    """The first gradient that differs, and by how much."""
    given = gradients(step)
    for name, right in gradients(wanted).items():
        if name in given and not close(given[name], right):
            one, two = (f"{float(np.linalg.norm(gradient)):.3g}" for gradient in (given[name], right))
            if one == two:
                return f": that of `{name}` has the right length, but other numbers"
            return f": that of `{name}` has the length {one}, where {two} is right"
    return ""


def _gap(step: Step, wanted: Step, metric: int) -> str:
    """By how much a running metric is off."""
    found, right = (float(np.divide(*added(each, metric))) for each in (step, wanted))
    return "" if np.isnan(found) or close(found, right) else f": by {found:.3g}, where {right:.3g} is right"


def _times(factor: float) -> str:
    """Such as "4 times" and "1/255 of"; what a sign means is left to the words around it."""
    ratio = abs(factor)
    if not ratio > 0:
        return "0 times"
    number = ratio if ratio >= 1 else 1 / ratio
    text = f"{number:.0f}" if number >= 10 else f"{number:.2g}"
    return f"{text} times" if ratio >= 1 else f"1/{text} of"


def in_words(found: Any, given: np.ndarray, name: str, known: dict[str, np.ndarray]) -> str:
    """What there is in place of an array, such as "the image inverted, as `1 - image`"; failing that, its numbers."""
    if alike := [words for words, thing in known.items() if same(found, thing)]:
        return alike[0]
    if isinstance(found, list):
        return f"{len(found)} things" if len(found) > 1 else "one thing in a list or tuple"
    if not isinstance(found, np.ndarray):
        return str(found)
    if not found.shape:
        return "a single number"
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        return "numbers that are infinite or NaN, as after a division by zero"
    lowest, highest = found.min(), found.max()
    if lowest == highest:
        return f"{lowest:.3g} everywhere"
    if _is_rounded(found):
        return "0 and 1"
    if found.shape != given.shape:
        return f"an array of shape {found.shape}, not {given.shape}"
    if likely := [words for words, change in ALTERED.items() if same(found, change(given))]:
        return f"the {name} " + likely[0].format(name=name)
    factor = float(np.vdot(given, found) / max(np.vdot(given, given), NOISE))
    if close(found, factor * given):
        return f"numbers that are {_times(factor)} the {name}"
    clipped = "the {name} clipped, " if same(found, np.clip(given, lowest, highest)) else "other numbers, "
    return f"{clipped.format(name=name)}from {lowest:.3g} to {highest:.3g}"
