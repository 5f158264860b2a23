"""Markdown of a notebook as a document that says the same.

Whatever has been typed ends as text, a formula, a picture made anew or one of a few kinds of mark-up. HTML, raw blocks
and addresses of pictures stay on the page as they were typed, and nothing that was typed gets lost.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from roadseg.report.document import Node, block, cleaned, text, text_of
from roadseg.report.pandoc import PandocError, pandoc
from roadseg.report.pictures import Unusable, picture_file

MARKDOWN = "commonmark+pipe_tables+task_lists+strikeout+autolink_bare_uris"  # what JupyterLab shows of Markdown
DEEPEST = 40  # nodes inside nodes; beyond it an answer is shown as it was typed
LANGUAGES = {"python", "py", "python3", "ipython", "bash", "sh", "console", "text", "txt", "json", "latex", "tex"}


def read(markdown: str, attachments: Mapping[str, Mapping[str, str]] | None = None) -> tuple[Node, ...]:
    """The nodes of a Markdown cell.

    attachments : the cell's pictures, name to {media type: base64}. Those that the text does not show come last.

    What cannot be read as Markdown comes back as it was typed; so do lines of which Markdown shows no word.
    """
    markdown, reader = cleaned(markdown), _Reader(attachments or {})
    try:
        tree = json.loads(pandoc(reader.without_formulas(markdown), "--from", MARKDOWN, "--to", "json"))
        nodes = reader.nodes(tree["blocks"])
        if _depth(nodes) > DEEPEST:
            raise RecursionError
    except (PandocError, RecursionError):
        nodes = (block(markdown),)
    return nodes + reader.unseen(markdown, nodes) + reader.other_pictures()


def _depth(nodes: Iterable[Node]) -> int:
    return max((1 + _depth(node.children) for node in nodes), default=0)


# --- formulas in Markdown ---------------------------------------------------------------------------------------------

# Formulas are taken out before Markdown is read, as JupyterLab does: what looks like a list, a table or emphasis in
# them stays theirs. A formula does not go beyond a blank line, and there is none in code.
_LINES = r"(?!\n[ \t]*\n)"  # the next character begins no blank line
_IN_DOLLARS = rf"(?:\\.|{_LINES}[^\\$]){{1,4000}}?"
_IN_OTHERS = rf"(?:\\.|{_LINES}[^\\]){{1,4000}}?"
_FORMULA = re.compile(
    rf"""
      ^[ \t>]*(?P<fence>`{{3,}}|~{{3,}})[^`\n]*$ .*? (?:^[ \t>]*(?P=fence)[`~]*[ \t]*$|\Z)  # a block of code
    | (?<!`)(?P<ticks>`+)(?!`) (?:{_LINES}.){{0,4000}}? (?<!`)(?P=ticks)(?!`)               # code in a line
    | \\[$`]
    | (?P<display>
        \$\$(?P<between_dollars>{_IN_DOLLARS})\$\$
      | \\{{1,2}}\[(?P<in_brackets>{_IN_OTHERS})\\{{1,2}}\]
      | (?P<environment>\\begin\{{(?P<name>[a-zA-Z]+\*?)\}}{_IN_OTHERS}\\end\{{(?P=name)\}})
      )
    | (?P<inline>
        \$(?:(?=\s)(?P<spaced>{_IN_DOLLARS})(?<=\s)|(?!\s)(?P<tight>{_IN_DOLLARS})(?<!\s))\$(?!\d)
      | \\{{1,2}}\((?P<in_parentheses>{_IN_OTHERS})\\{{1,2}}\)
      )
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_TEX = ("between_dollars", "in_brackets", "environment", "spaced", "tight", "in_parentheses")
_MARK = re.compile("\ue000([0-9]+)\ue001")  # stands in for a formula while Markdown is read; nobody types these


# --- Markdown ---------------------------------------------------------------------------------------------------------

_SAME = {
    **{"Para": "paragraph", "Plain": "plain", "BlockQuote": "quote"},
    **{"Emph": "emphasis", "Strong": "strong", "Strikeout": "struck"},
}
_SIDES = {"AlignLeft": "left", "AlignCenter": "center", "AlignRight": "right", "AlignDefault": "left"}


@dataclass
class _Reader:
    """Reads what pandoc gives for one cell. `formulas` are those taken out of it, `noted` is what it says without
    showing it: languages of code and names of pictures."""

    attachments: Mapping[str, Mapping[str, str]]
    formulas: list[Node] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)

    def without_formulas(self, markdown: str) -> str:
        """The Markdown with a mark in the place of each formula."""
        return _FORMULA.sub(self._marked, _MARK.sub("\ufffd", markdown))

    def _marked(self, found: re.Match) -> str:
        kind = next((kind for kind in ("display", "inline") if found[kind]), None)
        if kind is None:
            return found[0]
        tex = next(found[name] for name in _TEX if found[name])
        self.formulas.append(Node("formula", (Node("code", text=found[0]),), tex.strip(), kind))
        return f"\ue000{len(self.formulas) - 1}\ue001"

    def nodes(self, parts: list[dict]) -> tuple[Node, ...]:
        """The nodes of a list of pandoc's, neighbouring texts joined."""
        joined: list[Node] = []
        for node in (node for part in parts for node in self.read(part)):
            if joined and joined[-1].kind == node.kind == "text":
                node = text(joined.pop().text + node.text)
            joined.append(node)
        return tuple(joined)

    def read(self, part: dict) -> tuple[Node, ...]:
        """One of pandoc's nodes. What is not named here becomes the text in it."""
        match part:
            case {"t": kind, "c": inner} if kind in _SAME:
                return (Node(_SAME[kind], self.nodes(inner)),)
            case {"t": "Str", "c": words}:
                return self.with_formulas(words)
            case {"t": "Space" | "SoftBreak"}:
                return (text(" "),)
            case {"t": "LineBreak"}:
                return (Node("break"),)
            case {"t": "HorizontalRule"}:
                return (Node("rule"),)
            case {"t": "Header", "c": [level, _, inner]}:
                return (Node("heading", self.nodes(inner), detail=str(min(6, level + 3))),)
            case {"t": "Code", "c": [_, words]}:
                return (Node("code", text=self.typed(words)),)
            case {"t": "CodeBlock", "c": [[_, languages, _], words]}:
                self.noted += LANGUAGES.intersection(languages)
                return (block(self.typed(words)),)
            case {"t": "RawInline", "c": [_, words]}:
                return (text(self.typed(words)),)
            case {"t": "RawBlock", "c": [_, words]}:
                return (block(self.typed(words).rstrip("\n")),)
            case {"t": "BulletList", "c": items}:
                return (Node("bullets", tuple(Node("bullet", self.nodes(item)) for item in items)),)
            case {"t": "OrderedList", "c": [[first, *_], items]}:
                numbered = enumerate(items, first)
                return (Node("numbers", tuple(Node("number", self.nodes(i), detail=str(n)) for n, i in numbered)),)
            case {"t": "Table", "c": [_, _, columns, [_, head], bodies, _]}:
                return (self.table([_SIDES[side["t"]] for side, _ in columns], head, bodies),)
            case {"t": "Link", "c": [_, inner, [address, title]]}:
                return self.link(self.nodes(inner), self.typed(address), self.typed(title))
            case {"t": "Image", "c": [_, inner, [address, title]]}:
                return self.image(text_of(self.nodes(inner)), self.typed(address), self.typed(title))
        return self.with_formulas(" ".join(_strings(part.get("c"))))

    def with_formulas(self, words: str) -> tuple[Node, ...]:
        """Text, and the formulas where their marks are."""
        pieces = _MARK.split(words)
        nodes = (self.formulas[int(piece)] if i % 2 else text(piece) for i, piece in enumerate(pieces) if piece)
        return tuple(nodes)

    def typed(self, words: str) -> str:
        """Text in which formulas are as they were typed: there are none in code and addresses."""
        return text_of(self.with_formulas(words))

    def table(self, sides: list[str], head: list, bodies: list) -> Node:
        rows = [("head", row) for row in head] + [("cell", row) for body in bodies for row in body[3]]
        return Node("table", tuple(Node("row", self.cells(kind, row[1], sides)) for kind, row in rows))

    def cells(self, kind: str, cells: list, sides: list[str]) -> tuple[Node, ...]:
        return tuple(Node(kind, self.nodes(cell[4]), detail=side) for cell, side in zip(cells, sides))

    def link(self, inner: tuple[Node, ...], address: str, title: str) -> tuple[Node, ...]:
        """The link's text, then its address unless that is the text. Only https addresses lead anywhere."""
        if title or text_of(inner) != address:
            inner = (*inner, text(f" ({address}{_quoted(title)})"))
        return (Node("link", inner, detail=address),) if re.match(r"https://[^\s\\]+$", address) else inner

    def image(self, words: str, address: str, title: str) -> tuple[Node, ...]:
        """An attached picture; any other stays what was typed, and is not looked for."""
        scheme, _, name = address.partition(":")
        name = name if name in self.attachments else unquote(name)
        if scheme != "attachment" or name not in self.attachments:
            return (text(f"![{words}]({address}{_quoted(title)})"),)
        self.noted += [address, name]
        return self.picture(name, " ".join(part for part in (words, title) if part not in ("", name)))

    def picture(self, name: str, told: str) -> tuple[Node, ...]:
        """An attached picture and what is told about it; where it cannot be shown, its name and the reason."""
        below = (Node("break"), Node("emphasis", (text(told),))) if told else ()
        try:
            data, kind = picture_file(self.attachments[name])
        except Unusable as reason:
            return (text(f"[The picture {name} is not shown: {reason}.]"), *below)
        return (Node("picture", text=told or name, detail=kind, data=data), *below)

    def other_pictures(self) -> tuple[Node, ...]:
        """Attached pictures that no Markdown shows, such as those in an HTML tag."""
        others = (name for name in self.attachments if name not in self.noted)
        return tuple(Node("paragraph", self.picture(name, f"Attached: {name}")) for name in others)

    def unseen(self, markdown: str, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        """Lines with a word that no node says, as they were typed: Markdown shows no unused definition of a link."""
        said = text_of(nodes) + "\n".join(self.noted)
        lines = [line for line in markdown.splitlines() if not all(word in said for word in _words(line))]
        return (Node("part", (text("Also typed here:"),), detail="remark"), block("\n".join(lines))) if lines else ()


def _words(line: str) -> list[str]:
    return re.findall(r"[^\W\d_]{2,}", html.unescape(line))


def _quoted(title: str) -> str:
    return f' "{title}"' if title else ""


def _strings(content: object) -> Iterator[str]:
    """All strings below some JSON."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for inner in content.values() if isinstance(content, dict) else content:
            yield from _strings(inner)
