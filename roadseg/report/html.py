"""A document of nodes as one HTML file that loads nothing and does nothing.

Every word goes through `html.escape`; each kind of node has a template here, and its looks in document.css.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from roadseg.report.document import Node, cleaned
from roadseg.report.formulas import Formula

_TEMPLATES = {
    **{"paragraph": "<p>{inner}</p>\n", "plain": "{inner}", "quote": "<blockquote>{inner}</blockquote>\n"},
    **{"heading": "<h{detail}>{inner}</h{detail}>\n", "rule": "<hr>\n", "block": "<pre><code>{inner}</code></pre>\n"},
    **{"bullets": "<ul>{inner}</ul>\n", "bullet": "<li>{inner}</li>\n"},
    **{"numbers": "<ol>{inner}</ol>\n", "number": '<li value="{detail}">{inner}</li>\n'},
    **{"table": '<div class="wide"><table>{inner}</table></div>\n', "row": "<tr>{inner}</tr>\n"},
    **{"head": '<th class="{detail}">{inner}</th>', "cell": '<td class="{detail}">{inner}</td>'},
    **{"figure": "<figure>{inner}</figure>\n", "caption": "<figcaption>{inner}</figcaption>\n"},
    **{"part": '<div class="{detail}">{inner}</div>\n', "break": "<br>\n", "text": "{inner}"},
    **{"emphasis": "<em>{inner}</em>", "strong": "<strong>{inner}</strong>", "struck": "<del>{inner}</del>"},
    **{"code": "<code>{inner}</code>", "link": '<a href="{detail}" rel="noopener">{inner}</a>'},
    "picture": '<img src="data:{detail};base64,{data}" alt="{inner}">',
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{inner}</main>
</body>
</html>
"""


def html(nodes: Sequence[Node], formulas: Mapping[Node, Formula], *, title: str) -> str:
    """A whole HTML file. Formulas that are not among `formulas` are shown as they were typed."""
    style = (Path(__file__).parent / "document.css").read_text("utf-8")
    inner = "".join(_written(node, formulas) for node in nodes)
    return _PAGE.format(title=escape(cleaned(title)), style=style, inner=inner)


def _written(node: Node, formulas: Mapping[Node, Formula]) -> str:
    if node.kind == "formula" and node in formulas:
        return formulas[node].mathml
    inner = "".join(_written(child, formulas) for child in node.children) or escape(cleaned(node.text))
    data = base64.b64encode(node.data).decode()
    return _TEMPLATES.get(node.kind, "{inner}").format(inner=inner, detail=escape(cleaned(node.detail)), data=data)
