"""The program pandoc, which comes with pypandoc-binary, and its tree of a document.

A tree is pandoc's JSON: a list of blocks, each a dict of type "t" and content "c". Markdown is read into it, and HTML
and typst are written from it, by pandoc itself, which reads no other file.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pypandoc

from roadseg.errors import RoadsegError

SECONDS = 30  # for one call; a tenth of a second is usual
NO_ATTRIBUTES = ["", [], []]  # id, classes, others
_CONTROLS = {code: 0xFFFD for code in (*range(32), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF) if chr(code) not in "\t\n"}
_CONTROLS |= dict.fromkeys((0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))  # invisible; most reverse text

Tree = list | dict | str | int | float | bool | None


class PandocError(RoadsegError):
    """Pandoc failed or did not end in time."""


def run_pandoc(source: str, *options: str) -> str:
    """What pandoc makes of a source. It reads no file but a template, and gets 1 GB of memory. Raises PandocError."""
    path = shutil.which("pandoc", path=str(Path(pypandoc.__file__).parent / "files"))  # the wheel's own
    if path is None:
        raise RoadsegError("pandoc is missing from pypandoc: install it with `pip install pypandoc-binary`.")
    command = [path, "--sandbox", "--wrap=none", "--eol=lf", *options, "+RTS", "-M1g", "-RTS"]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PandocError(f"pandoc failed: {error}") from error
    return done.stdout.decode()


def convert(blocks: Iterable[dict], *options: str) -> str:
    """Blocks in another format. Raises PandocError."""
    document = {"pandoc-api-version": [1, 23, 1], "meta": {}, "blocks": list(blocks)}
    return run_pandoc(json.dumps(document), "--from=json", *options)


def replaced(tree: Tree, change: Callable[[dict], list[dict] | None]) -> Tree:
    """A copy of a tree with the nodes that `change` gives in place of each, or the same where it gives None."""
    if isinstance(tree, dict):
        return {key: replaced(inner, change) for key, inner in tree.items()}
    if not isinstance(tree, list):
        return tree
    copy = []
    for node in tree:
        nodes = change(node) if isinstance(node, dict) else None
        copy += [replaced(node, change)] if nodes is None else nodes
    return copy


def strings(tree: Tree) -> Iterator[str]:
    """All text of a tree, attributes and addresses included."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        yield {"Space": " ", "SoftBreak": " ", "LineBreak": "\n"}.get(tree.get("t"), "")
        yield from strings(tree.get("c"))
    elif isinstance(tree, list):
        for inner in tree:
            yield from strings(inner)


def cleaned(words: str) -> str:
    """Text that any file and font can hold: other line ends are new lines, control characters are shown as �."""
    whole = words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return re.sub("\r\n?|[\x85\u2028\u2029]", "\n", whole).translate(_CONTROLS)


# --- nodes ------------------------------------------------------------------------------------------------------------


def inline(words: str) -> list[dict]:
    """Words as inline nodes."""
    return [{"t": "Str", "c": re.sub(r"[ \t\n]+", " ", cleaned(words))}] if words else []


def paragraph(words: str) -> dict:
    """Words as a block."""
    return {"t": "Para", "c": inline(words)}


def bullets(phrases: Iterable[str]) -> dict:
    """A list of phrases."""
    return {"t": "BulletList", "c": [[paragraph(phrase)] for phrase in phrases]}


def heading(level: int, words: str) -> dict:
    """A heading of level 1 to 6."""
    return {"t": "Header", "c": [level, NO_ATTRIBUTES, inline(words)]}


def code(source: str, language: str = "") -> dict:
    """Text with its line breaks, in a fixed-width font; its tokens are colored where the language is known."""
    return {"t": "CodeBlock", "c": [["", [language] if language else [], []], cleaned(source)]}


def part(kind: str, *blocks: dict) -> dict:
    """A part of a class that report.html and report.typ know. Its text may run from right to left."""
    return {"t": "Div", "c": [["", [kind], [["dir", "auto"]]], list(blocks)]}


def image(data: bytes, media_type: str, alt: str) -> dict:
    """An image file as an inline node, which holds all of it."""
    address = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return {"t": "Image", "c": [NO_ATTRIBUTES, inline(alt), [address, ""]]}


def figure(data: bytes, alt: str, caption: str) -> dict:
    """A PNG file with its caption."""
    below, shown = _plain(inline(caption)), _plain([image(data, "image/png", alt)])
    return {"t": "Figure", "c": [NO_ATTRIBUTES, [None, below], shown]}


def table_block(rows: Sequence[Sequence[str]], *, align: str = "Right") -> dict:
    """A table of text. The first row is its head, its first column is aligned left, the others to a side."""
    columns = [[{"t": f"Align{side}"}, {"t": "ColWidthDefault"}] for side in ["Left", *[align] * (len(rows[0]) - 1)]]
    cell = [NO_ATTRIBUTES, {"t": "AlignDefault"}, 1, 1]
    head, *body = [[NO_ATTRIBUTES, [[*cell, _plain(inline(words))] for words in row]] for row in rows]
    parts = [NO_ATTRIBUTES, [head]], [[NO_ATTRIBUTES, 0, [], body]], [NO_ATTRIBUTES, []]
    return {"t": "Table", "c": [NO_ATTRIBUTES, [None, []], columns, *parts]}


def _plain(words: list[dict]) -> list[dict]:
    return [{"t": "Plain", "c": words}]
