"""What stands out in a student's code, for the teacher to look at. It changes no points: those are safe behind the
wall and with the judge."""

import ast
from collections.abc import Iterator

from nbformat import NotebookNode

from roadseg.course.cells import grade_id
from roadseg.workbook.needs import parsed

# What an answer may import; whatever else it does is told.
USUAL = {
    *("collections", "dataclasses", "functools", "itertools", "keras", "math", "matplotlib", "numpy", "operator"),
    *("pandas", "PIL", "random", "roadseg", "scipy", "sklearn", "statistics", "tensorflow", "time", "typing"),
}
GIVEN = {"checks", "keras", "layers", "models", "np", "tf", "training"}  # names that the notebooks import
NAMES = {
    *("__builtins__", "__import__", "compile", "delattr", "eval", "exec", "get_ipython", "globals", "open", "setattr"),
}
ATTRIBUTES = {
    *("__code__", "__globals__", "__subclasses__", "_getframe", "f_back", "f_globals", "modules", "settrace"),
    *("fromfile", "get_file", "gfile", "load_op_library", "memmap", "read_file", "tofile", "write_file"),
}
WORDS = ("/proc/", "/dev/", "__globals__", "gradebook", "nbgrader", "submitted", "autograded")


def signs(nb: NotebookNode, original: NotebookNode) -> Iterator[tuple[str, str]]:
    """The cell, by its name or number, and what it does, for each thing that stands out in code that was not handed
    out."""
    handed_out = {cell.source for cell in original.cells}
    for position, cell in enumerate(nb.cells):
        if cell.cell_type == "code" and cell.source not in handed_out:
            for sign in dict.fromkeys(_found(cell.source)):
                yield grade_id(cell) or f"cell {position + 1}", sign


def _found(source: str) -> Iterator[str]:
    tree = parsed(source)
    if not tree:
        yield "is not Python"
    nodes = list(ast.walk(tree)) if tree else []
    known, unusual = set(GIVEN), set()
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for alias in node.names:
                whole, name = f"{module}.{alias.name}" if module else alias.name, alias.asname or alias.name
                known.add(name.split(".")[0])
                if whole.split(".")[0] not in USUAL or whole.startswith(("roadseg.checks.", "roadseg.course")):
                    unusual.add(name.split(".")[0])
                    yield f"imports {whole}"
    for node in nodes:
        if isinstance(node, ast.Attribute):
            root = ast.unparse(node.value).split(".")[0]
            if root in known and not isinstance(node.ctx, ast.Load):
                yield f"changes {ast.unparse(node)}"
            elif root in unusual or node.attr in ATTRIBUTES:
                yield f"uses {ast.unparse(node)}"
        elif isinstance(node, ast.Name) and node.id in NAMES:
            yield f"uses {node.id}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (f"names {word}" for word in WORDS if word in node.value.lower())
