"""Formulas in TeX, set by pandoc: MathML for HTML, and typst's mathematics for PDF.

Both are checked before they are printed: MathML has only known elements and attributes, typst's mathematics calls no
function but those that pandoc needs. A formula that cannot be set is shown as it was typed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from roadseg.report.document import Node, walk
from roadseg.report.pandoc import PandocError, pandoc

ELEMENTS = {
    *("math", "semantics", "annotation", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "mroot"),
    *("msub", "msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts", "mtable", "mtr"),
    *("mtd", "mphantom", "mpadded", "menclose", "mstyle", "none"),
}
ATTRIBUTES = {
    *("display", "encoding", "mathvariant", "stretchy", "form", "fence", "separator", "accent", "accentunder"),
    *("minsize", "maxsize", "width", "columnalign", "notation", "displaystyle", "scriptlevel", "linethickness"),
}
CALLS = {"scale", "box", "h", "hide", "stack"}  # what pandoc writes with a # for \big, \boxed, \quad, \phantom, ...
LONGEST = 4000  # characters of a formula
UNSEEN = re.compile(r"(?<!\\)%|\\(?:tag|label|newcommand|def)\b")  # TeX of which a set formula shows nothing
SEPARATOR = "\ue002"


@dataclass(frozen=True)
class Formula:
    """A formula for HTML, as an element, and for PDF, as the inside of typst's dollars."""

    mathml: str
    typst: str


def formulas(nodes: Iterable[Node]) -> dict[Node, Formula]:
    """Every formula in a document that can be set."""
    found = {node for node in walk(nodes) if node.kind == "formula"}
    nodes = sorted(
        (node for node in found if len(node.text) <= LONGEST and not UNSEEN.search(node.text)),
        key=lambda node: (node.text, node.detail),
    )
    pairs = zip(nodes, _converted(nodes, "html", "--mathml"), _converted(nodes, "typst"))
    set_ = ((node, _mathml(html), _typst(typst)) for node, html, typst in pairs)
    return {node: Formula(mathml, typst) for node, mathml, typst in set_ if mathml and typst}


def _converted(nodes: Sequence[Node], *to: str) -> list[str]:
    """Each formula as pandoc writes it; empty where pandoc gives up. Halves are tried alone, so that one formula that
    pandoc cannot read costs no other."""
    try:
        parts = pandoc(_as_json(nodes), "--from", "json", "--to", *to).split(SEPARATOR)[:-1]
        if len(parts) == len(nodes):
            return parts
    except PandocError:
        pass
    if len(nodes) <= 1:
        return [""] * len(nodes)
    middle = len(nodes) // 2
    return _converted(nodes[:middle], *to) + _converted(nodes[middle:], *to)


def _as_json(nodes: Iterable[Node]) -> str:
    """A document for pandoc: each formula, then a separator."""
    kinds = {"inline": "InlineMath", "display": "DisplayMath"}
    blocks = []
    for node in nodes:
        formula = {"t": "Math", "c": [{"t": kinds[node.detail]}, node.text]}
        blocks += [{"t": "Plain", "c": [formula]}, {"t": "Plain", "c": [{"t": "Str", "c": SEPARATOR}]}]
    return json.dumps({"pandoc-api-version": [1, 23, 1], "meta": {}, "blocks": blocks})


def _mathml(written: str) -> str:
    """A `math` element of known elements and attributes that shows something, else nothing."""
    try:
        root = ElementTree.fromstring(written.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))
    except ElementTree.ParseError:
        return ""
    root.tail = ""
    for element in root.iter():
        element.attrib.pop("style", None)  # the style sheet does the same by columnalign
        if element.tag not in ELEMENTS or not element.attrib.keys() <= ATTRIBUTES:
            return ""
    shown = root.find("semantics/*[1]")
    if root.tag != "math" or shown is None or not "".join(shown.itertext()).strip():
        return ""
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _typst(written: str) -> str:
    """What is between typst's dollars, if it calls nothing else than pandoc needs."""
    inside = re.fullmatch(r"\s*\$(.*)\$\s*", written, re.DOTALL)
    calls = re.findall(r"#(\w*)", re.sub(r"\\.", "", written, flags=re.DOTALL))
    return inside[1] if inside and CALLS.issuperset(calls) else ""
