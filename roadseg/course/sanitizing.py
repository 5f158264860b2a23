"""Notebooks in which nothing that a student wrote runs in a teacher's browser, or asks for anything on the network.

Texts are sanitized where they become HTML: nbgrader's pages do that through the filter `markdown2html`, which
`nbgrader_config.py` names. Kept outputs are sanitized in the notebook: text, images as base64, HTML without what runs.
"""

import base64
import html
import re

import bleach
import jinja2
from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, CSSSanitizer
from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

TAGS = {  # and those that bleach allows
    *("br", "dd", "del", "details", "div", "dl", "dt", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("hr", "img", "kbd", "mark", "p", "pre", "q", "s", "small", "span", "sub", "summary", "sup"),
    *("table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", *bleach.ALLOWED_TAGS),
}
ATTRIBUTES = {"align", "alt", "colspan", "height", "rowspan", "start", "style", "title", "width"}
STYLES = CSSSanitizer(allowed_css_properties={*ALLOWED_CSS_PROPERTIES, "border-left", "padding"} - {"cursor"})  # a URL
PICTURES = ("image/png", "image/jpeg", "image/gif")
PICTURE = re.compile(rf"data:({'|'.join(PICTURES)});base64,[A-Za-z0-9+/=\s]*")
CLASSES = re.compile(r"((highlight|hl-\w+|alert|alert-info|alert-warning|dataframe|[a-z]{1,2}\d?)( |$))+")
NO_STYLE = re.compile(r"url|expression|\\", re.IGNORECASE)  # a backslash may write any letter
MOST_TAGS = 5_000  # of a text or an output; ten times as many, one in the other, would take minutes
LONGEST = 100_000  # characters of a text without its images, or of an output: ten times as many may take minutes, too
LINK = re.compile(r"(https?:|mailto:|#)", re.IGNORECASE)


def clean(text: str) -> str:
    """HTML of which nothing runs: known tags, images only as data, links that open on a click; the rest is text."""
    if text.count("<") > MOST_TAGS:
        return f"<pre>{html.escape(text)}</pre>"

    def allowed(tag: str, name: str, value: str) -> bool:
        if (tag, name) == ("img", "src"):
            return bool(PICTURE.fullmatch(value))
        if (tag, name) == ("a", "href"):
            return bool(LINK.match(value))
        if name == "style" and NO_STYLE.search(value):
            return False
        return name in ATTRIBUTES or (name == "class" and bool(CLASSES.fullmatch(value)))

    return bleach.clean(
        text, tags=TAGS, attributes=allowed, protocols={"http", "https", "mailto", "data"}, css_sanitizer=STYLES
    )


@jinja2.pass_context
def markdown2html(context: jinja2.runtime.Context, source: str) -> str:
    """Markdown as HTML of which nothing runs, for nbconvert."""
    cell = context.get("cell") or {}
    renderer = IPythonRenderer(escape=False, attachments=cell.get("attachments", {}))
    try:
        if len(PICTURE.sub("", source)) > LONGEST:
            raise InvalidNotebook("it is too long")
        return clean(MarkdownWithMath(renderer=renderer).render(source))
    except (InvalidNotebook, RecursionError):  # also an image that is not there; brackets in brackets: as it is
        return f"<pre>{html.escape(source)}</pre>"


def sanitize(nb: NotebookNode, original: NotebookNode) -> None:
    """Leave of a submitted notebook what can be shown: metadata as handed out, outputs and attachments that are text or
    images."""
    nb.metadata = original.metadata
    for cell in nb.cells:
        cell.metadata = NotebookNode({name: cell.metadata[name] for name in ("nbgrader",) if name in cell.metadata})
        if "attachments" in cell:
            images = {name: _images(data) for name, data in cell.attachments.items()}
            cell.attachments = NotebookNode({name: data for name, data in images.items() if data})
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [output for output in map(_shown, cell.outputs) if output]


def _shown(output: NotebookNode) -> NotebookNode | None:
    """An output without what runs; None where nothing is left."""
    if output.output_type == "stream":
        output.text = _cut(_text(output.text))
        return output
    if output.output_type == "error":
        output.traceback = _cut("\n".join(map(str, output.traceback))).split("\n")
        return output
    data = _images(output.data)
    if not data and "text/html" in output.data:
        data["text/html"] = clean(_text(output.data["text/html"]))
    if "text/plain" in output.data:
        data["text/plain"] = _cut(_text(output.data["text/plain"]))
    output.data, output.metadata = data, NotebookNode()
    if "execution_count" in output:
        output.execution_count = None
    return output if data else None


def _images(data: dict) -> NotebookNode:
    """The images in a bundle of several types: those that are base64, and nothing else."""
    found = NotebookNode()
    for kind in PICTURES:
        try:
            content = base64.b64decode("".join(_text(data[kind]).split()), validate=True) if kind in data else b""
        except ValueError:
            continue
        if content:
            found[kind] = base64.b64encode(content).decode()
    return found


def _cut(text: str) -> str:
    """The beginning of an output, and how much more there was."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n[{len(text) - LONGEST:,} more characters]"


def _text(value: object) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)
