"""The workbook in a real JupyterLab, in a real browser, as a student would use it.

They need Chromium on the path and Playwright (`pip install -e .[e2e]`); elsewhere they skip. What they train and the
screenshots go below ROADSEG_HOME, which `make e2e` sets to build/test, so that runs that are there are reused.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import served

from roadseg import workbook
from roadseg.workbook import review

HOME = os.environ.get("ROADSEG_HOME")
MINUTE = 60_000  # milliseconds, as Playwright counts
ALL_RAN = """() => {
    const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].map(prompt => prompt.textContent);
    return prompts.length > 0 && prompts.every(text => /[0-9]/.test(text));
}"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(not HOME, reason="ROADSEG_HOME is not set: run `make e2e`"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A student's notebooks."""
    made = tmp_path_factory.mktemp("my_workbook")
    workbook.start(made)
    return made


@pytest.fixture(scope="module")
def lab(folder, tmp_path_factory):
    """The address of a JupyterLab, with its token, started as `make lab` starts it; afterwards nothing of it runs."""
    runtime = tmp_path_factory.mktemp("runtime")
    settings = runtime / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}')  # all cells are in the page, not only those in view
    environment = {
        **os.environ,
        "ROADSEG_HOME": HOME,
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(runtime / "config"),
        "JUPYTER_DATA_DIR": str(runtime / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(runtime / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(runtime / "workspaces"),
    }
    command = [sys.executable, "-m", "roadseg", "start", str(folder), "--open", "--no-browser", "--port=0"]
    with open(runtime / "log.txt", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        about = served(runtime, server)
        assert about["hostname"] == "127.0.0.1" and len(about["token"]) > 20
        yield f"{about['url']}lab?token={about['token']}"
    finally:
        started = psutil.Process(server.pid).children(recursive=True)  # kernels have process groups of their own
        kernels = [process for process in started if "ipykernel_launcher" in " ".join(process.cmdline())]
        server.terminate()  # the one process that was started, which is JupyterLab by now
        server.wait(120)
        _, left = psutil.wait_procs(started, timeout=120)
        assert kernels and left == [], f"left behind of {started}: {left}"


@pytest.fixture
def page(browser, lab, request):
    """A page in JupyterLab; keeps a screenshot of how it ended, and fails on errors in the console."""
    opened = browser.new_page(viewport={"width": 1300, "height": 1000})
    opened.set_default_timeout(3 * MINUTE)
    errors = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda told: errors.append(told.text) if told.type == "error" else None)
    opened.address = lab
    yield opened
    pictures = Path(HOME) / "screenshots"
    pictures.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=pictures / f"{re.sub(r'[^a-z0-9_]+', '-', request.node.name)}.png")
    opened.close()
    assert errors == []


def open_notebook(page, name: str):
    """Open one notebook and wait until its kernel is there and idle."""
    page.goto(page.address.replace("/lab?", f"/lab/tree/{name}.ipynb?reset&"))  # no other tab
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", state="attached")


def run_all(page, *, minutes: int) -> None:
    """Run all cells with the menu, wait for the last, and save."""
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells")
    page.wait_for_function(ALL_RAN, timeout=minutes * MINUTE)
    save(page)


def save(page) -> None:
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)


def cell(page, folder: Path, notebook: str, name: str):
    """The cell of that id, by its place in the saved file."""
    ids = [c["id"] for c in workbook.read_notebook(folder / f"{notebook}.ipynb")["cells"]]
    found = page.locator(".jp-Notebook .jp-Cell").nth(ids.index(name))
    found.scroll_into_view_if_needed()
    return found


def write(page, target, text: str) -> None:
    """Put text in place of what a cell holds, and run it."""
    if target.locator(".jp-MarkdownOutput").is_visible():
        target.locator(".jp-MarkdownOutput").dblclick()
    target.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(text)
    page.keyboard.press("Shift+Enter")


def run_cell(page, target) -> None:
    target.locator(".jp-InputArea-prompt").click()
    page.keyboard.press("Shift+Enter")


NOTEBOOKS = sorted(path.stem for path in workbook.worked_folder().glob("0*.ipynb"))


def saved(folder: Path, notebook: str, name: str) -> dict:
    """A cell as the file has it."""
    return next(c for c in workbook.read_notebook(folder / f"{notebook}.ipynb")["cells"] if c["id"] == name)


def test_it_opens_with_notebook_00_beside_its_contents(page):
    """The first test: those below leave another layout behind."""
    page.goto(page.address)
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.locator(".jp-TableOfContents").wait_for()
    assert len(page.locator(".jp-Notebook h1").first.inner_text()) > 10


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_notebook_opens(page, name):
    open_notebook(page, name)
    assert len(page.locator(".jp-Notebook h1").first.inner_text()) > 10


@pytest.mark.parametrize(
    "name, minutes",
    [
        ("00_road_data", 10),
        ("01_simple_model", 20),
        ("02_unet", 40),
        pytest.param("03_written_questions", 40, marks=pytest.mark.long),
    ],
)
def test_a_blank_copy_runs_to_its_end(page, folder, name, minutes):
    open_notebook(page, name)
    run_all(page, minutes=minutes)
    code = [c for c in workbook.read_notebook(folder / f"{name}.ipynb")["cells"] if c["cell_type"] == "code"]
    errors = [(c["id"], o["evalue"]) for c in code for o in c["outputs"] if o["output_type"] == "error"]
    assert errors == [] and all(c["execution_count"] for c in code)
    assert {e.state for e in workbook.read_workbook(folder).entries} == {"open"}


def answered(page, folder: Path, notebook: str):
    """Answer question 3 wrong and then right; give each number and the cell with its card."""
    answer, check = (cell(page, folder, notebook, name) for name in ("answer-3", "check-answer-3"))
    for number, verdict in ((70, "not right yet"), (68, "right")):
        write(page, answer, f"steps_per_epoch = {number}")
        run_cell(page, check)
        check.locator(f"text=Question 3: {verdict}.").wait_for()
        yield number, check


def test_a_wrong_and_a_right_answer_have_their_cards_and_stay(page, folder):
    notebook = "03_written_questions"
    open_notebook(page, notebook)
    write(page, cell(page, folder, notebook, "imports"), "from roadseg import checks, workbook")
    for number, check in answered(page, folder, notebook):
        page.screenshot(path=Path(HOME) / "screenshots" / f"card-{number}.png")
        assert check.locator("details[open]").count() == 0
    save(page)
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    assert "steps_per_epoch = 68" in cell(page, folder, notebook, "answer-3").inner_text()
    cell(page, folder, notebook, "check-answer-3").locator("text=Question 3: right.").wait_for()
    assert next(e for e in workbook.read_workbook(folder).entries if e.item.id == "answer-3").state == "done"


def open_enlarged(page, folder: Path, notebook: str, theme: str, *, imports: str) -> None:
    """Open a notebook at 125 %, in a theme, with other imports than its own."""
    page.set_viewport_size({"width": 1040, "height": 800})  # 1300 x 1000 at 125 %
    open_notebook(page, notebook)
    page.click("text=Settings >> nth=0")
    page.hover("text=Theme >> nth=0")
    page.click(f".lm-Menu-itemLabel:text-is('{theme}')")
    write(page, cell(page, folder, notebook, "imports"), imports)


CONTRAST = """card => {
    const luminance = color => {
        const [r, g, b] = color.match(/[0-9.]+/g).map(Number).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        const color = getComputedStyle(element).backgroundColor;
        return /, 0\\)$/.test(color) && element.parentElement ? behind(element.parentElement) : color;
    };
    const texts = [...card.querySelectorAll("*")].filter(element =>
        [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim().length > 1));
    return texts.map(element => {
        const [one, other] = [getComputedStyle(element).color, behind(element)].map(luminance);
        return [(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), element.textContent.slice(0, 40)];
    });
}"""  # of all texts, by the definition of WCAG 2; 4.5 is its limit for text of this size


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_cards_can_be_read_in_both_themes_at_125_percent(page, folder, theme):
    notebook = "03_written_questions"
    open_enlarged(page, folder, notebook, theme, imports="from roadseg import checks, workbook")
    for _, check in answered(page, folder, notebook):
        told = check.locator(".jp-RenderedHTML").first.evaluate(CONTRAST)
        assert told and min(told)[0] >= 4.5, min(told)
        assert check.locator(".jp-RenderedHTML").first.evaluate("e => e.scrollWidth <= e.clientWidth"), "cut off"
    page.screenshot(path=Path(HOME) / "screenshots" / f"card-{theme.split()[1].lower()}.png")


def test_ticked_ideas_stay_in_the_file(page, folder):
    notebook = "03_written_questions"
    open_notebook(page, notebook)
    write(page, cell(page, folder, notebook, "imports"), "from roadseg import checks, workbook")
    write(
        page, cell(page, folder, notebook, "answer-1"), "Most pixels are no road, and saying so is mostly right. " * 3
    )
    save(page)
    compare = cell(page, folder, notebook, "compare-1")
    run_cell(page, compare)
    compare.locator("button").click()
    compare.locator("input[type=checkbox]").nth(1).click()
    compare.locator("text=1 of 3 ideas ticked").wait_for()
    save(page)
    (told,) = [
        o["data"][review.MIME] for o in saved(folder, notebook, "compare-1")["outputs"] if review.MIME in o["data"]
    ]
    assert told == {"name": "answer-1", "ticked": [1]}


PANEL = """import os
os.environ["ROADSEG_EPOCHS"] = "2"
from roadseg import data, training, widgets
roads = data.load()
unet = training.train("unet", "transfer", roads)  # finds road after one epoch"""


PANELS = {  # name: the call, its number of sliders, how its picture's words begin
    "threshold": ("widgets.threshold(unet, roads)", 2, "At threshold"),
    "epochs": ("widgets.epochs(unet, roads)", 2, "After epoch"),
    "convolution": ("widgets.transposed_convolution()", 2, "The signal"),
    "levels": ("widgets.unet_levels(unet.model(), roads.images[0])", 1, "Feature maps of"),
}


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_panels_obey_the_keyboard_and_can_be_read_in_both_themes_at_125_percent(page, folder, theme):
    notebook = "03_written_questions"
    open_enlarged(page, folder, notebook, theme, imports=PANEL)
    for name, (call, sliders, words) in PANELS.items():
        place = cell(page, folder, notebook, "threshold-panel")
        write(page, place, call)
        panel = place.locator(".widget-vbox", has=page.locator(f"img[alt^='{words}']"))
        panel.locator("img").wait_for(timeout=20 * MINUTE)  # the first time, a network is trained
        panel.locator(".noUi-handle").nth(sliders - 1).wait_for()
        assert panel.locator(".noUi-handle").count() == sliders
        for slider in range(sliders):
            before = panel.locator("img").get_attribute("src")
            panel.locator(".noUi-handle").nth(slider).focus()
            page.keyboard.press("ArrowRight")
            page.wait_for_function(
                "([panel, before]) => panel.querySelector('img').src !== before", arg=[panel.element_handle(), before]
            )
        told = panel.evaluate(CONTRAST)
        assert told and min(told)[0] >= 4.5, (name, min(told))
        assert panel.evaluate("e => e.scrollWidth <= e.clientWidth"), f"{name}: cut off"
        place.screenshot(path=Path(HOME) / "screenshots" / f"panel-{name}-{theme.split()[1].lower()}.png")


def test_the_threshold_moves_picture_and_numbers(page, folder):
    notebook = "03_written_questions"
    open_notebook(page, notebook)
    write(page, cell(page, folder, notebook, "imports"), PANEL)
    panel = cell(page, folder, notebook, "threshold-panel")
    run_cell(page, panel)
    picture, numbers = panel.locator("img[alt^='At threshold']"), panel.locator("tr", has_text="threshold 0.")
    picture.wait_for(timeout=20 * MINUTE)  # the first time, a network is trained
    before = picture.get_attribute("src"), numbers.inner_text().split("\t")[1:]
    panel.locator(".noUi-handle").first.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    panel.locator("text=threshold 0.30").wait_for()
    page.screenshot(path=Path(HOME) / "screenshots" / "threshold-0.30.png")
    after = picture.get_attribute("src"), numbers.inner_text().split("\t")[1:]
    assert before[0] != after[0] and len(after[1]) == 5
    assert all(float(a) != float(b) for a, b in zip(before[1], after[1])), (before[1], after[1])
    assert float(after[1][2]) > float(before[1][2]), "a lower threshold finds more road"
