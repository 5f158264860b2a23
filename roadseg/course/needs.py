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
    """The names that code takes from elsewhere, makes or changes, imports, and calls a method of for its effect."""

    used: frozenset[str]
    made: frozenset[str]
    imported: frozenset[str]
    called: frozenset[str]


def needed(sources: Sequence[str], wanted: Iterable[int]) -> set[int]:
    """Positions of the cells that the cells at `wanted` need, these included; sources of other than code are empty."""
    cells, found = [names(source) for source in sources], set(wanted)
    modules = frozenset().union(*(cell.imported for cell in cells))  # calling `plots.show` does not change `plots`
    given = [cell.made | (cell.called - modules) for cell in cells]
    while True:
        used = {ANY}.union(*(cells[i].used for i in found))
        more = {i for i in range(max(found, default=0)) if given[i] & used} - found
        if not more:
            return found
        found |= more


@cache
def names(source: str) -> Names:
    """The names of a cell; none where it is no Python. IPython's `%` and `!` lines count as the calls that they are."""
    used, made, imported, called = set(), set(), set(), set()
    for statement, table in _statements(source):
        used |= _used(table) - made
        made |= _made(table) | _changed(statement)
        imported |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_imported()}
        called |= _called(statement)
    return Names(*map(frozenset, (used, made, imported, called)))


def _statements(source: str) -> list[tuple[ast.stmt, symtable.SymbolTable]]:
    """The statements of a cell, each with the table of its names."""
    try:
        code = TransformerManager().transform_cell(re.sub(r"\A\s*%%.*", "", source))
        return [(node, symtable.symtable(ast.unparse(node), "cell", "exec")) for node in ast.parse(code).body]
    except SyntaxError:
        return []


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
    """Names of which a statement changes a part: `name.part = ...`, `name[i] = ...`; all where it imports all."""
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found.add(_root(node))
        elif isinstance(node, ast.alias) and node.name == "*":
            found.add(ANY)
    return found - {""}


def _called(statement: ast.stmt) -> set[str]:
    """Names of which a statement calls a method for its effect alone: `name.part.append(...)`."""
    calls = [node.value for node in ast.walk(statement) if isinstance(node, ast.Expr)]
    functions = [call.func for call in calls if isinstance(call, ast.Call)]
    return {_root(function) for function in functions if isinstance(function, ast.Attribute)} - {""}


def _root(node: ast.expr) -> str:
    """The name at the start of `name.part[0].part`; empty where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
