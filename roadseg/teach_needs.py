"""Which cells of a notebook a grade needs: the answers and tests themselves, and what makes the names that these use.

Everything else, experiments that train for minutes above all, stays as the student ran it. Names decide: a cell is
needed as soon as it may give or change a name that a needed cell takes from elsewhere. Code is read, never run.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from IPython.core.inputtransformer2 import TransformerManager

ANY = "*"  # stands for the names that `from module import *` makes: nobody knows which


class Names(NamedTuple):
    """The names that code takes from elsewhere, and those that it makes or changes."""

    used: frozenset[str]
    made: frozenset[str]


def needed(sources: Sequence[str], wanted: Iterable[int]) -> set[int]:
    """Positions of the cells that the cells at `wanted` need, these included; sources of other than code are empty."""
    cells, found = [names(source) for source in sources], set(wanted)
    while True:
        used = {ANY}.union(*(cells[i].used for i in found))
        more = {i for i in range(max(found, default=0)) if cells[i].made & used} - found
        if not more:
            return found
        found |= more


@cache
def names(source: str) -> Names:
    """The names of a cell; none where it is no Python. IPython's `%` and `!` lines count as the calls that they are."""
    used, made = set(), set()
    try:
        code = TransformerManager().transform_cell(re.sub(r"\A\s*%%.*", "", source))
        for statement in ast.parse(code).body:
            table = symtable.symtable(ast.unparse(statement), "cell", "exec")
            used |= _used(table) - made
            made |= _made(table) | _changed(statement)
    except SyntaxError:
        return Names(frozenset(), frozenset())
    return Names(frozenset(used), frozenset(made))


def _used(table: symtable.SymbolTable) -> set[str]:
    """Names that are read from the notebook, at the top or in a function's body."""
    top = table.get_type() == "module"
    own = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return own.union(*map(_used, table.get_children()))


def _made(table: symtable.SymbolTable) -> set[str]:
    """Names that the notebook has afterwards."""
    top = table.get_type() == "module"
    own = {
        s.get_name()
        for s in table.get_symbols()
        if (s.is_assigned() or s.is_imported()) and (top or s.is_declared_global())
    }
    return own.union(*map(_made, table.get_children()))


def _changed(statement: ast.stmt) -> set[str]:
    """Names whose content a statement may change: `name.part = ...`, `name[i] = ...`, `name.append(...)`."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found.add(_root(node))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found.add(_root(node.value.func) if isinstance(node.value.func, ast.Attribute) else "")
        elif isinstance(node, ast.alias) and node.name == "*":
            found.add(ANY)
    return found - {""}


def _root(node: ast.expr) -> str:
    """The name at the start of `name.part[0].part`; empty where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
