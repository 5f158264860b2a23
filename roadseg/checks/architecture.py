"""What is wrong with a network, its steps seen beside those of the right one: levels, skips, layers.

Each check takes the network that was seen and the one that is expected, and raises the `Mistake` that it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import pairwise, product
from typing import Any, NamedTuple

from roadseg.checks.graph import LEARNED, Network, Step, Use

DOWN, BOTTOM, UP = HALVES = "on the way down", "at the bottom", "on the way up"
NUMBERS = ("none", "one", "two", "three", "four", "five", "six")
LAYERS = {
    "image": "image",
    "convolution": "convolution",
    "transposed": "transposed convolution",
    "max_pool": "pooling",
    "join": "concatenation",
}


class Mistake(Exception):
    """Ends a check: what is wrong, by its name in `network.toml`, and what fills the gaps in the message there."""

    def __init__(self, cause: str, **details: Any) -> None:
        super().__init__(cause)
        self.cause, self.details = cause, details


# --- places and numbers in words -------------------------------------------------------------------------------------


def sides(size: tuple[int, ...]) -> str:
    """Such as 128 x 128."""
    return " x ".join(map(str, size))


def number(count: int) -> str:
    """Such as three; digits for the large ones."""
    return NUMBERS[count] if count < len(NUMBERS) else f"{count:,}"


def times(count: int) -> str:
    """Such as three times."""
    return {0: "not once", 1: "once", 2: "twice"}.get(count, f"{number(count)} times")


def half(step: Step, seen: Network) -> str:
    """DOWN, BOTTOM or UP: where a step stands, seen from the smallest size."""
    bottom = min((use.step for use in seen.spine), key=lambda step: step.size)
    if step.size == bottom.size:
        return BOTTOM
    return UP if step.depth > bottom.depth else DOWN


def where(steps: Iterable[Step], seen: Network, *, among: Iterable[Step] = ()) -> str:
    """The places of steps in few words; `among` are all those that might have been like them."""
    places, all_places = _by_half(steps, seen), _by_half(among, seen)
    if sum(map(len, places.values())) > 1 and places == all_places:
        return "everywhere"
    phrases = []
    for part, sizes in places.items():
        listed = "everywhere" if len(set(sizes)) > 1 and sizes == all_places.get(part) else f"at {_listed(sizes)}"
        phrases.append(part if part == BOTTOM else f"{listed} {part}")
    return " and ".join(phrases)


def _by_half(steps: Iterable[Step], seen: Network) -> dict[str, list[str]]:
    """The sizes of steps, in order, for each half that has any."""
    steps = sorted(steps, key=lambda step: step.depth)
    sizes = {part: [sides(step.size) for step in steps if half(step, seen) == part] for part in HALVES}
    return {part: found for part, found in sizes.items() if found}


def _listed(names: Iterable[str]) -> str:
    *names, last = dict.fromkeys(names)
    return f"{', '.join(names)} and {last}" if names else last


def _on_spine(step: Step, seen: Network) -> bool:
    return any(use.step is step for use in seen.spine)


def _kinds(stage: list[Use]) -> list[str]:
    return [use.step.kind for use in stage]


# --- the whole -------------------------------------------------------------------------------------------------------


def check_outputs(seen: Network, expected: Network) -> None:
    """One output, which depends on the image, and by weights."""
    if len(seen.outputs) != 1:
        raise Mistake("several_outputs" if seen.outputs else "disconnected", found=number(len(seen.outputs)))
    if seen.wrapped:
        raise Mistake("output_wrapped")
    if not any(step.kind in LEARNED for step in seen.steps):
        raise Mistake("no_layers")


def check_places(seen: Network, expected: Network) -> None:
    """Height and width are there at the end."""
    if 0 < len(seen.shape) < 3:
        raise Mistake("whole_picture")


def check_shape(seen: Network, expected: Network) -> None:
    """One probability for each pixel."""
    if seen.shape[1:] != expected.shape[1:]:
        raise Mistake("output_shape")


def check_operations(seen: Network, expected: Network) -> None:
    """No layer that leaves traces of its own in the graph."""
    if seen.operations & {"Rsqrt", "FusedBatchNormV3"}:
        raise Mistake("batch_normalization" if "AssignVariableOp" in seen.operations else "normalization")
    if any("Random" in name for name in seen.operations):
        raise Mistake("dropout" if seen.operations >= {"GreaterEqual", "SelectV2"} else "random_layer")


# --- single steps ----------------------------------------------------------------------------------------------------


def check_steps(seen: Network, expected: Network) -> None:
    """No step that would be wrong anywhere."""
    for cause, is_wrong in WRONG_STEPS.items():
        wrong = [step for step in seen.steps if is_wrong(step, seen)]
        if wrong:
            alike = [s for s in seen.steps if s.kind == wrong[0].kind and s is not seen.spine[-1].step]
            details = {"window": sides(wrong[0].window), "stride": sides(wrong[0].stride), "size": sides(wrong[0].size)}
            raise Mistake(cause, where=where(wrong, seen, among=alike), **details)


def _is_shared(step: Step, seen: Network) -> bool:
    return any(step.weights & other.weights for other in seen.steps if other is not step)


def _loses_the_edge(step: Step, seen: Network) -> bool:
    """Whether a convolution gives fewer pixels than its stride explains."""
    lengths = zip(step.size, step.inputs[0].step.size, step.stride) if step.kind == "convolution" else ()
    return any(after < -(-before // stride) for after, before, stride in lengths)


def _gains_an_edge(step: Step, seen: Network) -> bool:
    """Whether a convolution gives more pixels than it takes, so that an edge was put around them."""
    return step.kind == "convolution" and step.size > step.inputs[0].step.size


def _ends_by_doubling(step: Step, seen: Network) -> bool:
    """Whether a transposed convolution makes the output from features of full size."""
    last = step is seen.spine[-1].step and step.kind == "transposed" and step.channels == 1
    return last and step.inputs[0].step.size >= seen.spine[0].step.size


def _pools_again(step: Step, seen: Network) -> bool:
    """Whether a pooling stands behind a transposed convolution, on the spine."""
    raised = [use.step.depth for use in seen.spine if use.step.kind == "transposed"]
    return step.kind == "max_pool" and _on_spine(step, seen) and step.depth > min(raised, default=step.depth)


def _enlarges_without_weights(step: Step, seen: Network) -> bool:
    """Whether feature maps on the spine are resized upwards, with convolutions yet to come."""
    behind = [use.step for use in seen.spine if use.step.depth > step.depth]
    followed = any(later.kind in LEARNED and later.window != (1, 1) for later in behind)
    return step.kind == "resize" and followed and _on_spine(step, seen) and step.size > step.inputs[0].step.size


def _shrinks_otherwise(step: Step, seen: Network) -> bool:
    return step.kind == "resize" and _on_spine(step, seen) and step.size < step.inputs[0].step.size


def _joins_wrongly(step: Step, seen: Network) -> bool:
    return step.kind == "join" and step.channels != sum(use.step.channels for use in step.inputs)


def _joins_one_thing(step: Step, seen: Network) -> bool:
    return step.kind == "join" and len({use.step for use in step.inputs}) == 1


def _adds_a_skip(step: Step, seen: Network) -> bool:
    """Whether feature maps from the way down are added to those from the way up."""
    return step.kind == "add" and len({half(use.step, seen) == UP for use in step.inputs}) == 2


def _begins_again(step: Step, seen: Network) -> bool:
    """Whether several layers with weights take the image itself."""
    first = [s for s in seen.steps if s.kind in LEARNED and s.inputs[0].step.kind == "image"]
    return step in first[1:]


WRONG_STEPS: dict[str, Callable[[Step, Network], bool]] = {
    "channels_first": lambda step, seen: step.channels_first,
    "shared_layer": _is_shared,
    "begins_again": _begins_again,
    "grey_input": lambda step, seen: step.taken == 1 and step.inputs[0].step.kind == "image",
    "dilated_convolution": lambda step, seen: step.dilated,
    "separable_convolution": lambda step, seen: step.kind == "depthwise",
    "grouped_convolution": lambda step, seen: step.groups != 1,
    "padding_valid": _loses_the_edge,
    "padded_twice": _gains_an_edge,
    "strided_convolution": lambda step, seen: step.kind == "convolution" and step.stride != (1, 1),
    "average_pooling": lambda step, seen: step.kind == "average_pool",
    "pooled_again": _pools_again,
    "pooling_window": lambda step, seen: step.kind == "max_pool" and not step.window == step.stride == (2, 2),
    "pooled_first": lambda step, seen: step.kind == "max_pool" and step.inputs[0].step.kind == "image",
    "axes_swapped": lambda step, seen: step.kind == "transpose",
    "upsampling": _enlarges_without_weights,
    "head_transposed": _ends_by_doubling,
    "transposed_stride": lambda step, seen: step.kind == "transposed" and step.stride != (2, 2),
    "transposed_kernel": lambda step, seen: step.kind == "transposed" and step.window != (2, 2),
    "shrunk_otherwise": _shrinks_otherwise,
    "resized": lambda step, seen: step.kind == "resize" and _on_spine(step, seen),
    "joined_axis": _joins_wrongly,
    "joined_with_itself": _joins_one_thing,
    "skips_added": _adds_a_skip,
    "residual": lambda step, seen: step.kind == "add",
    "merged_otherwise": lambda step, seen: step.kind == "merge",
}


# --- levels and skips ------------------------------------------------------------------------------------------------


def check_levels(seen: Network, expected: Network) -> None:
    """As many times down and up as expected, and to the same sizes."""
    (down, up), levels = changes(seen), changes(expected)[0]
    if not down:
        raise Mistake("no_way_down")
    if not up:
        raise Mistake("no_way_up", found=times(down))
    if down == up != levels:
        raise Mistake("levels_too_few" if down < levels else "levels_too_many", found=times(down))
    if [stage[0].step.size for stage in seen.stages] != [stage[0].step.size for stage in expected.stages]:
        raise Mistake("levels_uneven", down=times(down), up=times(up))


def changes(seen: Network) -> tuple[int, int]:
    """How many times the size falls and rises along the spine."""
    heights = [stage[0].step.size[0] for stage in seen.stages]
    falls = sum(after < before for before, after in pairwise(heights))
    return falls, len(heights) - 1 - falls


def check_skips(seen: Network, expected: Network) -> None:
    """Each level on the way up takes in the last features of its own size from the way down."""
    downs = seen.stages[: len(seen.stages) // 2]
    levels = list(zip(reversed(downs), seen.stages[len(downs) + 1 :]))
    steps = [up[0].step for _, up in levels]
    without = [up[0].step for _, up in levels if "join" not in _kinds(up)]
    if without:
        raise Mistake("no_skips" if without == steps else "skip_missing", where=where(without, seen))
    mistakes = {up[0].step: mistake for down, up in levels if (mistake := _skip_mistake(down, up, seen))}
    if mistakes:
        cause, size = next(iter(mistakes.values()))
        alike = [step for step, mistake in mistakes.items() if mistake[0] == cause]
        raise Mistake(cause, where=where(alike, seen, among=steps), found=size)


def _skip_mistake(down: list[Use], up: list[Use], seen: Network) -> tuple[str, str] | None:
    """What is wrong with the skip from one stage to another, and the size that it comes from."""
    place = _kinds(up).index("join")
    join = up[place].step
    skips = [use for use in join.inputs if use.step is not up[place - 1].step]
    if len(skips) != 1:
        return "joined_several", ""
    origin, passed = _origin(skips[0].step, seen)
    found, wanted = _activation(skips[0], up[place]), _used_activation(down[-1], seen)
    causes = {
        "skip_processed": bool(passed) and (origin.size == join.size or bool(passed & {"convolution", "depthwise"})),
        "skip_after_pooling": bool(passed) and origin.kind == "max_pool",
        "skip_wrong_level": bool(passed),
        "skip_from_input": origin.kind == "image",
        "joined_with_decoder": origin not in [use.step for use in down],
        "skip_before_convolutions": origin.kind == "max_pool",
        "skip_after_first_convolution": origin is not down[-1].step,
        "skip_before_activation": found != wanted and found == "none",
        "skip_changed": found != wanted,
        "joined_late": place > 1,
    }
    return next(((cause, sides(origin.size)) for cause, holds in causes.items() if holds), None)


def _origin(step: Step, seen: Network) -> tuple[Step, set[str]]:
    """Where a skip leaves the spine, and the kinds of the steps that it passes on its way."""
    passed = set()
    while not _on_spine(step, seen):
        passed.add(step.kind)
        step = max((use.step for use in step.inputs), key=lambda before: before.depth)
    return step, passed


def _activation(use: Use, following: Use) -> str:
    """The function that values pass before they are convolved again: pooling or joining may come first."""
    waits = use.activation == "none" and following.step.kind in ("max_pool", "join")
    return following.activation if waits else use.activation


def _used_activation(use: Use, seen: Network) -> str:
    """The same for a use on the spine."""
    following = seen.spine[seen.spine.index(use) + 1 :]
    return _activation(use, following[0]) if following else use.activation


# --- layer by layer --------------------------------------------------------------------------------------------------


def check_head_is_there(seen: Network, expected: Network) -> None:
    """A last convolution that makes the channels of the output."""
    head = seen.spine[-1].step
    if head.kind != "convolution" or (head.window != (1, 1) and head.channels == head.inputs[0].step.channels):
        raise Mistake("head_missing")


def check_convolutions(seen: Network, expected: Network) -> None:
    """As many at each level as expected."""
    ends = [stage[-1].step for stage in seen.stages]
    surplus = [_convolutions(stage) - _convolutions(wanted) for stage, wanted in zip(seen.stages, expected.stages)]
    for cause, sign in (("convolutions_missing", -1), ("convolutions_extra", 1)):
        wrong = [i for i, more in enumerate(surplus) if sign * more > 0]
        if wrong:
            found = 2 + surplus[wrong[0]]
            raise Mistake(cause, where=where([ends[i] for i in wrong], seen, among=ends), found=number(found))


def _convolutions(stage: list[Use]) -> int:
    return _kinds(stage).count("convolution")


def check_order(seen: Network, expected: Network) -> None:
    """The same kinds of steps, one after the other."""
    for stage, wanted in zip(seen.stages, expected.stages):
        if _kinds(stage) != _kinds(wanted):
            found, right = (", ".join(LAYERS.get(kind, kind) for kind in _kinds(part)) for part in (stage, wanted))
            raise Mistake("order_differs", where=where([stage[-1].step], seen), found=found, wanted=right)


class Pair(NamedTuple):
    """A step of the network that was seen, what it has of something, and what it should have."""

    step: Step
    found: Any
    wanted: Any


def check_layers(seen: Network, expected: Network) -> None:
    """Filters, kernels, biases and activations of all steps but the head; their order must be right."""
    uses = list(zip(seen.spine, expected.spine))[:-1]
    for attribute, kind in product(ATTRIBUTES, ("convolution", "transposed")):
        value = ATTRIBUTES[attribute]
        pairs = [Pair(u.step, value(u, seen), value(right, expected)) for u, right in uses if u.step.kind == kind]
        wrong = [pair for pair in pairs if pair.found != pair.wanted]
        if wrong:
            places = where([pair.step for pair in wrong], seen, among=[pair.step for pair in pairs])
            cause = _cause(attribute, kind, wrong, pairs, seen)
            raise Mistake(cause, where=places, found=wrong[0].found, wanted=wrong[0].wanted, layer=LAYERS[kind])


ATTRIBUTES: dict[str, Callable[[Use, Network], Any]] = {
    "filters": lambda use, seen: use.step.channels,
    "kernel": lambda use, seen: sides(use.step.window),
    "bias": lambda use, seen: use.bias,
    "activation": _used_activation,
}


def _cause(attribute: str, kind: str, wrong: list[Pair], pairs: list[Pair], seen: Network) -> str:
    if attribute == "filters":
        return _filters_cause(wrong, pairs, seen) if kind == "convolution" else _transposed_cause(wrong)
    if attribute == "bias":
        return "without_bias"
    return f"{kind}_without_relu" if wrong[0].found == "none" else f"{kind}_{attribute}"


def _transposed_cause(wrong: list[Pair]) -> str:
    keeps = all(pair.found == pair.step.inputs[0].step.channels for pair in wrong)
    return "transposed_keeps_channels" if keeps else "transposed_filters"


def _filters_cause(wrong: list[Pair], pairs: list[Pair], seen: Network) -> str:
    ratios = {Fraction(pair.found, pair.wanted) for pair in pairs}
    parts = {half(pair.step, seen) for pair in wrong}
    products = {pair.found * pair.wanted for pair in pairs if half(pair.step, seen) in parts}
    causes = {
        "filters_not_divided": ratios == {8},
        "filters_scaled": len(ratios) == 1,
        "filters_constant": len({pair.found for pair in pairs}) == 1,
        "bottom_filters": all(half(pair.step, seen) == BOTTOM for pair in wrong),
        "filters_backwards": len(products) == 1 and len({pair.found for pair in wrong}) > 1,
    }
    return next((cause for cause, holds in causes.items() if holds), "filters")


def check_between(seen: Network, expected: Network) -> None:
    """Nothing done to the image, or behind pooling and joining, where a ReLU would change nothing."""
    for use in seen.spine[:-1]:
        if use.step.kind == "image" and use.activation != "none":
            raise Mistake("input_changed")
        if use.step.kind not in LEARNED and use.activation not in ("none", "ReLU"):
            raise Mistake("function_between", where=where([use.step], seen), found=use.activation)


def check_head(seen: Network, expected: Network) -> None:
    """One 1 x 1 convolution with a sigmoid."""
    head, right = seen.spine[-1], expected.spine[-1]
    if head.step.channels != right.step.channels:
        raise Mistake("head_channels", found=number(head.step.channels))
    if head.step.window != right.step.window:
        raise Mistake("head_kernel", found=sides(head.step.window))
    if head.bias != right.bias:
        raise Mistake("without_bias", where="at the output", layer=LAYERS["convolution"])
    if head.activation != right.activation:
        raise Mistake(_head_cause(head), found=head.activation)


def _head_cause(head: Use) -> str:
    named = {"none": "no_sigmoid", "softmax": "softmax_over_one", "sigmoid twice": "sigmoid_twice"}
    if head.activation not in (*named, "SiLU") and "Sigmoid" in head.functions:
        return "changed_before_sigmoid" if head.functions[-1] == "Sigmoid" else "changed_after_sigmoid"
    return named.get(head.activation, "head_activation")


CHECKS: tuple[Callable[[Network, Network], None], ...] = (
    check_operations,
    check_places,
    check_steps,
    check_levels,
    check_skips,
    check_head_is_there,
    check_convolutions,
    check_order,
    check_layers,
    check_between,
    check_head,
    check_shape,
)
