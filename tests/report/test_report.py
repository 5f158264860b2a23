"""The report: what it says, read back from HTML, PDF and zip; what it refuses; and what it leaves when it fails."""

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import students
from pypdf import PdfReader
from students import change, edit
from test_answers import Page, image, pages_of, squeezed

from roadseg import data, download, metrics, plots, report, runs, workbook
from roadseg.recipes import get_recipe
from roadseg.report import build, contents
from roadseg.report.build import ReportError
from roadseg.report.markdown import MISSING
from roadseg.report.pandoc import strings
from roadseg.workbook import questions

ANSWER = "82 % are NO ROAD: Größe, αβγ, Ж → 中 😀, $p_{ij} > 0.5$, `a_b`, <b>not bold</b>, [a](javascript:f())."
PASTED = "![my curves](attachment:image.png) ![](https://example.org/x.png)\n\n| a | b |\n|--|--|\n| one | two |"
DOTS = 40  # an inch
NOTHING = contents.Trained({}, None)
RECIPE = {**get_recipe("reported").settings(), "precision": "float32"}
SPECIAL = {  # what is said of these two
    "answer-1": ["82 % are NO ROAD: Größe, αβγ, Ж → 中 😀", "> 0.5", "a_b", "<b>not bold</b>", "a (javascript:f())"],
    "answer-14": ["my curves", "![](https://example.org/x.png)", "one two"],
}


def write_run(out: Path, roads: data.RoadData, model: str, *, epochs: int = 2, ended: str = "10:00", **changes) -> Path:
    """A finished run with predictions that are right in one half of each image."""
    where = data.course_split(len(roads)).validation
    settings = {
        "model": model,
        "recipe": RECIPE,
        **{"seed": 0, "split": "course", "epochs": epochs, "size": list(roads.size), "data": roads.fingerprint},
        **{"step": f"step of {ended}", "validation_names": [roads.names[i] for i in where], "train_count": 9},
        **{"versions": runs.versions(), "machine": {"system": "Linux", "processor": "Fast One", "cores": 2}},
        **changes,
    }
    right = roads.masks[where]
    right[:, :, ::2] = ~right[:, :, ::2] if model == "simple" else right[:, :, ::2]
    columns = {"val_loss": 0.4 / np.arange(1, epochs + 1), "val_accuracy": 0.82 + np.arange(1, epochs + 1) / 100}
    finished = {"seconds": 207.5, "parameters": 1216, "ended": f"2026-05-03T{ended}:00+00:00"}
    predictions = [np.where(right, 200, 50).astype(np.uint8)] * epochs
    path = out / runs.key(settings)
    return students.write_run(path, roads, predictions, columns=columns, finished=finished, **settings).path


def write_book(folder: Path) -> Path:
    """The worked notebooks as a student's: all answered, one answer of everything, one with an image."""
    folder.mkdir()
    for path in workbook.worked_folder().glob("0*.ipynb"):
        shutil.copy(path, folder)
    change(folder, "answer-1", source=[ANSWER])
    attachments = {"image.png": {"image/png": image(size=(60, 30))}}
    change(folder, "answer-14", source=[PASTED], attachments=attachments)
    return folder


def delete(folder: Path, *names: str) -> None:
    with edit(folder) as notebook:
        notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] not in names]


@pytest.fixture(scope="module", autouse=True)
def small():
    """The workbook's images have 32 x 32 pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.load.__kwdefaults__, "size", (32, 32))
        yield


@pytest.fixture(autouse=True)
def images(monkeypatch, road_folder):
    """The workbook finds the drawn images."""
    monkeypatch.setenv("ROADSEG_DATA", str(road_folder))


@pytest.fixture
def quick(monkeypatch):
    """Pages that need no typesetting, for tests of what happens to them."""
    pages = lambda book, *_, name: {"report.html": b"<p>", "report.pdf": repr(book).encode()}  # noqa: E731
    monkeypatch.setattr(build, "made", pages)


@pytest.fixture(scope="module")
def written(tmp_path_factory, roads, road_folder) -> build.Written:
    """A whole report."""
    folder = tmp_path_factory.mktemp("whole")
    for model in contents.MODELS:
        write_run(folder / "runs", roads, model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROADSEG_DATA", str(road_folder))
        patch.setenv("ROADSEG_CACHE", str(folder / "cache"))
        patch.setenv("ROADSEG_RUNS", str(folder / "runs"))
        patch.setattr(contents, "DOTS", DOTS)
        return report.write_report(write_book(folder / "book"), name="Zoë Łuk")


@pytest.fixture
def whole(written, monkeypatch) -> Path:
    """The folder of its notebooks and runs, which stay as they are; the runs are those that are found."""
    monkeypatch.setenv("ROADSEG_RUNS", str(written.html.parents[2] / "runs"))
    return written.html.parents[2]


@pytest.fixture
def book(written, tmp_path) -> Path:
    """The same notebooks, to be changed."""
    return shutil.copytree(written.html.parents[1], tmp_path / "book", ignore=shutil.ignore_patterns("report"))


@pytest.fixture(scope="module")
def said(written) -> dict[str, str]:
    """The squeezed text of both files."""
    paper = pages_of(written.pdf.read_bytes())
    return {"HTML": Page(written.html.read_text("utf-8")).words, "PDF": squeezed(paper)}


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["HTML", "PDF"])
def test_every_question_and_answer_is_in_it(whole, said, file):
    for entry in workbook.read_workbook(whole / "book").entries:
        item, typed = entry.item, entry.source
        if item.kind == "text":
            typed = re.sub(r"[*`]|\[(?=[^\]]*\]\()|\]\([^)]*\)", "", typed)
        wanted = SPECIAL.get(item.id, typed.split())
        wanted = [item.label, item.title, *item.text.replace("`", "").split(), *wanted]
        assert not [word for word in wanted if squeezed(word) not in said[file]], item.id


@pytest.mark.parametrize("file", ["HTML", "PDF"])
def test_numbers_and_fingerprint_are_in_it(whole, said, roads, file):
    found = contents.trained()
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


def test_rendered_scenes_are_named(whole, monkeypatch):
    found = contents.trained()
    monkeypatch.setattr(download, "locate", lambda: Mock(kind="scenes"))
    last = list(contents.contents(workbook.read_workbook(whole / "book"), found))[-1]
    assert "rendered scenes" in "".join(strings(last))


def test_four_figures_and_the_pasted_image_are_in_it(written):
    page = Page(written.html.read_text("utf-8"))
    images = [image.image for sheet in PdfReader(written.pdf).pages for image in sheet.images]
    assert page.tags.count("img") == len(images) == 5 and page.tags.count("figure") == 4
    assert images[0].width == images[1].width == round(DOTS * plots.WIDTH) and images[4].size == (60, 30)
    assert not page.wrong


def test_both_models_curves_have_the_same_scales(whole):
    first, second = contents.curve_figures(contents.trained()).values()
    for panel in (0, 1):
        low, high = first.axes[panel].get_ylim()
        assert (low, high) == second.axes[panel].get_ylim()
        drawn = [line.get_ydata() for figure in (first, second) for line in figure.axes[panel].lines]
        assert all(low <= min(line) and max(line) <= high for line in drawn if len(line))


def test_the_zip(written, whole):
    assert sorted(path.name for path in written.html.parent.iterdir()) == ["report.html", "report.pdf", "zoe_luk.zip"]
    with zipfile.ZipFile(written.zip) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    notebooks = {path.name: path.read_bytes() for path in (whole / "book").glob("*.ipynb")}
    assert files == notebooks | {"report.html": written.html.read_bytes(), "report.pdf": written.pdf.read_bytes()}
    digests = {name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in files.items()}
    assert {name: (told["sha256"], told["bytes"]) for name, told in manifest["files"].items()} == digests
    assert manifest["versions"] == runs.versions()
    assert manifest["answers"].keys() == {item.id for item in questions.ITEMS}
    assert manifest["answers"]["answer-3"] == {
        **{"label": "Question 3", "state": "done"},
        "check": {"name": "answer-3", "passed": True, "cause": ""},
    }
    assert manifest["notebooks"].keys() == {Path(name).stem for name in notebooks}
    assert (manifest["draft"], manifest["name"], manifest["missing"]) == (False, "Zoë Łuk", [])
    assert manifest["runs"]["unet"]["run"].startswith("unet-reported-seed0-")


def test_how_notebooks_ran():
    orders = ([1, 2, 3], [1, 3, 2], [1, None, 2])
    assert [contents.in_order(counts) for counts in orders] == [True, False, False]
    assert len({contents.ran(counts) for counts in orders}) == 3


def test_execution_and_locked_cells_are_in_report_and_manifest(quick, book, tmp_path):
    workbook.start(tmp_path / "blank")
    with edit(tmp_path / "blank", "02_unet") as own:
        locked = own["metadata"]["roadseg"]["locked"][0]
        students.cell_of(own, locked)["source"] = ["pass"]
        for number, cell in enumerate((cell for cell in own["cells"] if cell["cell_type"] == "code"), start=1):
            cell["execution_count"] = number
    shutil.copy(tmp_path / "blank" / "02_unet.ipynb", book)
    made = report.write_report(book, draft=True)
    manifest = json.loads(zipfile.ZipFile(made.zip).read("manifest.json"))["notebooks"]["02_unet"]
    assert manifest["locked_cells_changed"] == [locked] and manifest["ran_from_top_to_bottom"]
    assert manifest["execution_counts"] == list(range(1, number + 1))
    said = "".join(strings(list(contents.contents(workbook.read_workbook(book), NOTHING))))
    assert locked in said and contents.ran(range(1, number + 1)) in said


@pytest.mark.long
def test_the_same_workbook_makes_the_same_files(written, whole, book, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "DOTS", DOTS)
    again = report.write_report(book, out=tmp_path / "again", name="Zoë Łuk")
    for name in ("html", "pdf", "zip"):
        assert getattr(again, name).read_bytes() == getattr(written, name).read_bytes()


@pytest.mark.parametrize(("name", "file"), [("José 学生七", "jose_7gq293ap6t.zip"), ("../..", "hand_in.zip")])
def test_the_zip_has_a_name_in_ascii(quick, whole, tmp_path, name, file):
    made = report.write_report(whole / "book", out=tmp_path, name=name)
    assert made.zip == tmp_path / file


# --- what it refuses -------------------------------------------------------------------------------------------------


def test_what_is_missing_is_named_and_nothing_is_written(book, tmp_path, roads):
    write_run(tmp_path / "runs", roads, "unet")
    change(book, "train_step", "01_simple_model", source=["def train_step(model):\n", "    ...\n"])
    change(book, "answer-5", source=[workbook.TEXT_STUB])
    delete(book, "answer-9", "choice-10")
    with pytest.raises(ReportError) as error:
        report.write_report(book)
    told = str(error.value)
    assert "\n" not in told and not (book / "report").exists()
    assert all(part in told for part in ("01_simple_model.ipynb", "simple model (reported, seed 0)", "--draft"))
    assert re.findall(r"(?:Task|Question) \d+", told) == ["Task 1", "Question 5", "Question 9", "Question 10"]
    assert "U-Net" not in told


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
    change(book, "check-answer-3", outputs=[])
    own = workbook.read_workbook(book)
    entry = next(entry for entry in own.entries if entry.item.id == name)
    assert entry.state == state and not [phrase for phrase in contents.missing_parts(own, NOTHING) if "ipynb" in phrase]
    assert source in "".join(strings(list(contents.written_answer(entry))))
    assert any(entry.item.label in phrase and state in phrase for phrase in contents.answer_remarks(own))


@pytest.mark.parametrize("typed", ["![](a.png)", "![a](attachment:b.png)", "so <IMG src='a.png'>", "<img src=a.png>"])
def test_an_image_that_is_not_in_the_notebook_is_remarked(book, typed, monkeypatch):
    change(book, "answer-2", source=[f"{typed}\n\n{ANSWER * 3}"])
    own = workbook.read_workbook(book)
    said = "".join(strings(list(contents.contents(own, NOTHING))))
    monkeypatch.setattr("roadseg.report.images.recoded", lambda it: pytest.fail("decoded again") if it else None)
    assert typed in said and said.count(MISSING) == 2 and "Question 2 (an image" in contents.answer_remarks(own)[0]


@pytest.mark.parametrize("source", ["unet.count_params()", "answer_8 = 485_817", "# 485 817", "pass  # as above"])
def test_code_that_does_not_define_the_answer_is_shown(book, source):
    change(book, "answer-8", source=[source])
    change(book, "check-answer-8", outputs=[])
    own = workbook.read_workbook(book)
    assert source in "".join(strings(list(contents.contents(own, NOTHING))))
    for said in (contents.missing_parts(own, NOTHING)[0], workbook.summary(own)):
        assert "trainable_parameters" in said


def test_a_draft_marks_what_is_missing(quick, book, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", lambda: pytest.fail("images are not needed without runs"))
    change(book, "answer-5", source=[workbook.TEXT_STUB])
    delete(book, "choice-10")
    made = report.write_report(book, draft=True)
    said = "".join(strings(list(contents.contents(workbook.read_workbook(book), NOTHING))))
    assert said.count("U-Net (reported, seed 0)") == 2 and said.count("Missing: ") == 4 and "Question 14" in said
    manifest = json.loads(zipfile.ZipFile(made.zip).read("manifest.json"))
    assert manifest["draft"] and len(manifest["missing"]) == 3


def test_a_notebook_under_another_name_is_named(quick, book):
    name = f"{students.QUESTIONS} (1).ipynb"
    (book / f"{students.QUESTIONS}.ipynb").rename(book / name)
    with pytest.raises(ReportError) as error:
        report.write_report(book)
    assert str(error.value).count(f"{students.QUESTIONS}.ipynb") == str(error.value).count(name) == 1
    assert any(name in remark for remark in report.write_report(book, draft=True).remarks)


def test_a_damaged_notebook_is_named(book, tmp_path):
    (book / "00_road_data.ipynb").write_bytes(b"{")
    with pytest.raises(workbook.NotebookError, match="00_road_data"):
        report.write_report(book, draft=True)


def test_what_is_too_large_or_cannot_be_written_is_named(quick, whole, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReportError, match=r"file: .*--out"):
        report.write_report(whole / "book", out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"
    monkeypatch.setattr(build, "LARGEST", 300_000)
    with pytest.raises(ReportError, match=r"and 0 are .*0\d_\w+\.ipynb"):
        report.write_report(whole / "book", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_what_was_there(quick, whole, book, monkeypatch):
    made = report.write_report(book)
    before = {path.name: path.read_bytes() for path in made.html.parent.iterdir()}
    change(book, "answer-2", source=["Another answer, which is long enough to be one. " * 4])
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(ReportError, match="No space left"):
        report.write_report(book)
    assert {path.name: path.read_bytes() for path in made.html.parent.iterdir()} == before


# --- the runs --------------------------------------------------------------------------------------------------------


def test_the_newest_of_the_longest_runs_is_taken(tmp_path, roads):
    out = tmp_path / "runs"
    write_run(out, roads, "simple", epochs=1, ended="23:00")
    write_run(out, roads, "simple", epochs=2, ended="09:00", step="the package's")
    newest = write_run(out, roads, "simple", epochs=2, ended="11:00", step="a student's own")
    write_run(out, roads, "simple", epochs=3, seed=1)
    write_run(out, roads, "simple", epochs=3, data="other images")
    write_run(out, roads, "simple", epochs=3, split="blocks")
    write_run(out, roads, "simple", epochs=3, recipe={**RECIPE, "learning_rate": 1e-4})
    found = contents.trained()
    assert list(found.runs) == ["simple"] and found.runs["simple"].path == newest
    assert found.ended.astimezone(UTC).hour == 11


def test_shared_runs_count(tmp_path, roads, monkeypatch):
    shared = write_run(tmp_path / "shared", roads, "unet")
    assert not contents.trained().runs
    monkeypatch.setenv("ROADSEG_SHARED_RUNS", str(shared.parent))
    assert contents.trained().runs["unet"].path == shared


@pytest.mark.slow
def test_a_report_needs_no_tensorflow():
    code = "import sys, roadseg.report.build; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
