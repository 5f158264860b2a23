"""Zips that anybody may have made, and what is collected from them."""

import json
import stat
import zipfile
from pathlib import Path

import pytest
from handed_in import GRADED, blank, command, hand_in, make_course, perfect, set_source, submitted, write_zip

pytest.importorskip("nbgrader")

from roadseg.course import collect
from roadseg.course.collect import SubmissionError, name_students, read_zip
from roadseg.course.workflow import ASSIGNMENT

FIRST, SECOND, THIRD = GRADED


@pytest.fixture
def course(tmp_path) -> Path:
    return make_course(tmp_path / "course")


def outcomes(capsys) -> dict[str, str]:
    """What the command has printed about each student."""
    return dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())


def test_notebooks_are_collected_from_wherever_they_are_in_a_zip(course, tmp_path):
    full = perfect()
    hand_in(tmp_path / "in" / "ada.zip", full)
    write_zip(tmp_path / "in" / "bob.ZIP", {f"road/my workbook\\{name}.ipynb": book for name, book in full.items()})
    assert command("collect", tmp_path / "in", "--course", course) == 0
    assert submitted(course, "ada") == submitted(course, "bob") == full


def test_collecting_again_changes_only_what_has_changed(course, tmp_path, capsys):
    full, states, stamps = perfect(), [], []
    for answer in ("steps_per_epoch = 68", "steps_per_epoch = 68", "steps_per_epoch = 70"):
        set_source(full["03_written_questions"], "answer-3", answer)
        hand_in(tmp_path / "in" / "ada.zip", full)
        command("collect", tmp_path / "in", "--course", course)
        states.append(outcomes(capsys)["ada"])
        stamps.append((course / "submitted" / "ada" / ASSIGNMENT / "timestamp.txt").read_bytes())
    assert states == ["new", "as before", "changed"]
    assert stamps[0] == stamps[1] != stamps[2]
    assert submitted(course, "ada") == full


def test_a_blank_notebook_is_used_instead_of_a_missing_or_damaged_one(course, tmp_path, capsys):
    full = perfect()
    write_zip(tmp_path / "in" / "ada.zip", {f"{FIRST}.ipynb": full[FIRST], f"{SECOND}.ipynb": b'{"cells": ['})
    assert command("collect", tmp_path / "in", "--course", course) == 0
    state, *remarks = outcomes(capsys)["ada"].split("; ")
    assert state == "new" and [remark.split()[0] for remark in remarks] == [SECOND, THIRD]
    assert submitted(course, "ada") == {FIRST: full[FIRST], SECOND: blank()[SECOND], THIRD: blank()[THIRD]}


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
    path = write_zip(tmp_path / "ada.zip", {f"{FIRST}.ipynb": content, f"{SECOND}.ipynb": blank()[SECOND]})
    found, (remark,) = read_zip(path, [FIRST, SECOND])
    assert list(found) == [SECOND] and remark.startswith(FIRST)


def test_a_bad_zip_is_named_and_does_not_stop_the_others(course, tmp_path, capsys):
    folder = tmp_path / "in"
    whole = hand_in(folder / "zoe.zip", perfect()).read_bytes()
    (folder / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.zip").write_bytes(b"")
    write_zip(folder / "other.zip", {"essay.txt": b"Roads."})
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF  # in the first notebook's content
    (folder / "flipped.zip").write_bytes(flipped)
    assert command("collect", folder, "--course", course) == 1
    found = outcomes(capsys)
    assert found.keys() == {"cut", "empty", "other", "flipped", "zoe"}
    assert all(found[name].startswith(f"{name}.zip ") for name in ("cut", "empty", "other"))
    assert found["flipped"].startswith(f"new; {FIRST}") and found["zoe"] == "new"
    assert sorted(path.name for path in (course / "submitted").iterdir()) == ["flipped", "zoe"]


def test_names_that_lead_outside_and_links_do_no_harm(course, tmp_path):
    link = zipfile.ZipInfo(f"notebooks/{FIRST}.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = write_zip(tmp_path / "in" / "eve.zip", {f"../../../{SECOND}.ipynb": blank()[SECOND], "/etc/x": b"x"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    before = {found for found in tmp_path.rglob("*") if "submitted" not in found.parts}
    assert command("collect", tmp_path / "in", "--course", course) == 0
    assert {found for found in tmp_path.rglob("*") if "submitted" not in found.parts} == before
    folder = course / "submitted" / "eve" / ASSIGNMENT
    assert sorted(found.name for found in folder.iterdir()) == [*(f"{name}.ipynb" for name in GRADED), "timestamp.txt"]
    assert submitted(course, "eve")[FIRST] == blank()[FIRST]


def test_what_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "LARGEST_NOTEBOOK", 2**20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{FIRST}.ipynb", bytes(2**24))
        archive.writestr(f"{SECOND}.ipynb", json.dumps(blank()[SECOND]))
    found, (remark,) = read_zip(path, [FIRST, SECOND])
    assert list(found) == [SECOND] and remark.startswith(FIRST) and "1 MiB" in remark
    lying = path.read_bytes().replace((2**24).to_bytes(4, "little"), (2**19).to_bytes(4, "little"))
    path.write_bytes(lying)  # claims to be small
    found, (remark,) = read_zip(path, [FIRST, SECOND])
    assert list(found) == [SECOND] and remark.startswith(FIRST)
    monkeypatch.setattr(collect, "LARGEST_ZIP", 100)
    with pytest.raises(SubmissionError, match=r"bomb\.zip"):
        read_zip(path, GRADED)


def test_of_several_copies_the_newest_counts(tmp_path):
    old, new = blank()[SECOND], perfect()[SECOND]
    path = tmp_path / "ada.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, book, year in (("my_workbook", new, 2026), ("notebooks", old, 2024), ("__MACOSX", {}, 2027)):
            info = zipfile.ZipInfo(f"project/{name}/{SECOND}.ipynb", (year, 1, 1, 0, 0, 0))
            archive.writestr(info, json.dumps(book))
    found, (remark,) = read_zip(path, [SECOND])
    assert json.loads(found[SECOND]) == new
    assert f"project/my_workbook/{SECOND}.ipynb" in remark


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
    found = name_students(tmp_path / name for name in expected.values())
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in found.items()} == expected
    with pytest.raises(SubmissionError, match=r"a b\.zip.*a_b\.zip"):
        name_students([tmp_path / "a b.zip", tmp_path / "a_b.zip", tmp_path / "c.zip"])
