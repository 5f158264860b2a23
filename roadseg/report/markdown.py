"""An answer's Markdown as a tree of pandoc's that shows all that was typed, as JupyterLab does, and can do nothing.

HTML, raw blocks and images from elsewhere become text. Pasted images are encoded again. Nothing that was typed is lost.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from urllib.parse import unquote

from roadseg.report import images, pandoc
from roadseg.report.pandoc import NO_ATTRIBUTES, PandocError, cleaned, code, inline, paragraph, part, replaced, strings

FORMAT = "commonmark+pipe_tables+task_lists+strikeout+autolink_bare_uris+tex_math_dollars"  # what JupyterLab knows
DEEPEST = 25  # nodes inside nodes; beyond it an answer is shown as it was typed
LONGEST = 100_000  # characters; the same: typst needs minutes for a paragraph of a million, and a second as code
MISSING = "[This image is missing: copy the image itself and paste it into the cell.]"
LANGUAGES = {"python", "py", "python3", "ipython3", "bash", "sh", "console", "text", "txt", "json", "latex", "tex"}

# Formulas are found before Markdown is read, as in JupyterLab, and each is put into one line: what looks like a list or
# a table in them stays theirs. A formula does not continue after a blank line, and there is none in code.
_LINES = r"(?!\n[ \t]*\n)"  # the next character begins no blank line
_IN_DOLLARS = rf"(?:\\.|{_LINES}[^\\$]){{1,4000}}?"
_IN_OTHERS = rf"(?:\\.|{_LINES}[^\\]){{1,4000}}?"
_FOUND = re.compile(
    rf"""
      ^[ \t>]*(?P<fence>`{{3,}}|~{{3,}})[^`\n]*$ .*? (?:^[ \t>]*(?P=fence)[`~]*[ \t]*$|\Z)  # a block of code
    | (?<!`)(?P<ticks>`+)(?!`) (?:{_LINES}.){{0,4000}}? (?<!`)(?P=ticks)(?!`)               # code in a line
    | \\[$`]
    | (?P<table>^(?=[^\n|]*\|[^\n]*\n[ ]{{0,3}}\|?[ ]*:?-+:?[ ]*(?:\|[ ]*:?-*:?[ ]*)+$))      # its first line
    | (?P<formula>
        \$\$ {_IN_DOLLARS} \$\$
      | \$ (?:(?=\s){_IN_DOLLARS}(?<=\s)|(?!\s){_IN_DOLLARS}(?<!\s)) \$(?!\d)
      | \\{{1,2}}\[ {_IN_OTHERS} \\{{1,2}}\] | \\{{1,2}}\( {_IN_OTHERS} \\{{1,2}}\)
      | \\begin\{{(?P<name>[a-zA-Z]+\*?)\}} {_IN_OTHERS} \\end\{{(?P=name)\}}
      )
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_DATA = re.compile(r"(?i)data:image/[\w.+-]+(?:;[\w=-]+)?;base64,([A-Z0-9+/=%]{60,})")
_QUOTED_DATA = re.compile(r"""(?i)(?<=src=["'])data:image/[^"']+""")  # may be broken into lines
_IMG = re.compile(r"""(<img\b[^>]*?\bsrc\s*=\s*["']?(attachment:[^"'\s>]+)[^>]*>)""", re.IGNORECASE)
_ANY_IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|webp|bmp)$", re.IGNORECASE)  # no caption: what programs put there
_NEVER_SET = re.compile(r"(?<!\\)%|\\(?:tag|newcommand|def)\b")  # TeX of which a set formula shows nothing
_TEX = (  # what pandoc does not know, in words that it knows
    (r"\\label\{[^{}]*\}|\\(tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge)\b", ""),
    (r"\\textcolor\{[^{}]*\}|(?<!\\)\\!", ""),
    (r"(?<!\\)\\[;:>]", r"\\,"),
    (r"\\cfrac\b", r"\\frac"),
    (r"\\colorbox\{[^{}]*\}", r"\\text"),
    (r"\{\\(rm|bf|it|cal)\b\s*([^{}]*)\}|^\\(rm|bf|it|cal)\b\s*(.*)$", r"\\math\1\3{\2\4}"),
)


def read_markdown(markdown: str, attachments: Mapping[str, Mapping[str, str]] | None = None) -> list[dict]:
    """The blocks of a Markdown cell; one that pandoc cannot read, or a too deep or long one, as one block of code.

    attachments : the cell's images, name to {media type: base64}. Those that the text does not show come last.
    """
    reader = _Reader(attachments or {})
    markdown = _QUOTED_DATA.sub(lambda found: "".join(found[0].split()), cleaned(markdown))
    markdown = _DATA.sub(reader.attach, markdown)
    source = _FOUND.sub(reader.one_line, markdown)
    try:
        document = json.loads(pandoc.run_pandoc(source, f"--from={FORMAT}", "--to=json"))
        blocks = replaced(document["blocks"], reader.shown)
        if len(source) > LONGEST or _depth(blocks) > DEEPEST:
            raise RecursionError
    except (PandocError, RecursionError):
        blocks = [code(markdown)]
    blocks += reader.unseen(markdown, blocks)
    others = [name for name in reader.images if name not in reader.noted]
    return blocks + [{"t": "Para", "c": reader.pasted(name, f"Attached: {name}")} for name in others]


def _depth(tree: pandoc.Tree) -> int:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return isinstance(tree, dict) + max(map(_depth, inner), default=0)


class _Reader:
    """Makes one cell's tree safe.

    images : in base64, by name. noted : what was typed and is shown in another way.
    """

    def __init__(self, attachments: Mapping[str, Mapping[str, str]]):
        self.images = {name: "".join(next(iter(kinds.values()), "")) for name, kinds in attachments.items()}
        self.noted = []

    def attach(self, found: re.Match) -> str:
        """A short address for an image that stands in the text itself."""
        name = f"image-in-text-{len(self.images) + 1}"
        self.images[name] = unquote(found[1])
        return f"attachment:{name}"

    def one_line(self, found: re.Match) -> str:
        """A formula that pandoc can set, else as code; a blank line before a table; code as it is."""
        typed = found["formula"]
        if not typed:
            return found[0] if found["table"] is None else "\n"
        self.noted.append(typed)
        if _NEVER_SET.search(typed):
            return f"`` {' '.join(typed.split())} ``"
        dollars = "$$" if typed.startswith(("$$", "\\[", "\\\\[", "\\begin")) else "$"
        tex = re.sub(r"^(\$\$?|\\{1,2}[\[(])|(\$\$?|\\{1,2}[\])])$", "", typed)
        for pattern, known in _TEX:
            tex = re.sub(pattern, known, tex)
        if "\\begin" not in tex:
            tex = tex.replace("\\|", "\\Vert ").replace("|", "\\vert ")  # no cell of a table ends in a formula
            tex = rf"\begin{{gathered}}{tex}\end{{gathered}}" if "\\\\" in tex else tex
        return f"{dollars}{' '.join(tex.split())}{dollars}"

    def shown(self, node: dict) -> list[dict] | None:
        """What is shown of one of pandoc's nodes; None where its inside decides."""
        match node:
            case {"t": "Str", "c": "☐" | "☒"}:  # of a task: a sign, which pandoc would make a box to click
                return [{"t": "Span", "c": [NO_ATTRIBUTES, [node]]}]
            case {"t": "Header", "c": [level, _, inner]}:
                return [{"t": "Header", "c": [min(6, level + 3), NO_ATTRIBUTES, replaced(inner, self.shown)]}]
            case {"t": "CodeBlock", "c": [[_, languages, _], words]}:
                known = LANGUAGES.intersection(languages)
                self.noted += known
                return [code(words, *known)]
            case {"t": "RawInline", "c": [_, words]} if re.fullmatch(r"<br\s*/?>", words):
                self.noted.append(words)
                return [{"t": "LineBreak"}]
            case {"t": "RawInline", "c": [_, words]}:
                return self.markup(words)
            case {"t": "RawBlock", "c": [_, words]}:
                return [{"t": "Para", "c": self.markup(words)} if _ANY_IMG.search(words) else code(words.rstrip("\n"))]
            case {"t": "Link", "c": [_, inner, [address, title]]}:
                return self.link(replaced(inner, self.shown), address, title)
            case {"t": "Image", "c": [_, inner, [address, title]]}:
                return self.image("".join(strings(inner)), address, title)
        return None

    def markup(self, words: str) -> list[dict]:
        """HTML as text; the tag of an attached image as the image, that of another with MISSING."""
        nodes = []
        for i, piece in enumerate(_IMG.split(words)):  # text, tag, address, text, ...
            if i % 3 == 1:
                self.noted.append(piece)
            else:
                nodes += self.image("", piece, "") if i % 3 else inline(_ANY_IMG.sub(rf"\g<0> {MISSING}", piece))
        return nodes

    def link(self, inner: list[dict], address: str, title: str) -> list[dict]:
        """The link's text, then its address unless that is the text. Only addresses of the web lead anywhere."""
        if title or "".join(strings(inner)) != address:
            inner = [*inner, *inline(f" ({address}{_quoted(title)})")]
        on_the_web = re.match(r"https?://[^\s\\]+$", address)
        return [{"t": "Link", "c": [NO_ATTRIBUTES, inner, [address, ""]]}] if on_the_web else inner

    def image(self, alt: str, address: str, title: str) -> list[dict]:
        """An attached image. Any other is shown as it was typed, with MISSING, and not looked for."""
        name = address.removeprefix("attachment:")
        name = name if name in self.images else unquote(name)
        if not address.startswith("attachment:") or name not in self.images:
            return inline(f"![{alt}]({address}{_quoted(title)}) {MISSING}")
        self.noted += [address, name, alt]
        return self.pasted(name, ". ".join(words for words in (alt, title) if words and not _FILE_NAME.match(words)))

    def pasted(self, name: str, caption: str) -> list[dict]:
        """An attached image, or why it is not shown, with its caption."""
        below = [{"t": "LineBreak"}, {"t": "Emph", "c": inline(caption)}] if caption else []
        image = images.recoded(self.images[name])
        if image is None:
            why = "it is damaged, far too large, or no PNG, JPEG, GIF, WebP or BMP"
            return [*inline(f"[The image {name} is not shown: {why}.]"), *below]
        return [pandoc.image(*image, caption or "a pasted image"), *below]

    def unseen(self, markdown: str, blocks: list[dict]) -> list[dict]:
        """Lines with a word that no block shows, as they were typed: Markdown hides definitions that nothing uses."""
        said = "".join(strings(blocks)) + "\n".join(self.noted)
        lines = [line for line in markdown.splitlines() if not all(word in said for word in _words(line))]
        return [part("remark", paragraph("Also typed here:")), code("\n".join(lines))] if lines else []


def _words(line: str) -> list[str]:
    """The words of a line but for labels of definitions, which Markdown never shows."""
    return re.findall(r"[^\W\d_]{2,}", html.unescape(re.sub(r"\]\[[^\]]*\]|^\s*\[[^\]]*\]:", " ", line)))


def _quoted(title: str) -> str:
    return f' "{title}"' if title else ""
