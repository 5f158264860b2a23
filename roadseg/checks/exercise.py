"""How an exercise is checked: on cases with known results, beside the reference solution and its mistakes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property, partial
from inspect import getsource
from typing import Any

import numpy as np

from roadseg.backend import tf
from roadseg.checks.probe import STOPPED, attempt, caught, failure, rewritten
from roadseg.checks.result import NOT_WRITTEN, Result
from roadseg.errors import interruptible
from roadseg.runs import code_of


class Unfit(Exception):
    """What a function returns is not of the kind that the exercise asks for."""


@dataclass(frozen=True, eq=False, repr=False)  # which would show the solution
class Exercise:
    """The check of a function: called with it, it gives a Result.

    name, title : of the card; takes : what is checked, with its arguments and what it returns; found : what is said of
    a right function.
    run : calls a function and gives its results, an array of numbers for each case; all None where nothing is written.
    reference : the solution. mistakes : of each the id, the message, and texts in the solution with what replaces them;
    the id is None for another solution.
    further : the id and the message of what else may be wrong with a function that gives the right results, or None.
    differs : the message for what is wrong in a way that no mistake explains, from what `run` gives for it and for the
    solution; None tells the largest difference.
    errors : what an error usually comes from, by a text that it holds.
    hints : each goes further than the one before.
    place : where a number stands, in words, from its case and its index there; the index of a plain number is empty.
    tolerance : by how much numbers may differ.
    """

    name: str
    title: str
    takes: str
    found: str
    run: Callable[[Callable], list]
    reference: Callable
    mistakes: Sequence[tuple]
    further: Callable[[Callable], tuple[str, str] | None] = lambda function: None
    differs: Callable[[list, list], str] | None = None
    errors: Sequence[tuple[str, str]] = ()
    hints: tuple[str, ...] = ()
    place: Callable[[int, list], str] = lambda case, index: f" at {index}" if index else ""
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", f"Check {self.takes}")

    @cached_property
    def versions(self) -> list[tuple[str, str, Callable]]:
        """Each mistake's id, message and function."""
        return [(cause, message, self._written(*changes)) for cause, message, *changes in self.mistakes]

    def _written(self, *changes: tuple[str, str]) -> Callable:
        names = dict(self.reference.__globals__)
        exec(rewritten(getsource(self.reference), *changes), names)
        return tf.autograph.experimental.do_not_convert(names[self.reference.__name__])  # its source is in no file

    @np.errstate(all="ignore")
    def __call__(self, function: Any) -> Result:
        """Compare what `run` gives for a function with what it gives for the solution and each mistake."""
        with interruptible(STOPPED), redirect_stdout(io.StringIO()):
            mistake = self._mistake(function)
        cause, message = mistake or (None, self.found)
        used = self.reference if mistake else function
        hints = self.hints if mistake else ()
        return Result(self.name, self.title, not mistake, cause, message, hints=hints, function=used)

    def _mistake(self, function: Any) -> tuple[str, str] | None:
        """The id and the message of what is wrong."""
        if not callable(function):
            return "not_a_function", f"`{self.name}` is not a function: run the cell that defines it."
        code = code_of(function)
        given, error = caught(lambda: self.run(function))
        if isinstance(error, Unfit):
            return "unfit", str(error)
        if error:
            told = failure(error, code)
            why = next((f" {reason}" for text, reason in self.errors if text in told.text), "")
            return "raises_error", f"It stops with {told.located}.{why}"
        if all(each is None for each in given):
            if code and code.co_names:
                return "returns_nothing", "It returns nothing: `print` only shows a result, `return` gives it back."
            return NOT_WRITTEN, "It returns nothing: write it in the cell above, then run both cells."
        for cause, message, version in [(None, "", self.reference), *self.versions]:
            if all(map(self._alike, given, self.results(version))):
                return (cause, message) if cause else self.further(function)
        right = self.results(self.reference)
        if self.differs:
            return "differs", self.differs(given, right)
        case = next(i for i, pair in enumerate(zip(given, right)) if not self._alike(*pair))
        return "differs", _difference(given[case], right[case], partial(self.place, case))

    @cache  # noqa: B019 (exercises stay as long as the process)
    def results(self, version: Callable) -> list:
        """What `run` gives for a version of the reference."""
        return self.run(version)

    def _alike(self, one: Any, two: Any) -> bool:
        one, two = _numbers(one), _numbers(two)
        comparable = one is not None and one.shape == two.shape
        return comparable and np.allclose(one, two, rtol=1e-4, atol=self.tolerance, equal_nan=True)


def call(function: Callable, *arguments: Any) -> Any:
    """What a function gives for copies of arguments, none of which it may change."""
    copies = deepcopy(arguments)
    value = function(*copies)
    if not all(map(np.array_equal, copies, arguments)):
        raise Unfit("It changes what it is given, which later cells use again: make a new array or list instead.")
    return value


def _numbers(value: Any) -> np.ndarray | None:
    """A value as an array; None for lists of unequal lengths, words, None."""
    return None if value is None else attempt(lambda: np.asarray(value, float))[0]


def _difference(found: Any, right: Any, place: Callable[[list], str]) -> str:
    """The largest difference from what is right, in words; `place` says where an index is."""
    one, two = _numbers(found), _numbers(right)
    if one is None or one.shape != two.shape:
        kind = "nothing" if found is None else f"something of type `{type(found).__name__}`"
        given = kind if one is None else _count(one)
        return f"It gives {given}{place([])}; expected {_count(two)}."
    gap = np.where(np.isnan(one) & np.isnan(two), 0, np.nan_to_num(np.abs(one - two), nan=np.inf))
    at = np.unravel_index(gap.argmax(), two.shape)
    return f"It gives {_number(one[at])}{place([int(i) for i in at])}, where {_number(two[at])} is right."


def _number(value: float) -> str:
    """A number in few digits."""
    return "NaN (not a number)" if np.isnan(value) else f"{value:.4g}"


def _count(numbers: np.ndarray) -> str:
    """How many numbers there are, in words."""
    shapes = {0: "one number", 1: f"{numbers.size} numbers" if numbers.size > 1 else "a list of one number"}
    return shapes.get(numbers.ndim, f"numbers of shape {numbers.shape}")
