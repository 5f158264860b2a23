"""A document: a tree of nodes that says something and can do nothing.

`document_markdown` reads Markdown into nodes, `document_formulas` sets their formulas, and `document_html` and
`document_pdf` print them. A document is a tuple of nodes of these kinds.

In a line:

    text, code       `text`
    emphasis, strong, struck, plain    `children`
    formula          `text` in TeX; `detail` inline or display; `children` show it as it was typed
    link             `children`; `detail` is an https address
    break            a new line
    picture          `data`, an image file; `detail` is its media type, `text` describes it

Blocks:

    paragraph, quote, figure, caption, rule         `children`
    heading          `children`; `detail` is the level, from 1 to 6
    block            `text` with its line breaks, such as code
    bullets of bullet, numbers of number            `detail` of the latter is its number
    table of row of head or cell                    `detail` of the last is left, center or right
    part             `children`; `detail` is what they are, such as answer
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

INLINE = ("text", "code", "emphasis", "strong", "struck", "plain", "formula", "link", "break", "picture")


@dataclass(frozen=True)
class Node:
    """A part of a document; the module tells what each kind has."""

    kind: str
    children: tuple[Node, ...] = ()
    text: str = ""
    detail: str = ""
    data: bytes = b""


def text(words: str) -> Node:
    """Words as a node."""
    return Node("text", text=words)


def block(words: str) -> Node:
    """Text with its line breaks, as a node."""
    return Node("block", text=words)


def text_of(nodes: Iterable[Node]) -> str:
    """All that some nodes say, without mark-up; formulas as they were typed."""
    parts = []
    for node in nodes:
        parts.append(text_of(node.children) if node.children else node.text)
        parts.append("" if node.kind in INLINE else "\n")
    return "".join(parts)


def walk(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes, and all that is in them."""
    for node in nodes:
        yield node
        yield from walk(node.children)


_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}  # a picture of each, such as ␛
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys((*range(0x80, 0xA0), 0xFFFE, 0xFFFF), 0xFFFD)
_CONTROLS |= dict.fromkeys((0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))  # unseen; most turn text around


def cleaned(words: str) -> str:
    """Text that any file and font can hold: other line ends are new lines, control characters are shown as symbols."""
    whole = words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return re.sub("\r\n?|[\x85\u2028\u2029]", "\n", whole).translate(_CONTROLS)
