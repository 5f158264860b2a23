"""A tree of pandoc's as one HTML file that loads nothing, and as a PDF: A4, fonts embedded, text that can be copied.

Pandoc writes both; their looks are in report.html, a template of pandoc's, and in report.typ, which typst reads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unicodedata import bidirectional, category

import matplotlib
import typst

from roadseg.errors import RoadsegError
from roadseg.report import pandoc
from roadseg.report.pandoc import NO_ATTRIBUTES, PandocError, cleaned, code, paragraph, part, replaced, strings

ATTEMPTS = 5  # characters without a font, what cannot be set, and both again
LAST_RESORT = "Last Resort High-Efficiency"
UNSEEN = dict.fromkeys((0xFE0E, 0xFE0F, 0x20E3))  # what makes an emoji of a sign or of the digit on a key
UNSET = "This answer cannot be set in the PDF: read it in the HTML file, or make it shorter."
HERE = Path(__file__).parent
FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")  # DejaVu: Greek, Cyrillic, arrows; Last Resort: boxes


class TypesetError(RoadsegError):
    """Typst cannot set the report."""


def html(blocks: Sequence[dict], *, title: str) -> str:
    """A whole HTML file. A formula that pandoc cannot read is shown as it was typed."""
    options = ("--to=html5", "--mathml", "--standalone", f"--template={HERE / 'report.html'}")
    return pandoc.convert(blocks, *options, f"--metadata=pagetitle:{title}")


def pdf(blocks: Sequence[dict], *, title: str, author: str = "", timestamp: int = 0) -> bytes:
    """A whole PDF/A-2u file, which says that it was made at `timestamp`, in seconds since 1970.

    What typst cannot set is shown as it was typed, and an answer that fails even so as UNSET. A character that no font
    here has is a box with a sign of its script; a line at the end names these characters. Raises TypesetError.
    """
    lacking: set[str] = set()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        press = _Press(Path(folder), title, author, timestamp)
        for _ in range(ATTEMPTS):
            try:
                return press.printed([*blocks, *_explained(lacking)], standard="a-2u")
            except (typst.TypstError, PandocError) as error:
                reason, found = error, _lacking(error)
            if found - lacking:
                lacking |= found
                press.inputs["fonts"] = json.dumps([*press.fonts.families(), LAST_RESORT])  # after all others
                press.add_fonts("LastResort*.ttf")
            else:
                blocks = replaced(list(blocks), press.mended)
    why = str(reason).splitlines()[0]
    raise TypesetError(f"the PDF cannot be set: {why}; shorten your longest answers.") from reason


class _Press:
    """Typst, which reads fonts and the files of one folder."""

    def __init__(self, folder: Path, title: str, author: str, timestamp: int):
        self.folder, self.timestamp = folder, timestamp
        self.inputs = {"title": cleaned(title), "author": cleaned(author), "fonts": "[]"}
        (folder / "fonts").mkdir()
        self.add_fonts("DejaVuSans*.ttf")

    def add_fonts(self, names: str) -> None:
        """Add some of Matplotlib's fonts to those of the system and of typst."""
        for font in FONTS.glob(names):
            shutil.copy(font, self.folder / "fonts")
        self.fonts = typst.Fonts(font_paths=[str(self.folder / "fonts")])

    def printed(self, blocks: list[dict], *, standard: str = "1.7") -> bytes:
        """A PDF file. Raises TypstError and PandocError."""
        body = pandoc.convert(replaced(blocks, self.for_typst), "--to=typst")
        main = self.folder / "main.typ"
        main.write_text((HERE / "report.typ").read_text("utf-8") + body, "utf-8")
        options = {"root": str(self.folder), "font_paths": self.fonts, "sys_inputs": self.inputs}
        return typst.compile(str(main), pdf_standards=standard, timestamp=self.timestamp, **options)

    def for_typst(self, node: dict) -> list[dict] | None:
        """Parts and images in typst's own language; all words as strings, which typst never reads as code."""
        match node:
            case {"t": "Str", "c": words}:
                return [_raw("Inline", "#box();".join(f"#{_literal(piece)};" for piece in _pieces(words)))]
            case {"t": "Code", "c": [attributes, words]}:
                pieces = ({"t": "Code", "c": [attributes, piece]} for piece in _pieces(words))
                return [node for piece in pieces for node in (_raw("Inline", "#box();"), piece)][1:]
            case {"t": "CodeBlock", "c": [attributes, words]}:
                return [{"t": "CodeBlock", "c": [attributes, words.translate(UNSEEN)]}]
            case {"t": "Div", "c": [[_, [kind], _], inner]}:
                return [_raw("Block", f"#{kind}["), *replaced(inner, self.for_typst), _raw("Block", "]")]
            case {"t": "Plain" | "Para" | "Header" | "BulletList" | "OrderedList" | "Table" as kind, "c": inner}:
                shown, turn = replaced(inner, self.for_typst), f"#[#set text(dir: {_direction(inner)});"
                if kind == "Plain":  # of a list, or a cell of a table
                    return [{"t": kind, "c": [_raw("Inline", turn), *shown, _raw("Inline", "]")]}]
                return [_raw("Block", turn), {"t": kind, "c": shown}, _raw("Block", "]")]
            case {"t": "Image", "c": [_, alt, [address, _]]}:
                head, content = address.split(";base64,")
                data = base64.b64decode(content)
                name = f"{hashlib.sha256(data).hexdigest()[:16]}.{head.removeprefix('data:image/')}"
                (self.folder / name).write_bytes(data)
                return [_raw("Inline", f'#box(image("{name}", alt: {_literal("".join(strings(alt)))}));')]
        return None

    def mended(self, node: dict) -> list[dict] | None:
        """As it was typed, a formula that typst cannot set, or a part that fails without its formulas, too."""
        match node:
            case {"t": "Math", "c": [_, tex]}:
                alone, typed = {"t": "Para", "c": [node]}, {"t": "Code", "c": [NO_ATTRIBUTES, f"${tex}$"]}
                return [node if self.can_set([alone]) else typed]
            case {"t": "Div", "c": [attributes, inner]} if not self.can_set([node]):
                inner = replaced(inner, self.mended)
                tries = (inner, [code("".join(strings(inner)))], [paragraph(UNSET)])
                return [{"t": "Div", "c": [attributes, next(filter(self.can_set, tries))]}]
            case {"t": "Div"}:
                return [node]
        return None

    def can_set(self, blocks: list[dict]) -> bool:
        """Whether blocks alone make a file, apart from characters that no font has."""
        try:
            return bool(self.printed(blocks))
        except (typst.TypstError, PandocError):
            return False


def _pieces(words: str) -> list[str]:
    """Text in pieces, between which a line may break: a word of 30 characters and more is cut behind every eighth."""
    return re.sub("[!-~]{30,}", lambda long: re.sub(".{8}", "\\g<0>\0", long[0]), words.translate(UNSEEN)).split("\0")


def _direction(nodes: pandoc.Tree) -> str:
    """Where a text runs to: its first letter decides, as in HTML."""
    letter = re.search(r"[^\W\d_]", "".join(strings(nodes)))
    return "rtl" if letter and bidirectional(letter[0]) in ("R", "AL") else "ltr"


def _literal(words: str) -> str:
    """A string in typst's language, which shares JSON's escapes; without control characters."""
    return json.dumps(cleaned(words), ensure_ascii=False)


def _raw(where: str, source: str) -> dict:
    return {"t": f"Raw{where}", "c": ["typst", source]}


def _lacking(error: Exception) -> set[str]:
    """The characters that typst says no font has."""
    named = re.findall(r'the text `"(.+?)"` could not be displayed', getattr(error, "diagnostic", ""), re.DOTALL)
    return set(re.sub(r"\\u\{([0-9a-f]+)\}", lambda code: chr(int(code[1], 16)), "".join(named)))


def _explained(characters: set[str]) -> list[dict]:
    """A remark about characters without a font, but for those that join others, as emoji have them."""
    named = [f"U+{ord(c):04X}" for c in sorted(characters) if category(c) != "Cf"]
    codes = ", ".join(named[:20] + ["..."] * (len(named) > 20))
    words = f"No font on this computer has {codes}: a box stands for each. The HTML file has the characters."
    return [part("remark", paragraph(words))] if named else []
