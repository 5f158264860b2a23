"""A document of nodes as a PDF, set by typst: A4, fonts embedded, every word to be found and copied.

Every word reaches typst as a string, never as code; each kind of node is a function `as-KIND` in document.typ.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from roadseg.errors import RoadsegError
from roadseg.report.document import INLINE, Node, block, cleaned, text, text_of, walk
from roadseg.report.formulas import Formula
from roadseg.report.glyphs import box_font

FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf")  # Matplotlib's: Greek, Cyrillic, arrows
ATTEMPTS = 5  # missing characters, what cannot be set, and both again
SHORT = 60  # characters of a line
SECONDS = 60  # for one attempt; less than one is usual


class TypesetError(RoadsegError):
    """Typst cannot set a document."""


def pdf(
    nodes: Iterable[Node], formulas: Mapping[Node, Formula], *, title: str, author: str = "", timestamp: int = 0
) -> bytes:
    """A whole PDF file, which says that it was made at `timestamp`, in seconds since 1970.

    What typst cannot set, such as a formula, is shown as it was typed. Characters that no font here has are boxes, and
    a line at the end says which.

    Raises TypesetError where typst fails for another reason."""
    nodes = tuple(nodes)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        press = _Press(Path(name), formulas, title, author, timestamp)
        press.furnish(nodes)
        try:
            return _printed(nodes, press)
        except subprocess.TimeoutExpired as error:
            raise TypesetError(f"the PDF cannot be set: typst did not end within {SECONDS} s.") from error


def _printed(nodes: tuple[Node, ...], press: _Press) -> bytes:
    """Print, and print again without what has stood in the way."""
    lacking: set[str] = set()
    for _ in range(ATTEMPTS):
        try:
            return press.printed((*nodes, *_explained(lacking)))
        except TypesetError as error:
            reason, found = error, _lacking(str(error)) - lacking
        if found:
            lacking |= found
            press.add_boxes(lacking)
        elif press.can_set(()):
            nodes = _mended(nodes, press.can_set)
        else:
            break  # typst itself does not work
    raise TypesetError(f"the PDF cannot be set: {str(reason).splitlines()[0]}") from reason


class _Press:
    """Typst in a folder of its own."""

    def __init__(self, folder: Path, formulas: Mapping[Node, Formula], title: str, author: str, timestamp: int):
        self.folder, self.formulas, self.timestamp = folder, formulas, timestamp
        style = (Path(__file__).parent / "document.typ").read_text("utf-8")
        self.head = f"{style}\n#show: report.with({_literal(title)}, {_literal(author)})\n"

    def furnish(self, nodes: Iterable[Node]) -> None:
        """Put fonts and pictures into the folder."""
        import matplotlib

        (self.folder / "fonts").mkdir()
        for name in FONTS:
            shutil.copy(Path(matplotlib.get_data_path(), "fonts", "ttf", name), self.folder / "fonts")
        for node in walk(nodes):
            if node.kind == "picture":
                (self.folder / _file_name(node)).write_bytes(node.data)

    def add_boxes(self, characters: Iterable[str]) -> None:
        """Give these characters a font."""
        (self.folder / "fonts" / "boxes.ttf").write_bytes(box_font(characters))

    def printed(self, nodes: Iterable[Node]) -> bytes:
        """A PDF file of some nodes. Raises TypesetError with all that typst says."""
        source = self.head + "".join(f"#{self.written(node)}\n" for node in nodes)
        (self.folder / "main.typ").write_text(source, "utf-8")
        program = Path(__file__).parent / "typst_process.py"
        command = [sys.executable, "-P", str(program), str(self.folder), str(self.timestamp)]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS)
        if done.returncode:
            raise TypesetError(done.stdout.decode() or f"typst ended with status {done.returncode}.")
        return (self.folder / "main.pdf").read_bytes()

    def can_set(self, nodes: Iterable[Node]) -> bool:
        """Whether nodes alone make a file, apart from characters that no font has."""
        try:
            return bool(self.printed(nodes))
        except TypesetError as error:
            return bool(_lacking(str(error)))

    def written(self, node: Node) -> str:
        """An expression in typst's language."""
        if node.kind == "formula":
            return self.formula(node)
        if node.kind == "text":
            return _literal(node.text)
        if node.kind == "picture":
            return f"as-picture({_literal(_file_name(node))}, {_literal(node.text)})"
        if node.kind == "table":
            rows = ["(" + "".join(f"{self.written(cell)}, " for cell in row.children) + ")" for row in node.children]
            return f"as-table({', '.join(rows)})"
        inner = "; ".join(map(self.written, node.children))
        inner = f"{{ {inner} }}" if inner else _literal(node.text)
        return f"as-{node.kind}({_literal(node.detail)}, {inner})"

    def formula(self, node: Node) -> str:
        """A formula, or what was typed where it is not among those that can be set."""
        if node not in self.formulas:
            return "{ " + "; ".join(map(self.written, node.children)) + " }"
        return f"as-formula({_literal(node.detail)}, {_literal(self.formulas[node].typst)}, {_literal(node.text)})"


def _literal(words: str) -> str:
    """A string in typst's language, which shares JSON's escapes; control characters are gone before."""
    return json.dumps(cleaned(words), ensure_ascii=False)


def _file_name(picture: Node) -> str:
    return f"{hashlib.sha256(picture.data).hexdigest()[:16]}.{picture.detail.split('/')[1]}"


CanSet = Callable[[tuple[Node, ...]], bool]


def _mended(nodes: tuple[Node, ...], can_set: CanSet) -> tuple[Node, ...]:
    """The nodes, where the smallest part that cannot be set is shown as it was typed. Halves are tried alone."""
    if not nodes or can_set(nodes):
        return nodes
    if len(nodes) == 1:
        return (_simpler(nodes[0], can_set),)
    middle = len(nodes) // 2
    return _mended(nodes[:middle], can_set) + _mended(nodes[middle:], can_set)


def _simpler(node: Node, can_set: CanSet) -> Node:
    """A node that can be set: with mended parts, else what it says as it was typed, in short lines if need be."""
    said = text_of([node])
    choices = [Node("code" if node.kind in INLINE else "block", text=said), block(_in_short_lines(said))]
    if node.children and node.kind != "formula":
        choices.insert(0, replace(node, children=_mended(node.children, can_set)))
    safe = block(said.encode("ascii", "backslashreplace").decode())
    return next((choice for choice in choices if can_set((choice,))), safe)


def _in_short_lines(words: str) -> str:
    """Text that needs no line breaks of typst's, which fails at some in Arabic."""
    return "\n".join(short for line in words.splitlines() for short in textwrap.wrap(line, SHORT))


def _lacking(told: str) -> set[str]:
    """The characters that typst says no font has."""
    named = re.findall(r'the text `"(.+?)"` could not be displayed', told, re.DOTALL)
    plain = (re.sub(r"\\u\{([0-9a-f]+)\}", lambda code: chr(int(code[1], 16)), words) for words in named)
    return set("".join(plain))


def _explained(characters: set[str]) -> tuple[Node, ...]:
    """A remark about boxes; none where there are none."""
    if not characters:
        return ()
    codes = ", ".join(f"U+{ord(character):04X}" for character in sorted(characters)[:20])
    more = f" and {len(characters) - 20} more" if len(characters) > 20 else ""
    words = (
        f"Boxes stand for characters that no font on this computer has: {codes}{more}. Text copied from here has them, "
        "and so has the HTML file."
    )
    return (Node("part", (text(words),), detail="remark"),)
