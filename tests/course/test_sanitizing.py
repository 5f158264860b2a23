"""Nothing that a student wrote runs in a browser, or asks for anything on the network: tried in Chromium."""

import base64
import copy
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import served
from handed_in import blank, command, hand_in, record, set_own_jupyter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from roadseg.report import markdown, pages, pandoc

pytest.importorskip("nbgrader")
from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter
from traitlets.config import Config

from roadseg.course import sanitizing, workflow
from roadseg.workbook import questions

EVIL = "http://evil.test"
RUN = "hit(1)"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SVG = f"<svg xmlns='http://www.w3.org/2000/svg' onload='{RUN}'><script>{RUN}</script></svg>"
DATA = base64.b64encode(f"<script>parent.{RUN}</script>".encode()).decode()
RUNS, ASKS = f"<img src=x onerror='{RUN}'>", f"<img src='{EVIL}/a.png'>"

TEXTS = [
    *(RUNS, ASKS),
    f"<script>{RUN}</script>",
    f"<ScRiPt >{RUN}</ScRiPt >",
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f'<img """><script>{RUN}</script>">',
    f"<img src='data:image/svg+xml;base64,{base64.b64encode(SVG.encode()).decode()}' onload='{RUN}'>",
    f"![]({EVIL}/c.png)",
    f"![a][b]\n\n[b]: {EVIL}/d.png",
    f"[a](javascript:{RUN})",
    f"[a](java&#10;script:{RUN})",
    f"[a](data:text/html;base64,{DATA})",
    f"<javascript:{RUN}>",
    f"<a href='java\tscript:{RUN}'>a</a>",
    f"<a href='#' onclick='{RUN}' onfocus='{RUN}' onmouseover='{RUN}'>a</a>",
    f"<a href='https://example.org' ping='{EVIL}/ping'>a</a>",
    f"<svg onload='{RUN}'></svg>",
    f"<svg><animate onbegin='{RUN}' attributeName=x dur=1s></svg>",
    f"<svg><a xlink:href='javascript:{RUN}'><text y=9>a</text></a></svg>",
    f"<svg><use href='{EVIL}/e.svg#x'></use><image href='{EVIL}/f.png'></image></svg>",
    f"<svg><foreignObject><iframe onload='{RUN}'></iframe></foreignObject></svg>",
    f"<math><mtext><table><mglyph><style><img src=x onerror='{RUN}'></style></mglyph></table></mtext></math>",
    f"<math><maction actiontype='statusline#{EVIL}' xlink:href='javascript:{RUN}'>a</maction></math>",
    f"<style>body {{ background: url({EVIL}/g.png) }}</style>",
    f"<style>@import '{EVIL}/h.css';</style>",
    f"<div style='background: url({EVIL}/i.png)'>a</div>",
    f"<div style='background-color: expression({RUN}); list-style-image: url({EVIL}/k.png)'>a</div>",
    f"<span style='font-family: x; src: url({EVIL}/l.woff); position: fixed'>a</span>",
    f"<link rel=stylesheet href='{EVIL}/m.css'>",
    f"<meta http-equiv=refresh content='0; url={EVIL}/n'>",
    f"<base href='{EVIL}/'>",
    f"<iframe src='javascript:parent.{RUN}'></iframe>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<object data='data:text/html;base64,{DATA}'></object>",
    f"<embed src='{EVIL}/p.swf'>",
    f"<video src='{EVIL}/q.mp4' onerror='{RUN}' autoplay poster='{EVIL}/r.png'></video>",
    f"<form action='{EVIL}/t'><input autofocus onfocus='{RUN}'><button formaction='javascript:{RUN}'>a</button></form>",
    f"<details open ontoggle='{RUN}'><summary>a</summary></details>",
    f"<body onload='{RUN}' background='{EVIL}/u.png'>",
    f"<table background='{EVIL}/v.png'><tr><td background='{EVIL}/w.png'>a</td></tr></table>",
    f"<template><script>{RUN}</script></template><noscript><p title='</noscript><img src=x onerror={RUN}>'></noscript>",
    f"<!--><img src=x onerror='{RUN}'>-->",
    f"<![CDATA[<img src=x onerror='{RUN}'>]]>",
    f"`</code><img src=x onerror='{RUN}'>`",
    f"```html\n</code></pre><img src=x onerror='{RUN}'>\n```",
    f"$</script><img src=x onerror='{RUN}'>$",
    f"$$\\href{{javascript:{RUN}}}{{x}}$$ $x<img src=x onerror='{RUN}'>$",
    f"# <img src=x onerror='{RUN}'>\n\n| <img src=x onerror='{RUN}'> |\n|--|\n| a |",
    f'![x" onerror="{RUN}](attachment:a.png "t\' onload=\'{RUN}")',
    f"![x](attachment:missing.png) <img src=x onerror='{RUN}'>",
    f"<form><math><mtext></form><form><mglyph><svg><mtext><textarea><path id='</textarea><img onerror={RUN} src=1>'>",
    f"<svg></p><style><a id='</style><img src=1 onerror={RUN}>'>",
    f"<a href='&#1;javascript:{RUN}'>a</a> <a href='//evil.test/x'>b</a> [c](<javascript:{RUN}>) [d](Java&colon;{RUN})",
    "<img name=querySelectorAll id=getElementById><form name=documentElement><input name=attributes></form>",
    f"![<img src=x onerror={RUN}>](attachment:a.png) <https://x'onmouseover='{RUN}> https://x/\"onmouseover=\"{RUN}",
    f'```"><img src=x onerror={RUN}>\ncode\n```\n\n| a |\n|:-"><img src=x onerror={RUN}>|\n| b |',
    f"\\(<img src=x onerror={RUN}>\\) $$\\style{{background:url({EVIL}/s.png)}}{{x}}$$ $\\unicode{{{RUNS}}}$",
    f"<p style='border-left: 1px u\\72l({EVIL}/x.png); padding: image-set(\"{EVIL}/y.png\")'>a</p>",
    f"<picture><source srcset={EVIL}/z.png><img src=x onerror={RUN}></picture><audio src={EVIL}/a.mp3></audio>",
    f"<marquee onstart={RUN}>a</marquee><select autofocus onfocus={RUN}></select><b tabindex=1 onfocus={RUN}>b</b>",
    f"<svg><animate href=#q attributeName=href values='javascript:{RUN}'/><a id=q><text y=9>a</text></a></svg>",
    f"<map name=m><area href='javascript:{RUN}'></map><img usemap=#m src='data:image/png;base64,A' srcset={EVIL}/b>",
    "<div>" * 100_000 + f"<img src=x onerror='{RUN}'>",
    "[" * 5_000 + "]" * 5_000 + f"<img src=x onerror='{RUN}'>",
]
DANGEROUS = {  # outputs of every type that Jupyter or nbconvert knows
    "text/html": f"<img src=x onerror='{RUN}'><script>{RUN}</script><img src='{EVIL}/A.png'>",
    "text/markdown": f"<img src=x onerror='{RUN}'> ![]({EVIL}/B.png)",
    "text/latex": f"$<img src=x onerror='{RUN}'>$",
    "text/plain": f"<img src=x onerror='{RUN}'>",
    "text/javascript": RUN,
    "image/svg+xml": SVG,
    "image/png": f"x' onerror='{RUN}",
    "image/gif": f"{EVIL}/C.gif",
    "application/pdf": f"x' onerror='{RUN}",
    "application/json": {"a": f"</script><script>{RUN}</script>"},
    "application/vnd.jupyter.widget-view+json": {"model_id": f"</script><script>{RUN}</script>", "version_major": 2},
    "application/vnd.jupyter.widget-state+json": {"state": f"</script><script>{RUN}</script>"},
    "application/vnd.mermaid": f"click A '{EVIL}'",
    "application/vnd.plotly.v1+json": {"data": f"<script>{RUN}</script>"},
    "video/mp4": f"x' onerror='{RUN}",
}
ATTACHMENTS = {
    "a.png": {"image/svg+xml": SVG, "image/png": f"x' onerror='{RUN}"},
    f'a"onerror={RUN}.png': {"image/png": PIXEL, "text/html": f"<script>{RUN}</script>"},
}
EVERYTHING = """() => {
    const kinds = ["click", "focus", "mouseover", "error", "load", "toggle", "begin", "start"];
    for (const element of document.querySelectorAll("*")) {
        for (const kind of kinds) element.dispatchEvent(new Event(kind, { cancelable: true }));
    }
    return [...document.querySelectorAll("[href], [src], [action], [formaction]")].flatMap(element =>
        ["href", "src", "action", "formaction"].map(name => element.getAttribute(name) || ""));
}"""


def handed_in() -> nbformat.NotebookNode:
    """A notebook with all of this, in answers and beside them."""
    cells = []
    for number, text in enumerate(TEXTS):
        cells += [new_markdown_cell(text, attachments=copy.deepcopy(ATTACHMENTS))]
        if number % 2:
            role = {"grade": True, "solution": True, "grade_id": f"answer-{number}", "points": 1, "score": 0}
            cells[-1].metadata.nbgrader = role
    for kind, content in DANGEROUS.items():
        for output in ("display_data", "execute_result"):
            cells.append(
                new_code_cell("1", outputs=[new_output(output, {kind: content}, metadata={kind: {"width": RUN}})])
            )
    ends = f"</pre><img src=x onerror='{RUN}'>"
    cells.append(new_code_cell(f"# {ends}", outputs=[new_output("stream", name=ends, text=f'{ends}\x1b[31;" {RUN}m')]))
    cells.append(new_code_cell("1", outputs=[new_output("error", ename=ends, evalue=ends, traceback=[ends])]))
    cells.append(new_raw_cell(ends, metadata={"raw_mimetype": "text/html", "format": "text/html"}))
    for cell in cells:
        cell.metadata.tags = [f"'><img src=x onerror='{RUN}'>"]
    language = {"name": f"</script><script>{RUN}</script>", "pygments_lexer": "html"}
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"a": f"</script><script>{RUN}</script>"}}}
    return new_notebook(cells=cells, metadata={"language_info": language, "title": ends, "widgets": widgets})


def exported(notebook: nbformat.NotebookNode) -> str:
    """The body of a page, with the filter that nbgrader's formgrader and feedback use."""
    settings = Config({"HTMLExporter": {"filters": {"markdown2html": sanitizing.markdown2html}}})
    page, _ = HTMLExporter(config=settings, template_name="basic").from_notebook_node(notebook)
    return page


def tags(page: str) -> list[str]:
    """All tags and attributes of a page, as `tag` and `tag name=value`, in lower case and without blanks in values."""
    found = BeautifulSoup(page, "html.parser", multi_valued_attributes=None)(True)
    pairs = [(tag.name, name, "".join(value.split()).lower()) for tag in found for name, value in tag.attrs.items()]
    return [tag.name for tag in found] + [f"{tag} {name}={value}" for tag, name, value in pairs]


RUNNING = re.compile(
    r"(script|iframe|object|embed|link|meta|base|form|style|svg|math|video)$|\w+ (on|srcset|background)"
    r"|\w+ (src|href|action)=(?!https?:|mailto:|#|data:image/(png|jpeg|gif);)|img src=http|\w+ style=.*url"
)


def test_nothing_that_runs_is_left():
    notebook = handed_in()
    assert all(RUNNING.match(found) for text in (RUNS, ASKS) for found in tags(text)[-1:])
    sanitizing.sanitize(notebook, new_notebook())
    nbformat.validate(notebook)
    assert [found for found in tags(exported(notebook)) if RUNNING.match(found)] == []


def test_what_is_harmless_stays():
    text = "**Bold** `code` $a < b$\n\n| a |\n|--|\n| 1 |\n\n![x](attachment:a.png) [l](https://example.org)\n\n# Title"
    cell = new_markdown_cell(text, attachments={"a.png": {"image/png": PIXEL}})
    stripped = new_notebook(
        cells=[cell, new_code_cell("1", outputs=[new_output("display_data", {"image/png": PIXEL})])]
    )
    sanitizing.sanitize(stripped, new_notebook())
    page = exported(stripped)
    for part in ("<strong>Bold</strong>", "<code>code</code>", "<td>1</td>", 'href="https://example.org"', "<h1>Title"):
        assert part in page
    assert page.count(f"data:image/png;base64,{PIXEL}") == 2 and "$a &lt; b$" in page


def test_what_is_very_long_is_cut_in_outputs_and_shown_as_it_is_in_texts():
    long = "\x1b[31m" * 200_000
    outputs = [new_output("stream", text=long), new_output("error", ename="E", evalue="", traceback=[long])]
    outputs.append(new_output("display_data", {"text/plain": long}))
    image = f"![x](data:image/png;base64,{'A' * 400_000})"
    notebook = new_notebook(
        cells=[new_markdown_cell(r"\begin{a}" * 60_000), new_markdown_cell(image), new_code_cell("1", outputs=outputs)]
    )
    sanitizing.sanitize(notebook, new_notebook())
    page = exported(notebook)
    assert page.count("900,000 more characters") == 3
    assert page.count("<img") == 1 and r"<pre>\begin{a}" in page


def opened(browser, address: str, *, act: bool = True) -> tuple[list, list[str], list[str]]:
    """What ran in a page, what it asked for elsewhere, and where it points. act : whether all in it is clicked."""
    hits, requests = [], []
    site = address[: address.index("/", len("https://")) + 1]
    page = browser.new_page()
    page.expose_function("hit", lambda number: hits.append(number))
    page.on("dialog", lambda dialog: (hits.append("dialog"), dialog.dismiss()))

    def route(route):
        requests.append(route.request.url)
        if route.request.url.startswith(site):
            route.continue_()
        else:
            route.abort()

    page.route("**/*", route)
    page.goto(address, wait_until="load")
    page.wait_for_timeout(500)
    places = page.evaluate(EVERYTHING) if act else []
    page.wait_for_timeout(500)
    page.close()
    return hits, [url for url in requests if EVIL in url], places


def harmless(browser, address: str, *, act: bool = True) -> None:
    hits, requests, places = opened(browser, address, act=act)
    assert hits == [] and requests == []
    flat = ["".join(place.split()).lower() for place in places]
    runs = ("javascript:", "vbscript:", "data:text", "data:image/svg")
    assert not [place for place in flat if place.startswith(runs)]


@pytest.mark.slow
@pytest.mark.browser
def test_nothing_of_an_answer_runs_in_the_report(browser, tmp_path):
    blocks = []
    for text in TEXTS:
        try:
            blocks.append(pandoc.part("answer", *markdown.read_markdown(text, copy.deepcopy(ATTACHMENTS))))
        except pandoc.PandocError:
            continue
    assert len(blocks) >= 40
    (tmp_path / "page.html").write_text(pages.html(blocks, title="T"), encoding="utf-8")
    harmless(browser, (tmp_path / "page.html").as_uri())


# --- nbgrader's own server --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def course(set_up, tmp_path_factory):
    """A course in which such a submission has been collected and recorded, with a page of feedback."""
    folder = tmp_path_factory.mktemp("formgrader")
    course, name = folder / "course", "03_written_questions"
    notebooks, texts = blank(), iter(TEXTS)
    for cell in notebooks[name]["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution") and cell["cell_type"] == "markdown":
            text = "\n\n".join(text for text, _ in zip(texts, range(6)))
            cell.update(source=[text], attachments=copy.deepcopy(ATTACHMENTS))
    notebooks[name]["cells"] += json.loads(nbformat.writes(handed_in()))["cells"]
    entry = {"points": 0, "why": RUNS, "aspects": [[RUNS, True]]}
    found = {"items": {item.id: entry for item in questions.ITEMS if item.kind != "text"}, "remarks": {}}
    with pytest.MonkeyPatch.context() as patch:
        set_own_jupyter(patch, folder)
        patch.setenv("ROADSEG_HOME", str(folder))
        hand_in(folder / "in" / "eve.zip", notebooks)
        shutil.copytree(set_up, course)
        assert command("collect", folder / "in", "--course", course) == 0
        record(course, "eve", {**found, "errors": {name: {"1": RUNS}}})
        assert len(workflow.make_feedback(course)) == 1
    return course


@pytest.fixture(scope="module")
def server(course, tmp_path_factory):
    """The address of the formgrader and its token, as `course open` starts it; afterwards it is gone."""
    runtime = tmp_path_factory.mktemp("runtime")
    settings = {"JUPYTER_RUNTIME_DIR": str(runtime)}
    settings |= {f"JUPYTER_{name}_DIR": str(runtime / name) for name in ("CONFIG", "DATA")}
    command = [sys.executable, "-m", "roadseg", "course", "open", "--course", str(course)]
    with open(runtime / "log.txt", "w") as log:
        process = subprocess.Popen(
            [*command, "--lab", "--no-browser", "--port=0"], env={**os.environ, **settings}, stdout=log, stderr=log
        )
    try:
        about = served(runtime, process)
        yield f"{about['url']}formgrader", about["token"]
    finally:
        process.terminate()
        process.wait(120)


@pytest.mark.slow
@pytest.mark.browser
def test_nothing_of_a_submission_runs_in_a_live_formgrader(browser, server, course):
    from nbgrader.api import Gradebook

    address, token = server
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        submission = gradebook.find_submission(workflow.ASSIGNMENT, "eve")
        graded = {notebook.name: f"{address}/submissions/{notebook.id}/" for notebook in submission.notebooks}
    for place in ("manage_assignments", "gradebook", f"gradebook/{workflow.ASSIGNMENT}", "manage_students/eve"):
        harmless(browser, f"{address}/{place}?token={token}", act=False)
    for place in graded.values():
        harmless(browser, f"{place}?token={token}")
    (page,) = course.glob("feedback/eve/*/*.html")
    harmless(browser, page.as_uri())
    path = course / "autograded" / "eve" / workflow.ASSIGNMENT / "03_written_questions.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell("1", outputs=[new_output("display_data", {"text/html": RUNS})]))
    nbformat.write(notebook, path)
    assert opened(browser, f"{graded[path.stem]}?token={token}", act=False)[0]  # what is not sanitized does run
