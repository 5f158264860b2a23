"""Cells of code as syntax, which is parsed and never run: their names, and which cells a notebook's answers need.

Grading runs the answers and tests, and the cells that make the names which these use. All other cells, such as
experiments that train for minutes, stay as the student ran them. Names decide: a cell is needed as soon as it may make
or change a name that a needed cell takes from elsewhere.
"""

import ast
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from IPython.core.inputtransformer2 import TransformerManager

ANY = "*"  # stands for the unknown names that `from module import *` makes


class Names(NamedTuple):
    """The names that code takes from elsewhere, makes or changes, imports, and calls a method of for its effect."""

    used: frozenset[str]
    made: frozenset[str]
    imported: frozenset[str]
    called: frozenset[str]


def as_python(source: str) -> str:
    """A code cell with IPython's `%` and `!` lines as the calls they stand for, without %%time and the like."""
    return TransformerManager().transform_cell(re.sub(r"\A(?:\s*%%.*\n?)+", "", source))


def parsed(source: str) -> ast.Module | None:
    """A code cell's syntax; None where it is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of a backslash in a string
            tree = ast.parse(as_python(source))
            compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)  # finds `return` outside of a function
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):  # Python 3.11 cannot unparse all of them
                node.value = "".join(c if c.isprintable() else " " for c in node.value)
        ast.unparse(tree)  # finds what is nested too deeply for those who read it
        return tree
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # null bytes, brackets in brackets
        return None


def needed_cells(sources: Sequence[str], wanted: Iterable[int], *, defines: str = "") -> set[int]:
    """Positions of the cells that the cells at `wanted` need, these included.

    sources : the code of each cell, empty for other cells. defines : the name of an answer, which may stand further
    down, such as in the cell of another one.
    """
    cells, found = [find_names(source) for source in sources], set(wanted)
    if not any(defines in cell.made for cell in cells[: max(found, default=-1) + 1]):
        found |= {i for i, cell in enumerate(cells) if defines in cell.made}
    modules = frozenset().union(*(cell.imported for cell in cells))  # calling `plots.show` does not change `plots`
    given = [cell.made | (cell.called - modules) for cell in cells]
    while True:
        used = {ANY}.union(*(cells[i].used for i in found))
        more = {i for i in range(max(found, default=0)) if given[i] & used} - found
        if not more:
            return found
        found |= more


@cache
def find_names(source: str) -> Names:
    """The names of a cell; none if it is not Python."""
    statements = getattr(parsed(source), "body", [])
    try:
        tables = [symtable.symtable(ast.unparse(statement), "cell", "exec") for statement in statements]
    except (SyntaxError, RecursionError):  # `await` outside of a function
        tables = []
    used, made, imported, called = set(), set(), set(), set()
    for statement, table in zip(statements, tables):
        symbols = list(_global_symbols(table))
        used |= {symbol.get_name() for symbol in symbols if symbol.is_referenced()} - made
        imports = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_imported()}
        made |= {symbol.get_name() for symbol in symbols if symbol.is_assigned()} | imports
        imported |= imports
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
                made.add(_root(node))  # name.part = ..., name[i] = ...
            elif isinstance(node, ast.alias) and node.name == "*":
                made.add(ANY)
            elif isinstance(node, ast.Expr) and isinstance(getattr(node.value, "func", None), ast.Attribute):
                called.add(_root(node.value.func))  # name.part.append(...)
    return Names(*(frozenset(names - {""}) for names in (used, made, imported, called)))


def _global_symbols(table: symtable.SymbolTable) -> Iterator[symtable.Symbol]:
    """The notebook's own names in code: those of its top level, and what functions take from there or put there."""
    top = table.get_type() == "module"
    yield from (symbol for symbol in table.get_symbols() if top or symbol.is_global())
    for inner in table.get_children():
        yield from _global_symbols(inner)


def _root(node: ast.expr) -> str:
    """The name at the start of `name.part[0].part`; empty where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
