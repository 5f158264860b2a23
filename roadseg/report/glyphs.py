"""A font of boxes for characters that no font on a computer has: readers see that something is there, and copied or
searched text still holds the character itself."""

from __future__ import annotations

import io
from collections.abc import Iterable

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

FAMILY = "Roadseg Boxes"
LONG_AGO = 2_082_844_800  # 1970: a font's seconds begin in 1904
WIDTH, HEIGHT, LINE, MARGIN = 620, 700, 50, 60  # of a box, in thousandths of the font's size


def box_font(characters: Iterable[str]) -> bytes:
    """A TrueType font with a box for each character; each has its own, so that a PDF can tell them apart."""
    names = {ord(character): f"u{ord(character):X}" for character in sorted(set(characters))}
    order = [".notdef", *names.values()]
    font = FontBuilder(1000, isTTF=True)
    font.setupHead(unitsPerEm=1000, created=LONG_AGO, modified=LONG_AGO)  # the same characters, the same font
    font.setupGlyphOrder(order)
    font.setupCharacterMap(names)
    font.setupGlyf(dict.fromkeys(order, _box()))
    font.setupHorizontalMetrics(dict.fromkeys(order, (WIDTH, MARGIN)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": FAMILY, "styleName": "Regular", "psName": FAMILY.replace(" ", "")})
    font.setupOS2()
    font.setupPost()
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()


def _box():
    """An outline with a hole in it: the hole runs the other way round."""
    pen = TTGlyphPen(None)
    for inset, step in ((0, 1), (LINE, -1)):
        left, right, low, high = MARGIN + inset, WIDTH - MARGIN - inset, inset, HEIGHT - inset
        corners = [(left, low), (left, high), (right, high), (right, low)][::step]
        pen.moveTo(corners[0])
        for corner in corners[1:]:
            pen.lineTo(corner)
        pen.closePath()
    return pen.glyph()
