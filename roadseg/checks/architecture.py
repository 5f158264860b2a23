"""How a network differs from the U-Net, and the name of the mistake that explains it.

Networks are rows of plain data (see `trace`). The rows of the student's are laid beside those of the right one; the
entry of the catalog that differs from the right one in the same way gives its name, else the first difference does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from roadseg.checks.result import read_words
from roadseg.checks.trace import IMAGE, POOLED, SIDE, UNKNOWN, Row, Term
from roadseg.checks.unet_mistakes import catalog, right_rows

HALVES = DOWN, BOTTOM, UP = "in the encoder", "at the bottleneck", "in the decoder"
LEVELS = 4
NUMBERS = ("none", "one", "two", "three", "four", "five", "six")


@cache
def advice() -> dict[str, Any]:
    """What is said about each mistake, and the tables `reasons` and `differences`."""
    return read_words(Path(__file__).with_name("network.toml"))


@cache
def right_count() -> int:
    """The parameters of the right network."""
    return sum(np.prod(row.window) * row.taken * row.channels + row.channels for row in right_rows()[:-1])


# --- differences -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """One difference from the right network.

    aspect : to which it belongs; kind : what sort of thing, the same for all its like; found, wanted : as they are;
    row : the layer that it is about, of the right network where it is missing; half : where that stands.
    """

    aspect: str
    kind: tuple
    found: Any
    wanted: Any
    row: Row
    half: str

    @property
    def cause(self) -> str:
        """The id of the mistake, by this difference alone."""
        return _cause(" ".join(map(str, self.kind)))


def _cause(found: str) -> str:
    return next(entry["cause"] for entry in advice()["differences"] if re.search(entry["found"], found))


def differences(rows: tuple[Row, ...]) -> list[Difference]:
    """All differences from the right network: of its rows in their order, then what is missing or was refused."""
    right, refused = right_rows(), rows[-1] if rows[-1].kind == "refused" else None
    if refused:
        right = right[:-1][: len(rows) - 1]
        rows = rows[:-1]
    ours, theirs = _keys(rows), _keys(right)
    halves, right_halves = _halves(rows), _halves(right)
    blocks = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    place = {block.a + i: block.b + i for block in blocks for i in range(block.size)} | {IMAGE: IMAGE}
    found = []
    for number, row in enumerate(rows):
        if number in place:
            found += _row_differences(rows, number, right[place[number]], place)
        else:
            kind = ("extra", *ours[number])
            found.append(Difference(_aspect_of(ours[number]), kind, row, None, row, halves[number]))
    for number in sorted(set(range(len(right))) - set(place.values())):
        row, kind = right[number], ("missing", *theirs[number])
        found.append(Difference(_aspect_of(theirs[number]), kind, None, row, row, right_halves[number]))
    if refused:
        roles = [_role(term, rows, place, len(rows)) for term in refused.terms]
        below = refused.terms[-1].source
        row, half = (rows[below], halves[below]) if below != IMAGE else (refused, UP)
        kind = ("refused", len(roles), *roles)
        found.append(Difference("skips", kind, refused, None, row, half))
    return found


def _keys(rows: tuple[Row, ...]) -> list[tuple]:
    """What rows are aligned by: their kind and size, whether they make the output, and whether they lie off the longest
    way from the image to the end."""
    spine = _spine(rows)
    kinds = {_head(rows): "head"} | {number: "aside" for number in range(len(rows)) if number not in spine}
    return [(kinds.get(number, row.kind), *row.size) for number, row in enumerate(rows)]


def _spine(rows: tuple[Row, ...]) -> list[int]:
    """The numbers of the rows on the longest way from the image to the end."""
    depth = {IMAGE: 0}
    for number, row in enumerate(rows):
        depth[number] = 1 + max((depth[term.source] for term in row.terms), default=0)
    spine, number = [], len(rows) - 1
    while number != IMAGE:
        spine.insert(0, number)
        number = max((term.source for term in rows[number].terms), key=depth.get, default=IMAGE)
    return spine


def _head(rows: tuple[Row, ...]) -> int | None:
    """The number of the row that makes the channels of the output."""
    end = rows[-1]
    if end.kind != "output" or not end.terms or end.terms[0].source == IMAGE:
        return None
    last = rows[end.terms[0].source]
    convolves = last.kind == "convolution" and (last.window == (1, 1) or last.channels < last.taken)
    return end.terms[0].source if convolves and not end.merged else None


def _halves(rows: tuple[Row, ...]) -> list[str]:
    """DOWN, BOTTOM or UP for each row: where it stands, seen from the smallest size."""
    sizes = [row.size for row in rows]
    smallest = min(filter(None, sizes), default=())
    deepest = sizes.index(smallest) if smallest else 0
    return [BOTTOM if size == smallest else UP if number > deepest else DOWN for number, size in enumerate(sizes)]


def _aspect_of(key: tuple) -> str:
    return "head" if key[0] in ("head", "output") else "levels"


FIELDS = {
    **dict.fromkeys(("channels", "window", "bias", "groups", "dilated", "channels_first"), "filters"),
    "stride": "levels",
}


def _row_differences(rows: tuple[Row, ...], number: int, right: Row, place: dict[int, int]) -> Iterator[Difference]:
    """How one row differs from the right one beside it."""
    row, head, halves = rows[number], _head(rows), _halves(rows)
    kind = "head" if number == head else row.kind
    ending = kind in ("head", "output")

    def differing(aspect: str, what: tuple, found: Any, wanted: Any) -> Difference:
        aspect = "head" if ending else aspect
        return Difference(aspect, (kind, *what), found, wanted, row, halves[number])

    for name, aspect in FIELDS.items() if kind != "output" else ():
        found, wanted = getattr(row, name), getattr(right, name)
        ratio = (str(Fraction(found, wanted)),) if name == "channels" else ()
        if found != wanted:
            yield differing(aspect, (name, *ratio), found, wanted)
    if _is_shared(rows, number):
        yield differing("filters", ("shared",), "", None)
    if row.taken != right.taken and place[number] == 0:
        yield differing("shape", ("taken", row.taken), row.taken, right.taken)
    ours, theirs = list(row.terms), list(right.terms)
    if (row.merged, len(ours)) != (right.merged, len(theirs)):
        some = any(other.merged == "join" for other in rows)  # so that one missing skip is not all of them
        what = ("merged", row.merged or "one", "for", right.merged or "one", min(len(ours), 3), some)
        yield differing("skips", what, tuple(_role(term, rows, place, number) for term in ours), right.merged)
    for term in ours:
        wanted = min(theirs, key=lambda t: abs(t.source - place.get(term.source, 99)))
        if row.merged != right.merged and term.source != ours[-1].source:
            continue
        if len(theirs) > 1:
            theirs.remove(wanted)
        if place.get(term.source) != wanted.source:
            aspect = "skips" if right.merged else "levels"
            yield differing(aspect, ("source", _role(term, rows, place, number)), term, wanted)
        if term.function != wanted.function:  # it belongs to the layer that gives these values
            skip = len(ours) > 1 and term.source != ours[-1].source
            giver = number if term.source == IMAGE or (skip and term.function != "none") else term.source
            of = "image" if term.source == IMAGE else "skip" if skip else rows[giver].kind
            of, aspect = ("head", "head") if row.kind == "output" and giver == head else (of, "activations")
            what = (of, "function", term.function)
            yield Difference(aspect, what, term.function, wanted.function, rows[giver], halves[giver])
        if term.change != wanted.change:
            yield differing("levels", ("change", term.change), term.change, wanted.change)


def _is_shared(rows: tuple[Row, ...], number: int) -> bool:
    """Whether a layer has been called before."""
    return rows[number].key in [other.key for other in rows[:number]]


def _role(term: Term, rows: tuple[Row, ...], place: dict[int, int], number: int) -> str:
    """Where a term comes from, seen from the row that takes it: the image, the row before, the encoder ..."""
    if term.source == IMAGE:
        return "the image"
    right, source = right_rows(), place.get(term.source)
    if term.source == number - 1:
        role = f"the {rows[term.source].kind} before"
    elif source is None:
        role = "an extra layer"
    else:
        deepest = min(range(len(right)), key=lambda i: right[i].size)
        half = "encoder" if source <= deepest + 1 else "decoder"
        last = source + 1 == len(right) or right[source + 1].size != right[source].size
        same = rows[term.source].size == rows[min(number, len(rows) - 1)].given
        role = f"the {half}, {'last' if last else 'first'} of {'this' if same else 'another'} level"
    return role + (f", {term.change}" if term.change else "")


# --- naming ----------------------------------------------------------------------------------------------------------


def wrong_anywhere(rows: tuple[Row, ...]) -> tuple[str, list[Difference]] | None:
    """The id of what would be wrong at any place, the first in the order of the layers, and all its places; other sizes
    follow from most of it."""
    found = {}
    for number, (row, half) in enumerate(zip(rows, _halves(rows))):
        cause, change = _wrong_row(rows, number)
        if cause:
            found.setdefault(cause, []).append(Difference("", (row.kind, ""), change, None, row, half))
    return next(iter(found.items()), None)


def _wrong_row(rows: tuple[Row, ...], number: int) -> tuple[str | None, str]:
    """The id of what is wrong with one row, and what was found there, such as the change of size on the way to it."""
    row = rows[number]
    around = any(other.merged == "add" for other in rows)  # a level, to be added behind it
    if number and [term.source for term in row.terms] == [IMAGE] and not around:
        return "begins_again", ""
    for term in row.terms:
        if term.change not in ("", POOLED, UNKNOWN):
            skip = len(row.terms) > 1 and term.source != row.terms[-1].source
            if skip and "Resizing" in term.change:
                return "skip_wrong_level", _shown(term, rows)
            of = "image" if term.source == IMAGE and POOLED not in term.change else ""
            return _cause(f"{of} change {term.change}"), term.change
    if row.kind in ("output", "refused"):
        return None, ""
    sources = [SIDE if term.source == IMAGE else rows[term.source].size[0] for term in row.terms]
    side = min((size // 2 if term.change == POOLED else size for size, term in zip(sources, row.terms)), default=0)
    known = row.merged in ("", "join", "add") and UNKNOWN not in [term.change for term in row.terms]
    pooled = [term.change for term in row.terms] == [POOLED] and IMAGE < row.terms[0].source < number - 1
    plain, transposed = row.kind == "convolution", row.kind == "transposed"
    follows = transposed and (row.merged == "join" or rows[row.terms[-1].source].kind == "transposed")
    causes = {
        "channels_first": row.channels_first,
        "pooled_first": not number and [term.change for term in row.terms] == [POOLED],
        "joined_axis": row.merged == "join other axis",
        "shared_layer": _is_shared(rows, number),
        "separable_convolution": row.kind == "separable",
        "grouped_convolution": row.groups != 1,
        "dilated_convolution": row.dilated,
        "padded_twice": plain and known and row.stride == (1, 1) and row.size[0] > side,
        "padding_valid": plain and known and row.size[0] < -(-side // row.stride[0]),
        "pooled_another_level": plain and pooled and rows[number - 1].size < rows[row.terms[0].source].size,
        "strided_convolution": plain and row.stride != (1, 1),
        "head_transposed": transposed and row.channels == 1,
        "convolution_transposed": follows and row.stride == (1, 1),
        "transposed_stride": transposed and row.stride != (2, 2),
        "transposed_kernel": transposed and row.window != (2, 2),
    }
    return next((cause for cause, holds in causes.items() if holds), None), ""


def named(found: list[Difference], rows: tuple[Row, ...]) -> str:
    """The id of the wrong network in the catalog that differs from the right one in things of the same kind; where
    there is none, that of the first thing that differs, sizes before all else."""
    kinds = {each.kind for each in found}
    alike = [pair for pair in catalog() if kinds == {each.kind for each in differences(pair[1])}]
    if alike:
        return next((name for name, other in alike if _wiring(other) == _wiring(rows)), alike[0][0])
    if any(each.cause == "residual" for each in found):
        return "residual"
    levels = [each for each in found if each.kind[0] in ("extra", "missing") and each.aspect == "levels"]
    first = (levels or found)[0]
    filters = first.kind[0] in ("convolution", "transposed") and first.kind[1] == "channels"
    otherwise = _wrong_levels(rows) if levels else _wrong_filters(found, rows) if filters else None
    return otherwise or first.cause


def _wiring(rows: tuple[Row, ...]) -> list[tuple]:
    """What each row is, and which rows it takes."""
    return [(row.kind, [term.source for term in row.terms]) for row in rows]


def _wrong_levels(rows: tuple[Row, ...]) -> str | None:
    """The id of a network that does not go down and up four times; None for one that does."""
    (down, up), refused = _changes(rows), rows[-1].kind == "refused"
    if not down:
        return "no_way_down"
    if refused:
        return "number_of_poolings" if down != LEVELS else None if up else "not_doubled"
    return None if down == up == LEVELS else "number_of_levels"


def _wrong_filters(found: list[Difference], rows: tuple[Row, ...]) -> str:
    """The id of wrong numbers of filters: by the same factor everywhere, all the same, at one place ..."""
    wrong = [each for each in found if each.kind[:2] == ("convolution", "channels")]
    if not wrong:
        end, below = rows[-1], found[0].row
        skips = [rows[term.source] for term in end.terms[:-1] if term.source != IMAGE]
        twice = (2 * below.size[0], below.channels)
        if end.kind == "refused" and twice in [(skip.size[0], skip.channels) for skip in skips]:
            return "level_skipped"  # its filters fit the skip, its size does not
        return "transposed_filters"
    convolutions = _alike(rows, "convolution")
    if len({each.kind[2] for each in wrong}) == 1 and len(wrong) == len(convolutions):
        return "filters_scaled"
    if len({row.channels for row, _ in convolutions}) == 1:
        return "filters_constant"
    return "bottleneck_filters" if {each.half for each in wrong} == {BOTTOM} else "filters"


def _alike(rows: tuple[Row, ...], kind: str) -> list[tuple[Row, str]]:
    """The layers of a kind, without the last one of all, and where each stands."""
    head = _head(rows)
    return [pair for i, pair in enumerate(zip(rows, _halves(rows))) if pair[0].kind == kind and i != head]


def _changes(rows: tuple[Row, ...]) -> tuple[int, int]:
    """How many times the size is halved and doubled on the way to the last row."""
    kinds = ("convolution", "transposed", "output")
    way = [rows[number] for number in _spine(rows) if rows[number].kind in kinds]
    heights = [size[0] for row in way for size in (row.given, row.size) if size]
    doublings = [round(np.log2(max(after, 1) / max(before, 1))) for before, after in pairwise(heights)]
    return -sum(n for n in doublings if n < 0), sum(n for n in doublings if n > 0)


# --- words -----------------------------------------------------------------------------------------------------------


def number(count: int) -> str:
    """Such as three; digits for the large ones."""
    return NUMBERS[count] if count < len(NUMBERS) else f"{count:,}"


def facts(cause: str, found: list[Difference], rows: tuple[Row, ...]) -> dict[str, str]:
    """What fills the gaps in a message: the first difference of its kind, and all the places that are like it."""
    of_refused = cause == "not_doubled"
    main = next((each for each in found if each.cause == cause or (of_refused and each.kind[0] == "refused")), found[0])
    row, (down, up) = main.row, _changes(rows)
    amount = _shown(main.found, rows)
    if cause == "number_of_convolutions":
        level = [other for other, half in _alike(rows, "convolution") if (other.size, half) == (row.size, main.half)]
        amount = number(len(level))
    like = [each for each in found if each.kind[:2] == main.kind[:2]]
    like = [each for each in like if (each.row.window, each.row.stride) == (row.window, row.stride)]
    return {
        "found": amount,
        "wanted": _shown(main.wanted, right_rows()),
        "where": _where(like, rows),
        "window": _sides(row.window),
        "stride": _sides(row.stride),
        "size": _sides(row.size),
        "layer": "transposed convolution" if row.kind == "transposed" else f"{_which(like, rows)}convolution",
        "down": _times(down),
        "up": _times(up),
    }


def _which(wrong: list[Difference], rows: tuple[Row, ...]) -> str:
    """Whether differences are all about the first convolution of a level, or about the second one; else empty."""
    seen, places = Counter(), {}
    for row, half in _alike(rows, "convolution"):
        places[row.key] = seen[row.size, half]
        seen[row.size, half] += 1
    found = {places.get(each.row.key) for each in wrong}
    return {0: "first ", 1: "second "}.get(found.pop(), "") if len(found) == 1 else ""


def _times(count: int) -> str:
    return {0: "zero times", 1: "once", 2: "twice"}.get(count, f"{number(count)} times")


def _sides(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _shown(value: Any, rows: tuple[Row, ...]) -> str:
    """A value in few words; of feature maps their size."""
    if isinstance(value, Term):
        return _sides((SIDE, SIDE) if value.source == IMAGE else rows[value.source].size)
    if isinstance(value, Row):
        return _shown(value.terms[0], rows) if value.terms else _sides(value.size)
    if isinstance(value, tuple):
        return (" and " if isinstance(value[0], str) else " x ").join(map(str, value))
    return str(value)


def _where(wrong: list[Difference], rows: tuple[Row, ...]) -> str:
    """The places of differences in few words, such as "at 32 x 32 and 64 x 64 in the decoder"."""
    if not wrong[0].row.size:
        return "to one number a channel"
    layers = _alike(rows, wrong[0].row.kind)
    if len(wrong) > 1 and len(wrong) >= len(layers):
        halves = {half for _, half in layers}
        return "everywhere" if len(halves) > 1 else f"everywhere {halves.pop()}"

    def by_half(pairs: list[tuple[Row, str]]) -> dict[str, list[str]]:
        return {half: list(dict.fromkeys(_sides(row.size) for row, its in pairs if its == half)) for half in HALVES}

    wrong_sizes, sizes = by_half([(each.row, each.half) for each in wrong]), by_half(layers)
    if len(wrong) > 1 and all(set(wrong_sizes[half]) == set(sizes[half]) for half in HALVES):
        return "at every level"
    phrases = []
    for half, found in wrong_sizes.items():
        if half == BOTTOM and found:
            phrases.append(half)
        elif len(found) > 1 and set(found) == set(sizes[half]):
            phrases.append(f"everywhere {half}")
        elif found:
            phrases.append(f"at {' and '.join(filter(None, [', '.join(found[:-1]), found[-1]]))} {half}")
    return " and ".join(phrases)
