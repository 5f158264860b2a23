"""Zips that anybody may have made, and what is taken over from them."""

import json
import stat
import zipfile
from pathlib import Path

import pytest
from handed_in import GRADED, blank, command, hand_in, make_course, perfect, set_source, submitted, write_zip

from roadseg.course import collect as teach_collect
from roadseg.course.course import ASSIGNMENT
from roadseg.errors import RoadsegError

pytest.importorskip("nbgrader", reason="nbgrader is missing: pip install -e .[teach]")


@pytest.fixture
def course(tmp_path) -> Path:
    return make_course(tmp_path / "course")


def test_collecting_takes_the_notebooks_of_each_zip_from_wherever_they_are(course, tmp_path, capsys):
    full = perfect()
    hand_in(tmp_path / "in" / "ada.zip", full)
    write_zip(tmp_path / "in" / "bob.ZIP", {f"road/my workbook\\{name}.ipynb": book for name, book in full.items()})
    assert command("collect", tmp_path / "in", "--course", course) == 0
    assert capsys.readouterr().out == "ada: new\nbob: new\n"
    assert submitted(course, "ada") == submitted(course, "bob") == full


def test_collecting_again_says_what_has_changed(course, tmp_path, capsys):
    full = perfect()
    hand_in(tmp_path / "in" / "ada.zip", full)
    command("collect", tmp_path / "in", "--course", course)
    collected = (course / "submitted" / "ada" / ASSIGNMENT / "timestamp.txt").read_bytes()
    command("collect", tmp_path / "in", "--course", course)
    assert (course / "submitted" / "ada" / ASSIGNMENT / "timestamp.txt").read_bytes() == collected
    set_source(full["03_written_questions"], "answer-3", "steps_per_epoch = 70")
    hand_in(tmp_path / "in" / "ada.zip", full)
    command("collect", tmp_path / "in", "--course", course)
    assert capsys.readouterr().out == "ada: new\nada: as before\nada: changed\n"
    assert (course / "submitted" / "ada" / ASSIGNMENT / "timestamp.txt").read_bytes() != collected
    assert submitted(course, "ada") == full


def test_a_missing_or_damaged_notebook_is_told_and_the_blank_one_takes_its_place(course, tmp_path, capsys):
    full = perfect()
    first, second, third = GRADED
    write_zip(tmp_path / "in" / "ada.zip", {f"{first}.ipynb": full[first], f"{second}.ipynb": b'{"cells": ['})
    assert command("collect", tmp_path / "in", "--course", course) == 0
    assert capsys.readouterr().out == f"ada: new; {second} is damaged (JSONDecodeError); {third} is missing\n"
    assert submitted(course, "ada") == {first: full[first], second: blank()[second], third: blank()[third]}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"cells": 1, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"cells": [{"cell_type": "code"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"worksheets": [], "metadata": {}, "nbformat": 3, "nbformat_minor": 0}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_notebook_is_damaged(content, tmp_path):
    path = write_zip(tmp_path / "ada.zip", {"01_simple_model.ipynb": content, "02_unet.ipynb": blank()["02_unet"]})
    found = teach_collect.read(path, student="ada", names=GRADED[:2])
    assert list(found.notebooks) == ["02_unet"]
    assert [remark.split(" (")[0] for remark in found.remarks] == ["01_simple_model is damaged"]


def test_a_bad_zip_is_told_by_name_and_does_not_stop_the_others(course, tmp_path, capsys):
    folder = tmp_path / "in"
    whole = hand_in(folder / "zoe.zip", perfect()).read_bytes()
    (folder / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.zip").write_bytes(b"")
    write_zip(folder / "other.zip", {"essay.txt": b"Roads."})
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF  # in the first notebook's content
    (folder / "flipped.zip").write_bytes(flipped)
    assert command("collect", folder, "--course", course) == 1
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines.keys() == {"cut", "empty", "other", "flipped", "zoe"}
    assert lines["cut"].startswith("cut.zip is no whole zip") and lines["empty"].startswith("empty.zip is no whole zip")
    assert lines["other"].startswith("other.zip holds no notebook of the assignment")
    assert lines["flipped"] == "new; 01_simple_model is damaged (BadZipFile)"
    assert lines["zoe"] == "new"
    assert sorted(path.name for path in (course / "submitted").iterdir()) == ["flipped", "zoe"]


def test_names_that_lead_outside_and_links_do_no_harm(course, tmp_path):
    name = GRADED[0]
    link = zipfile.ZipInfo(f"notebooks/{name}.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = write_zip(tmp_path / "in" / "eve.zip", {f"../../../{GRADED[1]}.ipynb": blank()[GRADED[1]], "/etc/x": b"x"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    before = {found for found in tmp_path.rglob("*") if "submitted" not in found.parts}
    assert command("collect", tmp_path / "in", "--course", course) == 0
    assert {found for found in tmp_path.rglob("*") if "submitted" not in found.parts} == before
    folder = course / "submitted" / "eve" / ASSIGNMENT
    assert sorted(found.name for found in folder.iterdir()) == [*(f"{name}.ipynb" for name in GRADED), "timestamp.txt"]
    assert submitted(course, "eve")[name] == blank()[name]


def test_a_bomb_is_read_no_further_than_a_notebook_may_be_long(tmp_path, monkeypatch):
    monkeypatch.setattr(teach_collect, "LARGEST_NOTEBOOK", 2**20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("01_simple_model.ipynb", bytes(2**24))
        archive.writestr("02_unet.ipynb", json.dumps(blank()["02_unet"]))
    assert path.stat().st_size < 2**19
    found = teach_collect.read(path, student="bomb", names=GRADED[:2])
    assert found.remarks == ("01_simple_model has more than 1 MiB",)
    monkeypatch.setattr(teach_collect, "LARGEST_ZIP", 100)
    with pytest.raises(teach_collect.SubmissionError, match=r"bomb.zip has more than 0 MiB"):
        teach_collect.read(path, student="bomb", names=GRADED)


def test_of_several_copies_the_newest_counts(tmp_path):
    old, new = blank()["02_unet"], perfect()["02_unet"]
    path = tmp_path / "ada.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, book, year in (("my_workbook", new, 2026), ("notebooks", old, 2024), ("__MACOSX", {}, 2027)):
            info = zipfile.ZipInfo(f"project/{name}/02_unet.ipynb", (year, 1, 1, 0, 0, 0))
            archive.writestr(info, json.dumps(book))
    found = teach_collect.read(path, student="ada", names=["02_unet"])
    assert json.loads(found.notebooks["02_unet"]) == new
    assert found.remarks == ("02_unet is there 2 times: the newest counts, project/my_workbook/02_unet.ipynb",)


def test_students_are_known_by_the_names_of_their_zips(tmp_path):
    expected = {
        "ada": "ada.zip",
        "Émile_Zola": "Émile Zola.zip",
        "4711": "4711.zip",
        "unnamed": "..zip",
        "a_b": "a[b]*?.zip",
        "x-report": "x/report.zip",  # a folder each, as some systems hand them over
        "y-report": "y/report.zip",
        "z-REPORT": "z/REPORT.zip",
    }
    found = teach_collect.students(tmp_path / name for name in expected.values())
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in found.items()} == expected
    with pytest.raises(
        RoadsegError, match=r"a b.zip and .*a_b.zip would both be the student .*a_b: rename one of them"
    ):
        teach_collect.students([tmp_path / "a b.zip", tmp_path / "a_b.zip", tmp_path / "c.zip"])
