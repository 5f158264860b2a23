"""Documents: what is typed is all there, in HTML and in a PDF that is read back, and none of it is active."""

import base64
import io
import random
import re
import unicodedata
import zlib
from html.parser import HTMLParser

import pytest
from PIL import Image
from pypdf import PdfReader

from roadseg.report import markdown as document_markdown
from roadseg.report import pandoc as document_pandoc
from roadseg.report import pdf as document_pdf
from roadseg.report.document import Node, block, cleaned, text, text_of, walk
from roadseg.report.formulas import ATTRIBUTES, ELEMENTS, Formula, formulas
from roadseg.report.glyphs import LONG_AGO, box_font
from roadseg.report.html import html
from roadseg.report.markdown import read
from roadseg.report.pandoc import PandocError
from roadseg.report.pdf import TypesetError, pdf

BARE = (
    "html head title style body main div p pre code h1 h2 h3 h4 h5 h6 em strong del blockquote br hr ul ol li table tr"
)
MAY_BE = {name: set() for name in f"{BARE} figure figcaption".split()}  # elements of a page, with their attributes
MAY_BE |= {"html": {"lang"}, "meta": {"charset", "http-equiv", "content", "name"}, "div": {"class"}, "li": {"value"}}
MAY_BE |= {"th": {"class"}, "td": {"class"}, "a": {"href", "rel"}, "img": {"src", "alt"}}
MAY_BE |= {name: ATTRIBUTES for name in ELEMENTS}
PICTURE = r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+"


class Page(HTMLParser):
    """An HTML file as a reader meets it; `wrong` is whatever may not be in one."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.said, self.wrong, self.links = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        named = dict(attributes)
        allowed = tag in MAY_BE and named.keys() <= MAY_BE[tag]
        loads = "src" in named and not re.fullmatch(PICTURE, named["src"])
        if not allowed or loads or not named.get("href", "https://").startswith("https://"):
            self.wrong.append((tag, attributes))
        if tag == "a":
            self.links.append((named["href"], named["rel"]))

    def handle_endtag(self, tag):
        if tag in ("style", "annotation"):
            self.tags.append(f"/{tag}")

    def handle_data(self, words):
        if self.tags[-1:] not in (["style"], ["annotation"]):  # the TeX of a formula is there, unseen
            self.said.append(words)

    def handle_comment(self, words):
        self.wrong.append(("comment", words))

    def handle_pi(self, words):
        self.wrong.append(("instruction", words))

    @property
    def words(self) -> str:
        return squeezed("".join(self.said))


def squeezed(words: str) -> str:
    """Text without white space, with the plain letters of mathematical ones: lines break elsewhere in each file."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", words))


def pages_of(file: bytes) -> str:
    """All text of a PDF but the line at the foot of each page."""
    pages = (page.extract_text() for page in PdfReader(io.BytesIO(file)).pages)
    return "\n".join(re.sub(r"[^\n]*\d of \d+\s*$", "", page) for page in pages)


def both(markdown: str, attachments=None) -> tuple[Page, str]:
    """The HTML page and the squeezed text of the PDF for one cell."""
    nodes = read(markdown, attachments)
    able = formulas(nodes)
    return Page(html(nodes, able, title="A test")), squeezed(pages_of(pdf(nodes, able, title="A test")))


def picture(kind: str = "PNG", *, size=(40, 20), colour="#0072B2", mode="RGB", **options) -> str:
    """A picture as a notebook keeps it."""
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


def kinds(markdown: str) -> list[str]:
    return [node.kind for node in walk(read(markdown))]


# --- what is typed is there ------------------------------------------------------------------------------------------

SAME = {  # shown as it is typed
    "letters": "Umlaute äöüß ÄÖÜ, naïve, Łódź, ŝ, İı, αβγ Σ Ω, Привет, ё",
    "signs": "→ ⇒ ↔ ≤ ≠ ≈ ∞ ∑ √ ∈ ✓ ✗ “quoted” ‘so’ – — … € § ½ 10 °C",
    "Chinese": "网络预测道路，准确率高。",
    "Japanese": "ネットワークは道路を予測する。",
    "emoji": "well done 😀 🚗 and so on",
    "money": "It costs $5 and $6.",
    "not Markdown": "snake_case_name, 1 < 2 && 3 > 2, $HOME and $PATH",
    "dashes": "a -- b --- c ... 'd' \"e\"",
    "typst's own": '#import "@preview/x" #{1+1} = a / b: c // d /* e */ @f <g> ~',
    "a long word": "x" * 300,
    "malformed formula": r"so $\frac{a$ and $$\unknowncommand{b}$$ and $\sqrt[$.",
    "formula that shows nothing": r"$%$ and $\tag{3} x$",
}
OTHER = {  # shown as something else
    "words": ("Most pixels are *no road*, **so** it is ~~low~~ high.", "Most pixels are no road, so it is low high."),
    "code": ("`x_1 * y_2` and\n\n```python\nreturn a ** 2  # <b>\n```", "x_1 * y_2 and return a ** 2  # <b>"),
    "indented code": ("so:\n\n    if x < 3:\n        go()\n", "so: if x < 3: go()"),
    "long code": ("`" + "y" * 300 + "`", "y" * 300),
    "table": ("| name | F1 |\n|:--|--:|\n| U-Net | 0.91 |\n| *simple* | `0.76` |", "name F1 U-Net 0.91 simple 0.76"),
    "row that is too long": ("| a | b |\n|--|--|\n| one |\n| two | three | four |", "four"),
    "nested lists": ("- outer\n  - inner\n    1. first\n    2. second\n       - deepest", "deepest"),
    "tasks": ("- [ ] open\n- [x] closed", "☐ open"),
    "quote": ("> quoted\n>\n> > twice", "quoted twice"),
    "headings": ("# One\n\nTwo\n---\n\n###### Six", "One Two Six"),
    "lines": ("first  \nsecond\\\nthird", "first second third"),
    "escapes": (r"2 \* 3 \_ \# \$x\$", "2 * 3 _ # $x$"),
    "entities": ("&lt;b&gt; &amp; &eacute; &#x41;", "<b> & é A"),
    "line starts": ("x\n= y\n+ z", "= y"),
    "unused definition": ('See.\n\n[other]: https://example.org "a title"', '[other]: https://example.org "a title"'),
    "title of a link": ('[words](https://example.org "the title")', 'words (https://example.org "the title")'),
    "footnote": ("A claim[^1].\n\n[^1]: the note", "the note"),
    "language that is none": ("```Because most pixels are no road\nyes\n```", "Because most pixels are no road"),
    "controls": ("a\x00b \x1b[31m \ufeffc\ud800 d\x85e\u2028f", "␛[31m c� d e f"),
    "turned around": ("safe \u202egnirts\u202c end", "safe gnirts end"),
    "formula": (r"the loss $-\log p_i$ of $x \in [0, 1]$", "the loss − log"),
    "formulas in brackets": (r"\(alpha\) and \\(beta\\) and \[gamma\]", "alpha and beta and gamma"),
    "displayed": ("$$\nL = \\frac{1}{N}\n- y\n+ z\n$$", "L ="),
    "environment": ("\\begin{align}\nu &= v \\\\\nw &= t\n\\end{align}", "u = v"),
    "dollar in code": ("`a $x$ b`", "a $x$ b"),
    "formula in a table": ("| a |\n|--|\n| $|w|$ |", "|w|"),
}
SAID = OTHER | {name: (words, words) for name, words in SAME.items()}


@pytest.fixture(scope="module")
def all_said() -> tuple[Page, str]:
    """All of them in one document."""
    nodes = tuple(node for markdown, _ in SAID.values() for node in read(markdown))
    able = formulas(nodes)
    return Page(html(nodes, able, title="All")), squeezed(pages_of(pdf(nodes, able, title="All")))


@pytest.mark.parametrize("name", SAID)
def test_what_is_typed_is_said_by_html_and_pdf(all_said, name):
    page, paper = all_said
    expected = squeezed(SAID[name][1])
    assert expected in page.words
    assert expected in paper


def test_all_of_it_is_plain(all_said):
    page, _ = all_said
    assert not page.wrong and {"math", "table", "pre", "code", "li", "blockquote"} <= set(page.tags)


def test_what_it_looks_like():
    assert kinds("# a\n\n## b") == ["heading", "text", "heading", "text"]
    assert [node.detail for node in read("# a\n\n## b\n\n##### c")] == ["4", "5", "6"]
    assert kinds("*a* **b** ~~c~~") == [
        "paragraph",
        "emphasis",
        "text",
        "text",
        "strong",
        "text",
        "text",
        "struck",
        "text",
    ]
    assert kinds("- a\n  1. b") == ["bullets", "bullet", "plain", "text", "numbers", "number", "plain", "text"]
    assert [node.detail for node in walk(read("7. a\n8. b")) if node.kind == "number"] == ["7", "8"]
    cells = [node for node in walk(read("|a|b|c|\n|:-|:-:|-:|\n|d|e|f|")) if node.kind in ("head", "cell")]
    assert [(cell.kind, cell.detail) for cell in cells] == [
        *(("head", side) for side in ("left", "center", "right")),
        *(("cell", side) for side in ("left", "center", "right")),
    ]


@pytest.mark.parametrize(
    "markdown, tex, detail",
    [
        ("$x_1$", "x_1", "inline"),
        ("a $ p $ b", "p", "inline"),
        ("**$x$**", "x", "inline"),
        (r"\(x\)", "x", "inline"),
        (r"\\(x\\)", "x", "inline"),
        ("$$x$$", "x", "display"),
        ("$$\nx\n- y\n$$", "x\n- y", "display"),
        (r"\[x\]", "x", "display"),
        (r"\begin{align*}x\end{align*}", r"\begin{align*}x\end{align*}", "display"),
        (r"$a_{\$}$", r"a_{\$}", "inline"),
        ("> $x$", "x", "inline"),
        ("- item $x$", "x", "inline"),
    ],
)
def test_formulas_as_jupyterlab_finds_them(markdown, tex, detail):
    found = [node for node in walk(read(markdown)) if node.kind == "formula"]
    assert [(node.text, node.detail) for node in found] == [(tex, detail)]


@pytest.mark.parametrize(
    "markdown",
    [
        "$5 and $6",
        r"\$x\$",
        "`$x$`",
        "``a ` $x$``",
        "```\n$x$\n```",
        "~~~\n$x$\n",
        "$x\n\ny$",
        "$HOME and $PATH",
        "a $",
        "$$",
    ],
)
def test_dollars_that_are_no_formula(markdown):
    assert "formula" not in kinds(markdown)


def test_formulas_are_set():
    page, paper = both(
        r"$\frac{TP}{TP+FP}$ and $$\sum_{i=1}^n x_i^2 \begin{pmatrix}a & b\end{pmatrix}$$ \(\boxed{z} \bigl(k\bigr)\)"
    )
    assert {"math", "mfrac", "msubsup", "mtable", "annotation"} <= set(page.tags) and "code" not in page.tags
    assert "TP" in paper and "TP+FP" in paper and "∑" in paper and "ab" in paper and "z(k)" in paper


# --- nothing of it is active -----------------------------------------------------------------------------------------

NASTY = {
    "script": "<script>alert(1)</script>",
    "bold": "so <b>bold</b> and <B>B</B>",
    "image": "<img src=x onerror=alert(1)>",
    "frame": '<iframe src="https://example.org"></iframe>',
    "block": '<div onclick="f()">\n*kept*\n</div>',
    "style": "<style>body{display:none}</style>",
    "comment": "before <!-- hidden --> after",
    "instruction": "<?php echo 1 ?>",
    "CDATA": "<![CDATA[ text ]]>",
    "end": "</main></body></html><script>f()</script>",
    "remote picture": "![remote](https://example.org/x.png)",
    "passwords": "![](/etc/passwd)",
    "upwards": "![secret](../secret.png)",
    "file": "![](file:///etc/passwd)",
    "data": "![](data:image/png;base64,AAAA)",
    "svg data": "![](data:image/svg+xml,<svg/onload=f()>)",
    "script link": "[click](javascript:alert(1))",
    "data link": "[click](data:text/html,<script>f()</script>)",
    "plain link": "[click](http://example.org)",
    "attribute": "# head {#id .class onclick=f()}",
    "raw": "`<b>`{=html} and `#f()`{=typst}",
    "raw block": "```{=html}\n<script>f()</script>\n```",
    "raw typst": '```{=typst}\n#read("/etc/passwd")\n```',
    "metadata": "---\ntitle: taken over\nheader-includes: <script>\n---\n\nafter",
    "include": "!include /etc/passwd",
    "citation": "[@someone, p. 3] and @other",
    "div": "::: {.warning}\ninside\n:::",
    "formula link": r"$\href{javascript:alert(1)}{x}$",
    "formula html": r"$\text{<script>f()</script>}$",
    "formula typst": r'$\text{"} #read("/etc/passwd") \text{"}$',
    "formula input": r"$\input{/etc/passwd}$",
    "definition": "[a]: javascript:alert(1)\n\n[a]",
    "quoted": '[x](https://example.org/"onmouseover="f())',
}


@pytest.fixture(scope="module")
def all_nasty() -> tuple[Page, str]:
    nodes = tuple(node for markdown in NASTY.values() for node in read(markdown))
    able = formulas(nodes)
    return Page(html(nodes, able, title="</title><script>")), squeezed(pages_of(pdf(nodes, able, title='")#read("x')))


@pytest.mark.parametrize("name", NASTY)
def test_what_could_be_active_is_text(all_nasty, name):
    page, paper = all_nasty
    for word in re.findall(r"[^\s`:#*\[\](){}!-]{2,}", NASTY[name]):
        assert squeezed(word) in page.words, word
        assert squeezed(word) in paper, word


def test_nothing_is_active(all_nasty):
    page, paper = all_nasty
    assert not page.wrong
    assert not {"script", "iframe", "b", "img", "div", "svg"} & set(page.tags) - {"div"} and "img" not in page.tags
    assert "root:" not in page.words + paper
    assert page.links == [('https://example.org/"onmouseover="f()', "noopener")]


def test_a_page_may_load_nothing():
    file = html(read("text"), {}, title="T")
    assert '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:;' in file
    assert not re.search(r"@import|url\(|<link|<script|src=", file)


def test_only_https_leads_anywhere():
    page, paper = both(
        "[one](https://one.org/a?b=c&d=e) <https://two.org> https://three.org/x_y [four](http://four.org)"
    )
    assert page.links == [
        ("https://one.org/a?b=c&d=e", "noopener"),
        ("https://two.org", "noopener"),
        ("https://three.org/x_y", "noopener"),
    ]
    for said in (page.words, paper):
        assert "one(https://one.org/a?b=c&d=e)https://two.orghttps://three.org/x_yfour(http://four.org)" in said


def test_links_of_the_pdf():
    nodes = read("[one](https://one.org) [two](file:///etc/passwd) [three](javascript:f())")
    annotations = PdfReader(io.BytesIO(pdf(nodes, {}, title="T"))).pages[0]["/Annots"]
    assert [annotation.get_object()["/A"]["/URI"] for annotation in annotations] == ["https://one.org"]


def test_formulas_call_nothing():
    node = next(node for node in walk(read(r"$x$")) if node.kind == "formula")
    for written in ('$ #read("a") $', "$ #import $", "$x$ #f()", "$#eval[1]$", "$\\\\#f()$", "x"):
        assert not formulas_from(node, typst=written), written
    assert formulas_from(node, typst="$#scale(x: 120%, y: 120%)[a] #h(1em) \\#read$")


def formulas_from(node: Node, *, mathml: str = "", typst: str = "$x$") -> dict[Node, Formula]:
    """What becomes of a formula for which pandoc writes this."""
    given = (
        mathml
        or "<math display='inline'><semantics><mi>x</mi><annotation encoding='t'>x</annotation></semantics></math>"
    )
    with pytest.MonkeyPatch.context() as patch:
        answers = {"html": given, "typst": typst}
        patch.setattr("roadseg.report.formulas.pandoc", lambda source, *to: answers[to[3]] + "\ue002")
        return formulas([node])


@pytest.mark.parametrize(
    "mathml",
    [
        "<math><semantics><mi onclick='f()'>x</mi></semantics></math>",
        "<math><semantics><script>x</script></semantics></math>",
        "<math><semantics><mi href='https://x.org'>x</mi></semantics></math>",
        "<math><semantics><mi>x</mi></semantics></math><p/>",
        "<span class='math'>x</span>",
        "<math><semantics><mrow></mrow></semantics></math>",
        "<math><semantics><mi>x</semantics></math>",
    ],
)
def test_mathml_of_other_elements_is_not_used(mathml):
    node = next(node for node in walk(read("$x$")) if node.kind == "formula")
    assert formulas_from(node) and not formulas_from(node, mathml=mathml)


# --- pictures --------------------------------------------------------------------------------------------------------


def pictures(markdown: str, attachments) -> list[Image.Image]:
    """The pictures in a cell's nodes."""
    return [Image.open(io.BytesIO(node.data)) for node in walk(read(markdown, attachments)) if node.kind == "picture"]


@pytest.mark.parametrize("kind, mime", [("PNG", "image/png"), ("JPEG", "image/jpeg")])
def test_a_pasted_picture_is_in_both(kind, mime):
    attachments = {"image.png": {mime: picture(kind)}}
    nodes = read("Before ![image.png](attachment:image.png) after", attachments)
    page = Page(html(nodes, {}, title="T"))
    images = PdfReader(io.BytesIO(pdf(nodes, {}, title="T"))).pages[0].images
    assert page.tags.count("img") == len(images) == 1 and not page.wrong
    assert images[0].image.size == (40, 20) and images[0].image.convert("RGB").getpixel((20, 10))[2] > 150
    assert page.words == squeezed("T Before after")


def test_a_picture_is_told_about():
    page, paper = both('![my curves](attachment:a.png "at 1e-3")', {"a.png": {"image/png": picture()}})
    assert "mycurvesat1e-3" in page.words and "mycurvesat1e-3" in paper


@pytest.mark.parametrize(
    "name, typed", [("my image.png", "my%20image.png"), ("ü.png", "%C3%BC.png"), ("a_b.png", "a_b.png")]
)
def test_names_of_pictures(name, typed):
    assert len(pictures(f"![](attachment:{typed})", {name: {"image/png": picture()}})) == 1


def test_pictures_that_no_markdown_shows_come_last():
    page, paper = both('<img src="attachment:a.png" width="9">', {"a.png": {"image/png": picture()}})
    assert page.tags.count("img") == 1 and not page.wrong
    assert '<imgsrc="attachment:a.png"width="9">Attached:a.png' in page.words
    assert "Attached:a.png" in paper


@pytest.mark.parametrize(
    "attachment, reason",
    [
        ({"image/svg+xml": "PHN2ZyBvbmxvYWQ9ImYoKSIvPg=="}, "it is image/svg+xml, and only PNG and JPEG can be"),
        ({"image/gif": picture("GIF")}, "it is image/gif"),
        ({"image/png": picture("GIF")}, "it is damaged or far too large"),
        ({"image/png": picture()[:60]}, "it is damaged or far too large"),
        ({"image/png": "not base64"}, "it is damaged or far too large"),
        ({"image/png": ""}, "it is damaged or far too large"),
        ({}, "it is empty"),
    ],
)
def test_pictures_that_cannot_be_shown_are_named(attachment, reason):
    page, paper = both("![told](attachment:a.png)", {"a.png": attachment})
    for said in (page.words, paper):
        assert squeezed(f"[The picture a.png is not shown: {reason}") in said and "told" in said
    assert "img" not in page.tags


def test_a_picture_that_is_not_attached_is_text():
    page, paper = both("![x](attachment:other.png)", {})
    assert "![x](attachment:other.png)" in page.words and "![x](attachment:other.png)" in paper


def test_a_huge_picture_is_not_decoded():
    header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", (40_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00")
    bomb = header + chunk(b"IDAT", zlib.compress(bytes(1_000))) + chunk(b"IEND", b"")
    assert not pictures("![](attachment:a.png)", {"a.png": {"image/png": base64.b64encode(bomb).decode()}})


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def test_pictures_are_made_anew():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"  # turned by 90 degrees; a description
    large, turned, clear = pictures(
        "![](attachment:l.png) ![](attachment:t.jpg) ![](attachment:c.png)",
        {
            "l.png": {"image/png": picture(size=(3200, 100))},
            "t.jpg": {"image/jpeg": picture("JPEG", exif=exif)},
            "c.png": {"image/png": picture(mode="RGBA", colour=(255, 0, 0, 0))},
        },
    )
    assert large.size == (1600, 50) and turned.size == (20, 40) and not turned.getexif()
    assert min(clear.convert("RGB").getpixel((0, 0))) > 250


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "markdown", ["> " * 500 + "deep", "- " * 300 + "deep", "\n".join(f"{'  ' * i}- item" for i in range(60))]
)
def test_what_is_too_deep_is_shown_as_it_was_typed(markdown):
    assert [node.kind for node in read(markdown)] == ["block"]
    page, paper = both(markdown)
    assert squeezed(markdown) in page.words and squeezed(markdown) in paper


def test_where_pandoc_gives_up_the_answer_is_shown_as_it_was_typed(monkeypatch):
    def give_up(*_):
        raise PandocError("pandoc gave up")

    monkeypatch.setattr(document_markdown, "pandoc", give_up)
    nodes = read("*words* and $x$ ![](attachment:a.png)", {"a.png": {"image/png": picture()}})
    assert nodes[0] == block("*words* and $x$ ![](attachment:a.png)")
    assert [node.kind for node in walk(nodes)].count("picture") == 1


def test_pandoc_is_stopped(monkeypatch):
    monkeypatch.setattr(document_pandoc, "SECONDS", 0.001)
    with pytest.raises(PandocError, match="pandoc gave up"):
        document_pandoc.pandoc("text", "--from", "commonmark", "--to", "json")


def test_one_formula_that_stops_pandoc_costs_no_other(monkeypatch):
    def pandoc(source, *options):
        if "\\\\dangerous" in source:
            raise PandocError("pandoc gave up")
        return document_pandoc.pandoc(source, *options)

    monkeypatch.setattr("roadseg.report.formulas.pandoc", pandoc)
    nodes = read(r"$a$ $b$ $\dangerous$ $d$ $e$")
    assert sorted(node.text for node in formulas(nodes)) == ["a", "b", "d", "e"]


@pytest.mark.slow
def test_a_formula_that_typst_cannot_set_is_shown_as_it_was_typed():
    nodes = read("before $x$ and $y$\n\n- in a list $x$\n\n| a |\n|--|\n| $x$ |\n\nafter")
    able = formulas(nodes)
    broken = {node: Formula(f.mathml, "frac(1") if node.text == "x" else f for node, f in able.items()}
    paper = squeezed(pages_of(pdf(nodes, broken, title="T")))
    assert paper == squeezed("before $x$ and y • in a list $x$ a $x$ after")


def test_nothing_has_to_be_mended_in_usual_documents(monkeypatch):
    times = []
    printed = document_pdf._Press.printed
    monkeypatch.setattr(document_pdf._Press, "printed", lambda *given: times.append(1) or printed(*given))
    attachments = {"a.png": {"image/png": picture()}}
    nodes = read("\n\n".join(markdown for markdown, _ in SAID.values()) + "\n\n![a](attachment:a.png)", attachments)
    pdf(nodes, formulas(nodes), title="T")
    assert len(times) == 2  # once more for the characters that no font has


def test_where_typst_stops_short_lines_are_tried_and_then_ascii():
    tried = []

    def can_set(only):
        def told(nodes):
            tried.append([node.kind for node in nodes])
            return only(text_of(nodes))

        return told

    nodes = (Node("paragraph", (text("word " * 30),)), Node("paragraph", (text("ß"),)))
    lines = document_pdf._mended(nodes, can_set(lambda said: max(map(len, said.splitlines())) <= 60))
    assert lines[1] == nodes[1] and squeezed(text_of(lines[:1])) == "word" * 30
    plain = document_pdf._mended(nodes, can_set(str.isascii))
    assert text_of(plain[1:]).strip() == "\\xdf" and plain[0] == nodes[0]
    assert len(tried) < 40


@pytest.mark.parametrize("program", ["import sys; sys.exit(3)", "import os; os.abort()", "import time; time.sleep(60)"])
def test_typst_that_ends_or_hangs_ends_nothing_else(monkeypatch, tmp_path, program):
    (tmp_path / "document_typst.py").write_text(program)
    (tmp_path / "document.typ").write_text("")
    monkeypatch.setattr(document_pdf, "__file__", str(tmp_path / "document_pdf.py"))
    monkeypatch.setattr(document_pdf, "SECONDS", 0.5)
    with pytest.raises(TypesetError, match=r"the PDF cannot be set: typst (ended with status|did not end)"):
        pdf((block("x"),), {}, title="T")


def test_arabic_at_which_typst_stops_is_in_the_pdf():
    letters = " ".join(chr(code) for code in range(0x6A0, 0x700))
    paper = pages_of(pdf((Node("paragraph", (text(letters),)),), {}, title="T"))
    assert len(set(letters) & set(paper)) > 90  # some come back as their presentation forms


def test_a_large_table_runs_over_pages():
    rows = "".join(f"| {i} | number {i} |\n" for i in range(200))
    file = pdf(read(f"| a | b |\n|--|--|\n{rows}"), {}, title="T")
    assert len(PdfReader(io.BytesIO(file)).pages) > 2 and "number 199" in pages_of(file)


# --- characters ------------------------------------------------------------------------------------------------------


def test_characters_without_a_font_are_boxes_and_can_be_copied():
    missing = "\U00012345"  # cuneiform
    paper = pages_of(pdf((Node("paragraph", (text(f"a {missing} b"),)), block(missing)), {}, title="T"))
    assert (
        paper.count(missing) == 2 and "Boxes stand for characters that no font on this computer has: U+12345." in paper
    )
    assert "Boxes" not in pages_of(pdf((block("a ä α Ж →"),), {}, title="T"))


def test_many_characters_without_a_font_are_counted():
    missing = "".join(map(chr, range(0x12000, 0x12020)))
    assert "U+12013 and 12 more." in " ".join(pages_of(pdf((block(missing),), {}, title="T")).split())


def test_boxes_are_a_font():
    from fontTools.ttLib import TTFont

    font = TTFont(io.BytesIO(box_font("中😀中")))
    assert font["head"].created == font["head"].modified == LONG_AGO  # the same characters, the same font
    assert sorted(font.getBestCmap()) == [ord("中"), ord("😀")]
    assert font["glyf"][font.getBestCmap()[ord("中")]].numberOfContours == 2


@pytest.mark.parametrize(
    "words, expected",
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x00\x07\x7f", "␀␇␡"),
        ("\x80\uffff", "��"),
        ("\ud83d\ude00 \ud83d", "😀 �"),
        ("\ufeff\u202ea\u2066", "a"),
        ("tab\tnew\n ä", "tab\tnew\n ä"),
    ],
)
def test_cleaned_text(words, expected):
    assert cleaned(words) == expected == cleaned(expected)


# --- the files -------------------------------------------------------------------------------------------------------


def test_the_same_document_makes_the_same_files():
    nodes = read("Words, $x$ and 中 ![](attachment:a.png)", {"a.png": {"image/png": picture()}})
    able = formulas(nodes)
    assert html(nodes, able, title="T") == html(nodes, able, title="T")
    assert pdf(nodes, able, title="T", timestamp=9) == pdf(nodes, able, title="T", timestamp=9)


def test_what_the_pdf_says_of_itself():
    file = pdf(
        (Node("heading", (text("One"),), detail="2"),), {}, title='A "title"', author="Jürgen", timestamp=1_700_000_000
    )
    reader = PdfReader(io.BytesIO(file))
    assert (reader.metadata.title, reader.metadata.author) == ('A "title"', "Jürgen")
    assert reader.metadata.creation_date.year == 2023 and reader.outline[0].title == "One"
    assert b"pdfaid" in reader.xmp_metadata.stream.get_data()
    assert "1 of 1" in reader.pages[0].extract_text()


FRAGMENTS = (
    *("\n", "\n\n", "    ", "- ", "1. ", "> ", "# ", "```", "~~~\n", "`", "``", "$", "$$", r"\(", r"\)", r"\[", r"\]"),
    *("\\", r"\begin{align}", r"\end{align}", "*", "**", "_", "~~", "|", "|--|--|\n", "---\n", "[", "![", "](a)"),
    *("](https://x.org)", "<b>", "</b>", "<script>", "<!--", "-->", "<![CDATA[", "<?", "&amp;", "&#x41;", "{=html}"),
    *(":::", "[^1]: ", "@c", "#f()", "//", "/*", "é", "α", "Ж", "中", "😀", "\x00", "\ufeff", "\ud800", "\r\n", "x^2"),
    *(r"\frac{", "}", "{", "%", "'", '"', "https://a.org/b?c"),
)


@pytest.mark.slow
def test_no_word_of_any_mixture_gets_lost():
    draw = random.Random(7)
    words, nodes = [], ()
    for _ in range(100):
        mixture = []
        for _ in range(draw.randint(3, 40)):
            words.append("".join(draw.choices("abcdefghijklmnop", k=8)))
            mixture.append(draw.choice((words[-1], *draw.choices(FRAGMENTS, k=2))))
            words = words if mixture[-1] == words[-1] else words[:-1]
        nodes += read("".join(mixture))
    able = formulas(nodes)
    page, paper = Page(html(nodes, able, title="T")), squeezed(pages_of(pdf(nodes, able, title="T")))
    assert len(words) > 300 and not page.wrong
    assert not [word for word in words if word not in page.words or word not in paper]
