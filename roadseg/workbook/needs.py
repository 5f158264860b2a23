"""Which cells of a notebook grading runs: the answers and tests, and the cells that make the names which these use.

All other cells, such as experiments that train for minutes, stay as the student ran them. Names decide: a cell is
needed as soon as it may make or change a name that a needed cell takes from elsewhere. Code is parsed, never run.
"""

import ast
import symtable
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from roadseg.workbook.progress import parsed

ANY = "*"  # stands for the unknown names that `from module import *` makes


class Names(NamedTuple):
    """The names that code takes from elsewhere, makes or changes, imports, and calls a method of for its effect."""

    used: frozenset[str]
    made: frozenset[str]
    imported: frozenset[str]
    called: frozenset[str]


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
    except (SyntaxError, RecursionError):  # such as `return` outside of a function
        tables = []
    used, made, imported, called = set(), set(), set(), set()
    for statement, table in zip(statements, tables):
        used |= _used(table) - made
        made |= _made(table)
        imported |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_imported()}
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
                made.add(_root(node))  # name.part = ..., name[i] = ...
            elif isinstance(node, ast.alias) and node.name == "*":
                made.add(ANY)
            elif isinstance(node, ast.Expr) and isinstance(getattr(node.value, "func", None), ast.Attribute):
                called.add(_root(node.value.func))  # name.part.append(...)
    return Names(*(frozenset(names - {""}) for names in (used, made, imported, called)))


def _used(table: symtable.SymbolTable) -> set[str]:
    """Names that are read from the notebook, at the top level or in a function's body."""
    top = table.get_type() == "module"
    own = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return own.union(*map(_used, table.get_children()))


def _made(table: symtable.SymbolTable) -> set[str]:
    """Names that the notebook has afterwards."""
    top = table.get_type() == "module"
    symbols = [s for s in table.get_symbols() if top or s.is_declared_global()]
    own = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}
    return own.union(*map(_made, table.get_children()))


def _root(node: ast.expr) -> str:
    """The name at the start of `name.part[0].part`; empty where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
