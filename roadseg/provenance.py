"""What made a number: versions, machine, and the source of the functions that computed it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import platform
import textwrap
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from roadseg import __version__
from roadseg.errors import OptionError

PACKAGES = ("tensorflow", "keras", "numpy")


def source_digest(*functions: Callable) -> str:
    """Digest of what functions say to Python: comments, docstrings and layout do not count.

    Raises OptionError for what has no source to read, such as a built-in function."""
    text = []
    for function in functions:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError, SyntaxError) as error:
            raise OptionError(
                f"the source of {function!r} cannot be read: define it with def in a cell or file."
            ) from error
        if ast.get_docstring(tree.body[0]) is not None:
            del tree.body[0].body[0]
        text.append(ast.dump(tree))
    return hashlib.sha256("".join(text).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {"roadseg": __version__, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def machine() -> dict[str, str | int]:
    """The kind of machine, without its name: system, processor, cores."""
    return {"system": platform.system(), "processor": _processor(), "cores": os.cpu_count() or 1}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
