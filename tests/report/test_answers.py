"""Answers: all that was typed is in HTML and in a PDF that is read back, and none of it is active."""

import base64
import io
import random
import re
import unicodedata
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from PIL import Image
from pypdf import PdfReader

from roadseg.report import markdown, pages, pandoc

PLAIN = "html head title style body main p pre code h1 h2 h3 h4 h5 h6 em strong del br hr ul li"
PLAIN += " blockquote table thead tbody tr th td figure figcaption"
MATHML = "math semantics mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable"
MATHML += " mtr mtd mphantom mpadded menclose mstyle annotation"
ELEMENTS = {  # of a page, with their attributes besides style, which the page's policy allows
    **dict.fromkeys(PLAIN.split(), ""),
    **dict.fromkeys(MATHML.split(), None),  # any that are not `on...` or an address
    **{"div": "class dir id", "section": "class dir", "span": "class id", "pre": "class", "code": "class"},
    **{"a": "href id aria-hidden tabindex class", "img": "src alt", "ol": "type start", "html": "lang"},
    **{"meta": "charset http-equiv content name", "figcaption": "aria-hidden"},
}
IMAGE = r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+"


class Page(HTMLParser):
    """An HTML file as a reader meets it; `wrong` is whatever must not be in one."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.said, self.wrong, self.links = [], [], [], []
        self.feed(page)
        self.words = squeezed("".join(self.said))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        named = dict(attributes)
        allowed = ELEMENTS.get(tag, "")
        known = all(
            not re.match("on|href|src", n) if allowed is None else n in f"style {allowed}".split() for n in named
        )
        loads = "src" in named and not re.fullmatch(IMAGE, named["src"])
        leads = not named.get("href", "https://").startswith(("http://", "https://", "#cb"))
        if tag not in ELEMENTS or not known or loads or leads or "url" in named.get("style", ""):
            self.wrong.append((tag, attributes))
        if named.get("href", "#").startswith("http"):
            self.links.append(named["href"])

    def handle_endtag(self, tag):
        if tag in ("style", "annotation"):
            self.tags.append(f"/{tag}")

    def handle_data(self, words):
        if self.tags[-1:] not in (["style"], ["annotation"]):  # the TeX of a formula is there, unseen
            self.said.append(words)

    def handle_comment(self, words):
        self.wrong.append(("comment", words))


def squeezed(words: str) -> str:
    """Text without white space, with the plain letters of mathematical ones: lines break elsewhere in each file."""
    return re.sub(r"[\s\ufe0e]", "", unicodedata.normalize("NFKC", words))


def pages_of(file: bytes) -> str:
    """All text of a PDF but the line at the foot of each page."""
    texts = (page.extract_text() for page in PdfReader(io.BytesIO(file)).pages)
    return "\n".join(re.sub(r"[^\n]*\d of \d+\s*$", "", text) for text in texts)


def both(*cells: str, attachments=None) -> tuple[Page, str]:
    """The HTML page and the squeezed text of the PDF for some cells."""
    blocks = [pandoc.part("answer", *markdown.read_markdown(cell, attachments)) for cell in cells]
    return Page(pages.html(blocks, title="T")), squeezed(pages_of(pages.pdf(blocks, title="T")))


def image(kind: str = "PNG", *, size=(40, 20), color="#0072B2", mode="RGB", **options) -> str:
    """An image as a notebook keeps it."""
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


# --- what is typed is there ------------------------------------------------------------------------------------------

SAME = {  # shown as it is typed
    "letters": "Umlaute äöüß ÄÖÜ, naïve, Łódź, ŝ, İı, αβγ Σ Ω, Привет, ё",
    "signs": "→ ⇒ ↔ ≤ ≠ ≈ ∞ ∑ √ ∈ ✓ ✗ “quoted” ‘so’ – — … € § ½ 10 °C",
    "money": "It costs $5 and $6.",
    "dashes": "a -- b --- c ... 'd' \"e\"",
    "typst's own": '#import "@preview/x" #{1+1} = a / b: c // d /* e */ @f <g> ~',
    "malformed formula": r"so $\frac{a$ and $$\unknowncommand{b}$$ and $\sqrt[$.",
    "formula that would hide a part": r"$%$ and $\tag{3} x$",
}
OTHER = {  # shown as something else
    "words": (
        "Most pixels are *no road*, **so** it is ~~low~~<br>high.",
        "Most pixels are no road, so it is low high.",
    ),
    "code": ("`x_1 * y_2` and\n\n```python\nreturn a ** 2  # <b>\n```", "x_1 * y_2 and return a ** 2  # <b>"),
    "long code": ("`" + "y" * 300 + "`", "y" * 300),
    "table": ("| name | F1 |\n|:--|--:|\n| U-Net | 0.91 |\n| *simple* | `0.76` |", "name F1 U-Net 0.91 simple 0.76"),
    "table below a line": ("So:\n| name | F1 |\n|--|--|\n| U-Net | 0.91 |", "So: name F1 U-Net 0.91"),
    "typst in a table": ("| = a | 5. b |\n|--|--|\n| - c | **+ d** |", "= a 5. b - c + d"),
    "row that is too long": ("| a | b |\n|--|--|\n| one |\n| two | three | four |", "four"),
    "tasks": ("- [ ] open\n- [x] closed", "☐ open"),
    "unused definition": ('See.\n\n[other]: https://example.org "a title"', '[other]: https://example.org "a title"'),
    "footnote": ("A claim[^1].\n\n[^1]: the note", "the note"),
    "language that is none": ("```Because most pixels are no road\nyes\n```", "Because most pixels are no road"),
    "controls": ("a\x00b \x1b[31m \ufeffc\ud800 d\x85e\u2028f \u202egnirts\u202c", "�[31m c� d e f gnirts"),
    "formula": (r"the loss $-\log p_i$ of $x \in [0, 1]$", "the loss − log"),
    "formulas in brackets": (r"\(alpha\) and \\(beta\\) and \[gamma\]", "alpha and beta and gamma"),
    "displayed": ("$$\nL = \\frac{1}{N}\n- y\n+ z\n$$", "L ="),
    "environment": ("\\begin{align}\nu &= v \\\\\nw &= t\n\\end{align}", "u = v"),
    "two lines": ("$$ab \\\\ cd$$", "ab cd"),
    "color and size": (r"$\textcolor{red}{u} = {\rm IoU} \large w \label{eq} \cap v$", "u = IoU w ∩ v"),
    "a font for all": (r"$\rm IoU$ $\scriptsize w$ $\colorbox{yellow}{v}$ ${\cal L}$", "IoU w v L"),
    "dollar in code": ("`a $x$ b`", "a $x$ b"),
    "formula in a table": ("| a |\n|--|\n| $|w|$ |", "|w|"),
}
NASTY = {  # shown as it is typed, at least every word
    "script": "<script>alert(1)</script> so <b>bold</b>",
    "tags": "<img src=x onerror=alert(1)>\n\n<iframe src='https://example.org'></iframe>",
    "block": '<div onclick="f()">\n*kept*\n</div>\n\n<style>body{display:none}</style>',
    "comment": "before <!-- hidden --> <?php echo 1 ?> <![CDATA[ text ]]> after",
    "end": "</main></body></html><script>f()</script>",
    "images from elsewhere": "![remote](https://example.org/x.png) ![](/etc/passwd) ![secret](../secret.png)",
    "images of files": "![](file:///etc/passwd) ![](data:image/svg+xml,<svg/onload=f()>)",
    "links": "[click](javascript:alert(1)) [one](data:text/html,<script>f()</script>) [two](file:///etc/passwd)",
    "attributes": "# head {#id .class onclick=f()}\n\n`<b>`{=html} and `#f()`{=typst} [@someone, p. 3]",
    "raw": '```{=html}\n<script>f()</script>\n```\n\n```{=typst}\n#read("/etc/passwd")\n```',
    "metadata": "---\ntitle: taken over\nheader-includes: <script>\n---\n\n!include /etc/passwd",
    "formula html": r"$\href{javascript:alert(1)}{x}$ $\text{<script>f()</script>}$",
    "formula typst": r'$\text{"} #read("/etc/passwd") \text{"}$ $\input{/etc/passwd}$ $\text{#read("/etc/passwd")}$',
    "address": '[x](https://example.org/"onmouseover="f())',
}


@pytest.fixture(scope="module")
def said() -> tuple[Page, str]:
    """All of them in one report."""
    return both(*SAME.values(), *(typed for typed, _ in OTHER.values()), *NASTY.values())


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_what_is_typed_is_in_both(said, name):
    page, paper = said
    expected = squeezed(SAME.get(name) or OTHER[name][1])
    assert expected in page.words and expected in paper


@pytest.mark.parametrize("name", NASTY)
def test_what_could_be_active_is_text(said, name):
    for word in re.findall(r"[^\s`:#*\[\](){}!-]{2,}", NASTY[name]):
        assert squeezed(word).strip("\\") in said[0].words, word
        assert squeezed(word).strip("\\") in said[1], word


def test_nothing_is_active(said):
    page, paper = said
    assert not page.wrong and not {"script", "iframe", "b", "img", "svg"} & set(page.tags)
    assert "root:" not in page.words + paper
    assert {"math", "table", "pre", "code", "li"} <= set(page.tags)


def test_what_looks_hidden_and_is_not_is_remarked_once(said):
    page, _ = said
    hiding = ("row that is too long", "unused definition", "footnote", "language that is none")
    assert page.words.count("Alsotypedhere") == len(hiding)


def test_links():
    page, paper = both("[one](https://one.org/a?b=c&d=e 'title') https://three.org/x_y [four](ftp://four.org)")
    assert page.links == ["https://one.org/a?b=c&d=e", "https://three.org/x_y"]
    assert 'one(https://one.org/a?b=c&d=e"title")https://three.org/x_yfour(ftp://four.org)' in page.words == f"T{paper}"


FORMULAS = {  # as JupyterLab finds them
    "$x_1$": ("Inline", "x_1"),
    "a $ p $ b": ("Inline", "p"),
    "**$x$**": ("Inline", "x"),
    r"\\(x\\)": ("Inline", "x"),
    r"$a_{\$}$": ("Inline", r"a_{\$}"),
    "$$\nx\n- y\n$$": ("Display", "x - y"),
    r"- \[x\]": ("Display", "x"),
    "| a |\n|--|\n| $P(a|b)$ |": ("Inline", r"P(a\vert b)"),
    r"\begin{align*}x\end{align*}": ("Display", r"\begin{align*}x\end{align*}"),
    **dict.fromkeys(["`$x$`", "``a ` $x$``", "```\n$x$\n```", "~~~\n$x$\n", "$x\n\ny$", "a $", "$$", r"\$x\$"]),
}


@pytest.mark.parametrize("typed", FORMULAS)
def test_formulas_and_dollars_that_are_none(typed):
    read = str(markdown.read_markdown(typed))
    if FORMULAS[typed]:
        kind, tex = FORMULAS[typed]
        assert f"{{'t': 'Math', 'c': [{{'t': '{kind}Math'}}, {tex!r}]}}" in read
    else:
        assert "Math" not in read


def test_what_is_too_deep_is_shown_as_it_was_typed():
    deep, deeper = "> " * 500 + "deep", "\n".join(f"{'  ' * i}- item" for i in range(60))
    for said in (lambda page, paper: (page.words, paper))(*both(deep, deeper)):
        assert squeezed(deep) in said and squeezed(deeper) in said


def test_what_is_too_long_is_shown_as_it_was_typed():
    long = "one *word*, " * (markdown.LONGEST // 10)
    assert markdown.read_markdown(long) == [pandoc.code(long)]


def test_where_pandoc_fails_the_answer_is_shown_as_it_was_typed(monkeypatch):
    monkeypatch.setattr(pandoc, "SECONDS", 0.0001)
    blocks = markdown.read_markdown("*words* and $x$ ![](attachment:a.png)", {"a.png": {"image/png": image()}})
    assert blocks[0] == pandoc.code("*words* and $x$ ![](attachment:a.png)")
    assert str(blocks).count("'Image'") == 1


def test_a_formula_that_typst_cannot_set_costs_no_other(monkeypatch):
    monkeypatch.setattr(markdown, "_TEX", ())
    write = pandoc.convert
    monkeypatch.setattr(pandoc, "convert", lambda *given: write(*given).replace("$alpha$", "$unknown$"))
    _, paper = both("one $\\alpha$ and $\\beta$\n\n- $\\alpha$ in a list\n\n| $\\gamma$ |\n|--|\n| 中 |")
    assert "one$\\alpha$andβ" in paper and "$\\alpha$inalist" in paper and "γ" in paper and "U+4E2D" in paper


def test_characters_without_a_font_are_named():
    page, paper = both("a \U00012345 b, 1\ufe0f\u20e3 for well \u200d done", "الشبكة U-Net تتعلم")
    assert "\U00012345" in page.words and "\U00012345" in paper and "welldone" in paper
    assert (
        "U+12345" in paper
        and not re.search(r"U\+(0[036]|20|FE)", paper)
        and "الشبكة" in page.words
        and "U+" not in page.words
    )


def test_a_pasted_training_log_is_set():
    log = "\n".join(f"{i}/600 [{'=' * 30}] - 12s 170ms/step - loss: 0.1234" for i in range(600))
    page, paper = both(log, f"```\n{log}\n```")
    assert page.words.count(squeezed(log)) == 2 and paper.count(squeezed(log)) == 2


def test_long_words_break_within_the_page():
    long = "y" * 300
    blocks = markdown.read_markdown(f"{long} `{long}`\n\n- *{long}*\n\n```python\n# {long}\n```\n\n|a|\n|-|\n|{long}|")
    ends = []
    keep = lambda words, _, matrix, font, size: ends.append(matrix[4] + 0.4 * size * len(words.strip()))  # noqa: E731
    PdfReader(io.BytesIO(pages.pdf(blocks, title="T"))).pages[0].extract_text(visitor_text=keep)
    assert max(ends) < 530, ends


def test_an_answer_that_typst_cannot_set_costs_no_other():
    """A line of too many long words."""
    page, paper = both("```\n" + f"{'=' * 30} " * 600 + "last\n```", "other")
    assert page.words.count("last") == 1 and squeezed(pages.UNSET) in paper and "other" in paper


def test_each_cell_of_a_table_runs_its_own_way():
    places = {}
    head = "| רשת | הערה |\n|--|--|\n| one | good. |\n\nText.\n\n"
    file = pages.pdf(markdown.read_markdown(f"{head}| name | note |\n|--|--|\n| two | הרשת U-Net! |"), title="T")
    keep = lambda words, matrix, *_: places.setdefault(words.strip(), matrix[4])  # noqa: E731
    PdfReader(io.BytesIO(file)).pages[0].extract_text(visitor_text=keep)
    assert places["רשת"] > places["הערה"] > places["note"] > places["name"] and places["רשת"] > 300
    assert places["הרשת"] > places["U-Net"] > places["!"] and places["note"] > places["name"]


# --- images ----------------------------------------------------------------------------------------------------------


PASTED = {  # an image in all ways to put one into a text; {} is one in base64
    "Before ![image.png](attachment:image.png) after": "image.png",
    "Before ![](attachment:%C3%BC%20b.png) after": "ü b.png",
    'Before <img src="attachment:a.png" width="9"> after': "a.png",
    "Before and after": "a.png",
    "Before ![](data:image/png;base64,{}) after": "",
    "Before\n\n<center><img width=9 src='data:image/png;base64,{}'/></center>\n\nafter": "",
    "Before ![][image1] after\n\n[image1]: <data:image/png;base64,{}>": "",
    "Before ![image.png] after\n\n[image.png]: data:image/png;charset=utf-8;base64,{}": "",
    "Before <img src='data:image/png;base64,\n{}\n'> after": "",
    "Before ![](DATA:image/PNG;base64,{}) after": "",
    "Before ![](data:image/png;base64,{%}) after": "",
    '![my curves](attachment:a.png "at 1e-3") Before after': "a.png",
}


def test_pasted_images_are_in_both():
    content, blocks = image(size=(41, 20)), []
    for typed, name in PASTED.items():
        typed = typed.replace("{}", content).replace("{%}", quote(content, safe=""))
        shown = markdown.read_markdown(typed, {name: {"image/png": content}} if name else None)
        assert str(shown).count("'Image'") == 1, typed
        blocks += shown
    page, file = Page(pages.html(blocks, title="T")), pages.pdf(blocks, title="T")
    images = [shown.image.size for sheet in PdfReader(io.BytesIO(file)).pages for shown in sheet.images]
    assert page.tags.count("img") == len(PASTED) and set(images) == {(41, 20)} and not page.wrong
    for said in (page.words, squeezed(pages_of(file))):
        assert said.count("Before") == said.lower().count("after") == len(PASTED) and "mycurves.at1e-3" in said
        assert not any(word in said for word in ("base64", "image.png", "Alsotyped"))


def test_large_images():
    file = io.BytesIO()
    Image.frombytes("RGB", (400, 400), random.Random(0).randbytes(3 * 400**2)).save(file, "PNG")
    content = base64.b64encode(file.getvalue()).decode()
    blocks = markdown.read_markdown(f"![noise](data:image/png;base64,{content}) and `data:image/png;base64,{content}`")
    page = Page(pages.html(blocks, title="T"))
    assert len(content) > 600_000 and page.tags.count("img") == 2 and "noise" in page.words and len(page.words) < 200


LARGE = image(size=(8_000, 8_000), mode="1", color=0)


@pytest.mark.parametrize("content", ["PHN2ZyBvbmxvYWQ9ImYoKSIvPg==", image()[:60], LARGE, "not base64", ""])
def test_images_that_cannot_be_shown_are_named(content):
    blocks = markdown.read_markdown("![told](attachment:a.png)", {"a.png": {"image/png": content}})
    said = "".join(pandoc.strings(blocks))
    assert "a.png" in said and "told" in said and "'Image'" not in str(blocks)


def test_images_are_encoded_again():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"  # turned by 90 degrees; a description
    given = {
        "large.png": {"image/png": image(size=(3200, 100))},
        "turned.jpg": {"image/jpeg": image("JPEG", exif=exif)},
        "clear.webp": {"image/webp": image("WEBP", mode="RGBA", color=(255, 0, 0, 0))},
    }
    shown = re.findall(r"base64,([^']+)", str(markdown.read_markdown("", given)))
    large, turned, clear = (Image.open(io.BytesIO(base64.b64decode(content))) for content in shown)
    assert large.size == (1600, 50) and turned.size == (20, 40) and not turned.getexif()
    assert min(clear.convert("RGB").getpixel((0, 0))) > 250


# --- the files -------------------------------------------------------------------------------------------------------


def test_what_the_files_say_of_themselves():
    shown = markdown.read_markdown("![](attachment:a.png)", {"a.png": {"image/png": image()}})
    blocks = [pandoc.heading(2, "One"), *shown]
    title, author = 'A </title> "#read()', "Jürgen"
    page = pages.html(blocks, title=title)
    reader = PdfReader(io.BytesIO(pages.pdf(blocks, title=title, author=author, timestamp=1_700_000_000)))
    assert '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:;' in page
    assert page.count("</title>") == 1 and not re.search(r"@import|url\(|<link|<script", page)
    assert (reader.metadata.title, reader.metadata.author) == (title, author)
    assert reader.metadata.creation_date.year == 2023 and reader.outline[0].title == "One"
    assert b"pdfaid" in reader.xmp_metadata.stream.get_data()


FRAGMENTS = (
    *("\n", "\n\n", "    ", "- ", "1. ", "> ", "# ", "```", "~~~\n", "`", "``", "$", "$$", r"\(", r"\)", r"\[", r"\]"),
    *("\\", r"\begin{align}", r"\end{align}", "*", "**", "_", "~~", "|", "|--|--|\n", "---\n", "[", "![", "](a)"),
    *("](https://x.org)", "<b>", "</b>", "<script>", "<!--", "-->", "<![CDATA[", "<?", "&amp;", "&#x41;", "{=html}"),
    *(":::", "[^1]: ", "@c", "#f()", "//", "/*", "é", "α", "Ж", "中", "😀", "\x00", "\ufeff", "\ud800", "\r\n", "x^2"),
    *(r"\frac{", "}", "{", "%", "'", '"', "https://a.org/b?c", "<img src=", "data:image/png;base64,AAAA", "<br>"),
)


@pytest.mark.slow
def test_no_word_of_any_mixture_gets_lost():
    draw = random.Random(7)
    words, cells = [], []
    for _ in range(50):
        mixture = []
        for _ in range(draw.randint(3, 40)):
            words.append("".join(draw.choices("abcdefghijklmnop", k=8)))
            mixture.append(draw.choice((words[-1], *draw.choices(FRAGMENTS, k=2))))
            words = words if mixture[-1] == words[-1] else words[:-1]
        cells.append("".join(mixture))
    page, paper = both(*cells)
    assert len(words) > 150 and not page.wrong
    assert not [word for word in words if word not in page.words or word not in paper]
