"""What stands out in a student's code, for the teacher to look at. It changes no points: the wall and the judge do."""

import ast
from collections.abc import Iterator

from nbformat import NotebookNode

from roadseg.course.cells import grade_id
from roadseg.course.needs import parsed

# Modules of which an answer to these tasks has no need, and names that reach for what is not the answer's.
MODULES = {
    *("_thread", "asyncio", "atexit", "builtins", "code", "codeop", "ctypes", "faulthandler", "ftplib", "gc", "http"),
    *(
        "importlib",
        "inspect",
        "IPython",
        "marshal",
        "mmap",
        "multiprocessing",
        "nbformat",
        "nbgrader",
        "pickle",
        "psutil",
    ),
    *("pty", "requests", "resource", "runpy", "shutil", "signal", "smtplib", "socket", "sqlite3", "ssl", "subprocess"),
    *("telnetlib", "threading", "urllib", "webbrowser"),
}
CALLS = {
    *(
        "abort",
        "chmod",
        "execv",
        "execve",
        "fork",
        "forkpty",
        "kill",
        "killpg",
        "popen",
        "remove",
        "removedirs",
        "rename",
    ),
    *("renames", "replace", "rmdir", "spawnl", "spawnv", "symlink", "system", "unlink", "_exit", "putenv", "setsid"),
}
NAMES = {
    "__builtins__",
    "__import__",
    "compile",
    "eval",
    "exec",
    "get_ipython",
    "globals",
    "open",
    "setattr",
    "delattr",
}
ATTRIBUTES = {"__code__", "__globals__", "__subclasses__", "_getframe", "f_back", "f_globals", "modules", "settrace"}
WORDS = ("/proc/", "gradebook", "nbgrader", "submitted", "autograded")


def signs(nb: NotebookNode, original: NotebookNode) -> Iterator[tuple[str, str]]:
    """The cell, by its name or number, and what it does, for each thing that stands out in code that was not handed
    out."""
    handed_out = {cell.source for cell in original.cells}
    for position, cell in enumerate(nb.cells):
        if cell.cell_type == "code" and cell.source not in handed_out:
            for sign in dict.fromkeys(_found(cell.source)):
                yield grade_id(cell) or f"cell {position + 1}", sign


def _found(source: str) -> Iterator[str]:
    try:
        tree = ast.Module(parsed(source), [])
    except (SyntaxError, ValueError, RecursionError):
        return
    imported = {}  # the modules that names stand for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for alias in node.names:
                whole = f"{module}.{alias.name}" if module else alias.name
                imported[alias.asname or alias.name.split(".")[0]] = whole
                if {whole.split(".")[0]} & MODULES or whole.startswith(("roadseg.checks.", "roadseg.course")):
                    yield f"imports {whole}"
    known = {*imported, "checks", "keras", "layers", "np", "probe", "tf", "training", "models"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root = ast.unparse(node.value)
            if not isinstance(node.ctx, ast.Load) and root.split(".")[0] in known:
                yield f"changes {ast.unparse(node)}"
            elif (root == "os" and node.attr in CALLS) or node.attr in ATTRIBUTES:
                yield f"uses {ast.unparse(node)}"
        elif isinstance(node, ast.Name) and node.id in NAMES:
            yield f"uses {node.id}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (f"names {word}" for word in WORDS if word in node.value.lower())
