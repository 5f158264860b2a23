"""The report: what it says, read back from HTML, PDF and zip; what it refuses; and what it leaves when it fails."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pypdf import PdfReader
from test_answers import Page, image, pages_of, squeezed

from roadseg import data, metrics, report, runs, training, workbook
from roadseg.recipes import get_recipe
from roadseg.report import build, contents
from roadseg.report.build import ReportError
from roadseg.report.pandoc import strings
from roadseg.workbook import questions

ANSWER = "82 % are NO ROAD: Größe, αβγ, Ж → 中 😀, $p_{ij} > 0.5$, `a_b`, <b>not bold</b>, [a](javascript:f())."
PASTED = "![my curves](attachment:image.png) ![](https://example.org/x.png)\n\n| a | b |\n|--|--|\n| one | two |"
NOTHING = contents.Trained(dict.fromkeys(contents.MODELS), None)
RECIPE = {**get_recipe("reported").settings(), "precision": "float32"}
SPECIAL = {  # what is said of these two
    "answer-1": ["82 % are NO ROAD: Größe, αβγ, Ж → 中 😀", "> 0.5", "a_b", "<b>not bold</b>", "a (javascript:f())"],
    "answer-14": ["my curves", "![](https://example.org/x.png)", "one two"],
}


def write_run(out: Path, roads: data.RoadData, model: str, *, epochs: int = 2, ended: str = "10:00", **changes) -> Path:
    """A finished run, written by hand, with predictions that are right in one half of each image."""
    names = [roads.names[i] for i in data.course_split(len(roads)).validation]
    settings = {
        "model": model,
        "recipe": RECIPE,
        **{"seed": 0, "split": "course", "epochs": epochs, "size": list(roads.size), "data": roads.fingerprint},
        **{"step": f"step of {ended}", "validation_names": names, "train_count": 9, "source": roads.source},
        **{"versions": runs.versions(), "machine": {"system": "Linux", "processor": "Fast One", "cores": 2}},
        **changes,
    }
    path = out / runs.key(settings)
    (path / "predictions").mkdir(parents=True)
    right = roads.masks[[roads.names.index(name) for name in names]]
    right[:, :, ::2] = ~right[:, :, ::2] if model == "simple" else right[:, :, ::2]
    for epoch in range(1, epochs + 1):
        file = path / "predictions" / runs.prediction_name(epoch)
        runs.write_arrays(file, compress=True, probability=np.where(right, 200, 50).astype(np.uint8))
    rows = [[e, 0.5 / e, 0.8 + e / 100, 0.4 / e, 0.82 + e / 100, 1e-3, 2.5] for e in range(1, epochs + 1)]
    runs.write_csv(path / "curves.csv", runs.CURVES, np.array(rows))
    runs.write_csv(path / "steps.csv", runs.STEPS, np.array([[1, 0.5, 0.5]]))
    for which in runs.WEIGHTS:
        (path / f"{which}.weights.h5").write_bytes(b"weights")
    weights = {which: runs.digest(path / f"{which}.weights.h5") for which in runs.WEIGHTS}
    runs.write_json(path / "settings.json", settings)
    finished = {"epochs": epochs, "best_epoch": 1, "seconds": 207.5, "parameters": 1216, "weights": weights}
    runs.write_json(path / "finished.json", {**finished, "ended": f"2026-05-03T{ended}:00+00:00"})
    return path


def write_book(folder: Path) -> Path:
    """The worked notebooks as a student's: all answered, one answer of everything, one with an image."""
    folder.mkdir()
    for path in workbook.worked_folder().glob("0*.ipynb"):
        (folder / path.name).write_bytes(path.read_bytes())
    change(folder, "answer-1", source=[ANSWER])
    attachments = {"image.png": {"image/png": image(size=(60, 30))}}
    change(folder, "answer-14", source=[PASTED], attachments=attachments)
    return folder


def change(folder: Path, name: str, **changes) -> None:
    """Change the cell of an answer in its notebook's file."""
    path = folder / f"{questions.item(name).notebook}.ipynb"
    notebook = workbook.read_notebook(path)
    cell = next(cell for cell in notebook["cells"] if cell["metadata"].get("nbgrader", {}).get("grade_id") == name)
    cell.update(changes)
    if changes.get("deleted"):
        notebook["cells"].remove(cell)
    workbook.write_notebook(path, notebook)


def forget_checks(folder: Path) -> None:
    """Take the outputs out of the notebook with the questions."""
    path = folder / "03_written_questions.ipynb"
    notebook = workbook.read_notebook(path)
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        cell["outputs"] = []
    workbook.write_notebook(path, notebook)


@pytest.fixture(scope="module")
def roads(road_folder) -> data.RoadData:
    """24 drawn images in the workbook's size."""
    return data.load(road_folder, cache=False)


@pytest.fixture(autouse=True)
def images(monkeypatch, road_folder):
    """The workbook finds the drawn images."""
    monkeypatch.setenv("ROADSEG_DATA", str(road_folder))


@pytest.fixture
def book(tmp_path) -> Path:
    return write_book(tmp_path / "book")


@pytest.fixture
def trained(tmp_path, roads) -> Path:
    """A folder with a run of each model."""
    for model in contents.MODELS:
        write_run(tmp_path / "runs", roads, model)
    return tmp_path / "runs"


@pytest.fixture
def quick(monkeypatch):
    """Pages that need no typesetting, for tests of what happens to them."""
    monkeypatch.setattr(
        build, "made", lambda book, *_, name: {"report.html": b"<p>", "report.pdf": repr(book).encode()}
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory, roads, road_folder) -> build.Written:
    """A whole report."""
    folder = tmp_path_factory.mktemp("whole")
    for model in contents.MODELS:
        write_run(folder / "runs", roads, model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROADSEG_DATA", str(road_folder))
        patch.setenv("ROADSEG_CACHE", str(folder / "cache"))
        return report.write_report(write_book(folder / "book"), runs_folder=folder / "runs", name="Zoë Łuk")


@pytest.fixture(scope="module")
def said(written) -> dict[str, str]:
    """The squeezed text of both files."""
    paper = pages_of(written.pdf.read_bytes())
    return {"HTML": Page(written.html.read_text("utf-8")).words, "PDF": squeezed(paper)}


# --- what it says ----------------------------------------------------------------------------------------------------


def test_where_it_is(written):
    paths = [written.html, written.pdf, written.zip]
    assert [path.name for path in paths] == ["report.html", "report.pdf", "zoe_luk.zip"]
    assert sorted(written.html.parent.iterdir()) == sorted(paths)
    assert written.html.parent.name == "report" and written.html.parent.parent.name == "book"


@pytest.mark.parametrize("file", ["HTML", "PDF"])
@pytest.mark.parametrize("item", questions.ITEMS, ids=lambda item: item.id)
def test_every_question_and_answer_is_in_it(written, said, file, item):
    book = workbook.read_workbook(written.html.parent.parent)
    source = next(entry.source for entry in book.entries if entry.item == item)
    typed = source if item.kind != "text" else re.sub(r"[*`]|\[(?=[^\]]*\]\()|\]\([^)]*\)", "", source)
    wanted = SPECIAL.get(item.id, typed.split())
    wanted = [item.label, item.title, *item.text.replace("`", "").split(), *wanted]
    assert not [word for word in wanted if squeezed(word) not in said[file]]


@pytest.mark.parametrize("file", ["HTML", "PDF"])
def test_numbers_and_fingerprint_are_in_it(written, said, roads, file):
    found = contents.trained(written.html.parent.parent.parent / "runs")
    for model, run in found.runs.items():
        where = [roads.names.index(name) for name in run.validation_names]
        score = metrics.threshold_sweep(run.prediction(), roads.masks[where], roads.valid[where])
        wanted = [f"{score.max_f1:.3f}", f"{score.at_half.iou:.3f}", f"{score.average_precision:.3f}"]
        wanted += ["1,216", "2 of 12", "3:27 min", "0.200", "0.840", contents.MODELS[model]]
        wanted += [run.path.name, run.settings["data"], "step of 10:00", run.finished["weights"]["last"][:16]]
        wanted += ["2026-05-03 10:00", "Fast One, 2 cores", *run.settings["versions"].values()]
        assert not [words for words in wanted if squeezed(words) not in said[file]]
    assert squeezed("Zoë Łuk. Trained on 3 May 2026.") in said[file]
    assert "03_written_questions" in said[file] and "Missing" not in said[file]


def test_four_curves_predictions_and_the_pasted_image_are_in_it(written):
    page = Page(written.html.read_text("utf-8"))
    images = [image for sheet in PdfReader(written.pdf).pages for image in sheet.images]
    assert page.tags.count("img") == len(images) == 5 and page.tags.count("figure") == 4
    assert not page.wrong
    assert squeezed("Figure 1. Simple model: loss and accuracy by epoch. On the validation images") in page.words
    assert images[0].image.size == images[1].image.size and images[0].image.width > 1500
    assert images[4].image.size == (60, 30)


def test_both_models_curves_have_the_same_scales(trained):
    first, second = contents.curve_figures(contents.trained(trained)).values()
    for panel in (0, 1):
        low, high = first.axes[panel].get_ylim()
        assert (low, high) == second.axes[panel].get_ylim()
        lines = [line.get_ydata() for figure in (first, second) for line in figure.axes[panel].lines]
        assert (
            low <= min(min(line) for line in lines if len(line))
            and max(max(line) for line in lines if len(line)) <= high
        )


def test_the_zip(written):
    with zipfile.ZipFile(written.zip) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    notebooks = {path.name: path.read_bytes() for path in written.html.parent.parent.glob("*.ipynb")}
    assert files == notebooks | {"report.html": written.html.read_bytes(), "report.pdf": written.pdf.read_bytes()}
    for name, content in files.items():
        assert manifest["files"].pop(name) == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert not manifest["files"]
    assert manifest["versions"] == runs.versions()
    assert {"roadseg", "tensorflow", "keras", "python"} <= manifest["versions"].keys()
    assert manifest["answers"].keys() == {item.id for item in questions.ITEMS}
    assert manifest["answers"]["answer-1"]["state"] in ("done", "too short")
    assert manifest["notebooks"].keys() == {Path(name).stem for name in notebooks}
    assert (manifest["draft"], manifest["name"], manifest["missing"]) == (False, "Zoë Łuk", [])
    assert manifest["runs"]["unet"]["run"].startswith("unet-reported-seed0-")


@pytest.mark.parametrize(
    "counts, in_order, told",
    [
        ([1, 2, 3], True, "all 3 have run, from top to bottom"),
        ([1, 3, 2], False, "all 3 have run, not from top to bottom"),
        ([1, None, 2], False, "2 of 3 have run"),
    ],
)
def test_how_notebooks_ran(counts, in_order, told):
    assert contents.in_order(counts) is in_order and contents.ran(counts) == told


def test_execution_and_locked_cells_are_in_report_and_manifest(quick, book, tmp_path):
    workbook.start(book / "blank")
    own = workbook.read_notebook(book / "blank" / "02_unet.ipynb")
    locked = own["metadata"]["roadseg"]["locked"][0]
    next(cell for cell in own["cells"] if cell["id"] == locked)["source"] = ["pass"]
    for number, cell in enumerate((cell for cell in own["cells"] if cell["cell_type"] == "code"), start=1):
        cell["execution_count"] = number
    workbook.write_notebook(book / "02_unet.ipynb", own)
    made = report.write_report(book, runs_folder=tmp_path / "runs", draft=True)
    manifest = json.loads(zipfile.ZipFile(made.zip).read("manifest.json"))["notebooks"]["02_unet"]
    assert manifest["locked_cells_changed"] == [locked] and manifest["ran_from_top_to_bottom"]
    assert manifest["execution_counts"] == list(range(1, len(manifest["execution_counts"]) + 1))
    said = "".join(strings(contents.contents(workbook.read_workbook(book), NOTHING)))
    assert f"changed: {locked}" in said and f"all {number} have run, from top to bottom" in said


@pytest.mark.slow
def test_the_same_workbook_makes_the_same_files(written, book, trained, tmp_path):
    again = report.write_report(book, runs_folder=trained, out=tmp_path / "again", name="Zoë Łuk")
    for name in ("html", "pdf", "zip"):
        assert getattr(again, name).read_bytes() == getattr(written, name).read_bytes()


@pytest.mark.parametrize(
    "name, file",
    [
        ("", "hand_in.zip"),
        ("Åse Ødegård", "ase_odegard.zip"),
        ("José 学生七", "jose_7gq293ap6t.zip"),
        ("../..", "hand_in.zip"),
    ],
)
def test_the_zip_has_a_name_in_ascii(quick, book, trained, name, file):
    assert report.write_report(str(book), runs_folder=str(trained), name=name).zip == book / "report" / file


# --- what it refuses -------------------------------------------------------------------------------------------------


def test_what_is_missing_is_named_and_nothing_is_written(book, tmp_path, roads):
    write_run(tmp_path / "runs", roads, "unet")
    change(book, "train_step", source=["def train_step(model):\n", "    ...\n"])
    change(book, "answer-5", source=[workbook.TEXT_STUB])
    change(book, "answer-9", deleted=True)
    change(book, "choice-10", deleted=True)
    with pytest.raises(ReportError) as error:
        report.write_report(book, runs_folder=tmp_path / "runs")
    told = str(error.value)
    assert "\n" not in told and not (book / "report").exists()
    for phrase in (
        "01_simple_model.ipynb: Task 1;",
        "Question 5, Question 9 (text; deleted",
        "Question 10 (choice; deleted",
    ):
        assert phrase in told
    assert "simple model (reported, seed 0)" in told and "--draft" in told
    assert "U-Net" not in told and "Task 2" not in told and "Question 1," not in told


@pytest.mark.parametrize(
    "state, name, source",
    [
        ("not right", "answer-3", "steps_per_epoch = ("),
        ("not checked", "answer-3", "steps_per_epoch = 68"),
        ("too short", "answer-2", "Because."),
    ],
)
def test_weak_answers_are_not_refused(book, state, name, source):
    change(book, name, source=[source])
    forget_checks(book)
    own = workbook.read_workbook(book)
    entry = next(entry for entry in own.entries if entry.item.id == name)
    assert entry.state == state and not [phrase for phrase in contents.missing_parts(own, NOTHING) if "ipynb" in phrase]
    said = "".join(strings(list(contents.written_answer(entry))))
    assert source in said and f"{state.capitalize()}, {entry.remark}." in said
    assert any(entry.item.label in phrase and state in phrase for phrase in contents.answer_remarks(own))


def test_a_draft_marks_what_is_missing(book, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda: pytest.fail("images are not needed without runs"))
    change(book, "answer-5", source=[workbook.TEXT_STUB])
    change(book, "choice-10", deleted=True)
    made = report.write_report(book, runs_folder=tmp_path / "runs", draft=True)
    page, paper = Page(made.html.read_text("utf-8")), squeezed(pages_of(made.pdf.read_bytes()))
    for said in (page.words, paper):
        assert said.count(squeezed("a finished run of the U-Net (reported, seed 0)")) == 2
        assert squeezed("A draft. Missing:") in said and squeezed("Missing: not answered yet.") in said
        assert squeezed("Missing: deleted, its cell is gone") in said
        assert "Question 14" in said or "Question14" in said
    manifest = json.loads(zipfile.ZipFile(made.zip).read("manifest.json"))
    assert manifest["draft"] and len(manifest["missing"]) == 3
    assert page.tags.count("img") == 1  # the pasted one


def test_a_damaged_notebook_is_named(book, tmp_path):
    (book / "00_road_data.ipynb").write_bytes(b"{")
    with pytest.raises(workbook.NotebookError, match="00_road_data"):
        report.write_report(book, runs_folder=tmp_path, draft=True)


def test_what_is_too_large_is_named(quick, book, trained, monkeypatch):
    path = book / "04_going_further.ipynb"
    notebook = workbook.read_notebook(path)
    notebook["metadata"]["noise"] = np.random.default_rng(0).bytes(4_000_000).hex()
    workbook.write_notebook(path, notebook)
    monkeypatch.setattr(build, "LARGEST", 3_000_000)
    with pytest.raises(ReportError, match=r"and 3 are .*04_going_further\.ipynb"):
        report.write_report(book, runs_folder=trained)
    assert not (book / "report").exists()


def test_a_place_that_cannot_be_written(quick, book, trained, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReportError, match=r"file: .*--out"):
        report.write_report(book, runs_folder=trained, out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("failing", [1, 3])
def test_a_full_disk_leaves_what_was_there(quick, book, trained, monkeypatch, failing):
    made = report.write_report(book, runs_folder=trained)
    before = {path.name: path.read_bytes() for path in made.html.parent.iterdir()}
    change(book, "answer-2", source=["Another answer, which is long enough to be one. " * 4])
    sync, calls = os.fsync, []

    def full(number):
        calls.append(number)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match="No space left"):
        report.write_report(book, runs_folder=trained)
    after = {path.name: path.read_bytes() for path in made.html.parent.iterdir()}
    assert after.keys() == before.keys() and sum(after[name] != before[name] for name in before) == failing - 1


# --- the runs --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_a_training_writes_is_found(tmp_path, roads):
    run = training.train("simple", "reported", roads, epochs=1, out=tmp_path / "runs", log=lambda text: None)
    assert contents.trained(tmp_path / "runs").by_model["simple"].path == run.path


def test_the_newest_of_the_longest_runs_is_taken(tmp_path, roads):
    out = tmp_path / "runs"
    write_run(out, roads, "simple", epochs=1, ended="23:00")
    write_run(out, roads, "simple", epochs=3, ended="09:00", step="the package's")
    newest = write_run(out, roads, "simple", epochs=3, ended="11:00", step="a student's own")
    write_run(out, roads, "simple", epochs=4, seed=1)
    write_run(out, roads, "simple", epochs=4, data="other images")
    write_run(out, roads, "simple", epochs=4, split="blocks")
    write_run(out, roads, "simple", epochs=4, recipe={**RECIPE, "learning_rate": 1e-4})
    found = contents.trained(out)
    assert found.by_model["simple"].path == newest and found.by_model["unet"] is None
    assert list(found.runs) == ["simple"] and found.ended.hour == 11


@pytest.mark.slow
def test_a_report_needs_no_tensorflow():
    code = "import sys, roadseg.report.build; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
