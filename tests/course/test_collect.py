"""What learning platforms deliver and anybody may have made, and what is collected from it."""

import copy
import io
import json
import os
import shutil
import stat
import sys
import time
import unicodedata
import zipfile
from datetime import datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
from handed_in import (
    GRADED,
    blank,
    cell_of,
    command,
    hand_in,
    make_course,
    perfect,
    set_source,
    submitted,
    worked,
    write_zip,
)

pytest.importorskip("nbgrader")

from nbgrader.utils import parse_utc

from roadseg import workbook
from roadseg.course import collect, delivery
from roadseg.course.roster import not_collected
from roadseg.course.workflow import ASSIGNMENT, SECRET, CourseError, students_to_grade

FIRST, SECOND, THIRD = GRADED


@pytest.fixture
def course(tmp_path) -> Path:
    return make_course(tmp_path / "course")


@pytest.fixture(scope="module")
def full() -> dict[str, dict]:
    return perfect()


def outcomes(capsys) -> dict[str, str]:
    """What the command has printed about each student."""
    return dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())


def collected(course: Path, folder: Path) -> list[str]:
    """Collect from a folder; the students that the course has then."""
    assert command("collect", folder, "--course", course) == 0
    return sorted(path.name for path in (course / "submitted").iterdir())


def answer(notebooks: dict[str, dict], value: int) -> dict[str, dict]:
    """Another hand-in, told apart by the answer to question 3."""
    made = copy.deepcopy(notebooks)
    set_source(made[THIRD], "answer-3", f"steps_per_epoch = {value}")
    return made


def answered(course: Path, student: str) -> str:
    return "".join(cell_of(submitted(course, student)[THIRD], "answer-3")["source"])


def zipped(files: dict[str, bytes | dict], **dates: tuple[int, ...]) -> bytes:
    """The bytes of a zip; `dates` are those of files by their first letter."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, dates.get(name[0], (1980, 1, 1, 0, 0, 0)))
            archive.writestr(info, json.dumps(content) if isinstance(content, dict) else content)
    return packed.getvalue()


def loose(path: Path, notebook: dict) -> Path:
    workbook.write_notebook(path, notebook)
    return path


def test_notebooks_are_found_wherever_they_are_and_collecting_again_changes_what_has_changed(
    course, tmp_path, capsys, full
):
    states, digests = [], []
    write_zip(tmp_path / "in" / "bob.ZIP", {f"road/my workbook\\{name}.ipynb": book for name, book in full.items()})
    for value in (68, None, 70):
        if value:
            hand_in(tmp_path / "in" / "ada.zip", answer(full, value))
        assert collected(course, tmp_path / "in") == ["ada", "bob"]
        states.append([outcome.partition(";")[0] for outcome in outcomes(capsys).values()][:2])
        digests.append((course / "submitted" / "ada" / ASSIGNMENT / "digest.txt").read_text())
    assert states == [["new", "new"], ["as before"] * 2, ["changed", "as before"]]
    assert digests[0] == digests[1] != digests[2] and students_to_grade(course, []) == ["ada", "bob"]
    assert students_to_grade(course, ["bob", "bob"]) == ["bob"]
    (kept,) = (course / "earlier" / "ada").iterdir()
    assert "68" in (kept / f"{THIRD}.ipynb").read_text() and answered(course, "ada").endswith("70")
    assert submitted(course, "bob") == full
    stored = course / "submitted" / "bob" / ASSIGNMENT / f"{THIRD}.ipynb"
    assert stored.read_bytes() == workbook.notebook_bytes(full[THIRD])  # as the reader made it
    stored.write_bytes(b"{")  # by a failing disk
    assert collected(course, tmp_path / "in") == ["ada", "bob"]
    assert submitted(course, "bob") == full and THIRD in outcomes(capsys)["bob"]


# --- what can be read counts ------------------------------------------------------------------------------------------


def test_a_blank_notebook_is_used_instead_of_a_missing_or_damaged_one_and_both_are_named(
    course, tmp_path, capsys, full
):
    write_zip(tmp_path / "in" / "ada.zip", {f"{FIRST}.ipynb": full[FIRST], f"{SECOND}.ipynb": b'{"cells": ['})
    assert collected(course, tmp_path / "in") == ["ada"]
    assert submitted(course, "ada") == {FIRST: full[FIRST], SECOND: blank()[SECOND], THIRD: blank()[THIRD]}
    told = outcomes(capsys)["ada"].split("; ")
    assert told == ["new", *collect.remarks(course, "ada")]
    assert [remark.partition(" ")[0] for remark in told[1:]] == [f"{SECOND}.ipynb", SECOND, THIRD]


def test_what_was_collected_before_stays_where_nothing_newer_can_be_read(course, tmp_path, full):
    hand_in(tmp_path / "one" / "ada.zip", answer(full, 70))
    write_zip(tmp_path / "two" / "ada.zip", {f"{FIRST}.ipynb": full[FIRST], f"{THIRD}.ipynb": b"{"})
    hand_in(tmp_path / "three" / "ada.zip", blank())
    for folder in ("one", "two", "three"):
        collected(course, tmp_path / folder)
        assert answered(course, "ada").endswith("70")
    assert any(THIRD in remark for remark in collect.remarks(course, "ada"))


def test_a_notebook_under_another_name_counts_and_is_named(course, tmp_path, full):
    names = ["02_unet (1).ipynb", "s7_02_unet.ipynb", "02_UNet.ipynb", "Copy of 02-unet.ipynb", "my net.ipynb"]
    names += ["02_unet.ipynb.txt", "02_unet.txt", "02_unet.json"]
    for i, name in enumerate(names):
        files = {f"my_workbook/{name}": full[SECOND], "my_workbook/own.ipynb": {"cells": []}}
        write_zip(tmp_path / "in" / f"s{i}.zip", files)
    for student, name in zip(collected(course, tmp_path / "in"), names, strict=True):
        assert submitted(course, student)[SECOND] == full[SECOND], name
        assert any(name in remark for remark in collect.remarks(course, student)), name


def test_a_notebook_without_ids_is_known_by_its_name_and_what_is_not_read_is_named(course, tmp_path, full):
    bare = {"cells": [{"cell_type": "code", "source": "x = 1"}], "nbformat": 4, "nbformat_minor": 2}
    files = {f"{FIRST}.ipynb": full[FIRST], "s7_02-UNet (1).ipynb": bare, "exploring.ipynb": bare}
    others = {"03_written_questions.html": b"<html>", f"._{FIRST}.ipynb": b"\0\5\x16\7"}  # the last is a Mac's
    write_zip(tmp_path / "in" / "ada.zip", files | others)
    collected(course, tmp_path / "in")
    assert [cell["source"] for cell in submitted(course, "ada")[SECOND]["cells"]] == [["x = 1"]]
    remarks = [remark.split(" ")[0] for remark in collect.remarks(course, "ada")]
    assert remarks == ["03_written_questions.html", SECOND, THIRD]


# --- whose, in a zip with many ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [blank, lambda: {name: worked(name) for name in GRADED}])
def test_of_a_whole_project_the_students_own_notebooks_count(course, tmp_path, full, others):
    top = "road_segmentation-main/"
    project = {f"{top}notebooks/{name}.ipynb": book for name, book in others().items()}
    project |= {f"{top}my_workbook/{name}.ipynb": book for name, book in full.items()}
    project |= {f"{top}my_workbook/report/hand_in.zip": zipped({f"{THIRD}.ipynb": answer(full, 70)[THIRD]})}
    for i, files in enumerate((project, dict(reversed(project.items())))):
        write_zip(tmp_path / "in" / f"s{i}.zip", files)
    assert collected(course, tmp_path / "in") == ["s0", "s1"]
    assert submitted(course, "s0") == submitted(course, "s1") == full


def test_worked_notebooks_are_no_answers(course, tmp_path, capsys):
    older = {name: worked(name) for name in GRADED}
    set_source(older[SECOND], "build_unet", "### BEGIN SOLUTION\nbuild_unet = older_unet\n### END SOLUTION\n")
    set_source(older[THIRD], "answer-1", "**Answer.** As an older version has it.")
    write_zip(tmp_path / "in" / "eve.zip", {f"notebooks/{name}.ipynb": book for name, book in older.items()})
    own = worked(THIRD)
    set_source(own, "answer-3", "steps_per_epoch = 70")
    write_zip(tmp_path / "in" / "bob.zip", {f"notebooks/{THIRD}.ipynb": own})
    assert command("collect", tmp_path / "in", "--course", course) == 1
    assert not (course / "submitted" / "eve").exists() and "notebooks/01" in outcomes(capsys)["eve"]
    assert answered(course, "bob").endswith("70")
    stored = submitted(course, "bob")[THIRD]
    assert workbook.TEXT_STUB in cell_of(stored, "answer-1")["source"]
    assert workbook.CODE_STUB in "".join(cell_of(stored, "answer-4")["source"])


def test_of_several_copies_the_newest_with_answers_counts(course, tmp_path, full):
    books = {"a": answer(full, 68), "b": answer(full, 70), "c": blank()}
    dates = {name: (2024 + i, 1, 1, 0, 0, 0) for i, name in enumerate(books)}
    files = {f"{name}/{THIRD}.ipynb": book[THIRD] for name, book in books.items()}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.zip").write_bytes(zipped(files, **dates))
    assert collected(course, tmp_path / "in") == ["a", "b", "c"]  # nothing tells that they are no students
    (tmp_path / "in" / "ada.zip").write_bytes(zipped({**files, f"{THIRD}.ipynb": b""}, **dates))
    assert "ada" in collected(course, tmp_path / "in") and answered(course, "ada").endswith("70")
    assert any(f"b/{THIRD}.ipynb" in remark for remark in collect.remarks(course, "ada"))


CLASSES = {
    "Moodle": ("Ada Lovelace_4711_assignsubmission_file_/", "Bob Ross_4712_assignsubmission_file_/hand_in.zip"),
    "Moodle, files": ("Ada Lovelace_4711_assignsubmission_file_", "Bob Ross_4712_assignsubmission_file_hand_in.zip"),
    "ILIAS": ("Exercise 1/Submissions/Lovelace_Ada_alove_4711/", "Exercise 1/Submissions/Ross_Bob_bross_4712/"),
    "ILIAS, zips": ("Submissions/Lovelace_Ada_alove_4711/hand_in.zip", "Submissions/Ross_Bob_bross_4712/1/x.zip"),
    "Canvas": ("lovelaceada_4711_60001_", "rossbob_LATE_4712_60002_hand_in.zip"),
    "Blackboard": ("A1_alove_attempt_2026-11-29-20-15-33_", "A1_bross_attempt_2026-11-30-20-15-33_hand_in.zip"),
    "Brightspace": ("4711-9 - Ada Lovelace - Nov 29, 2026 815 PM - ", "4712-9 - Bob Ross - Nov 30, 2026 1115 AM/x.zip"),
    "Sakai": (
        "Road/Lovelace, Ada(alove)/Submission attachment(s)/",
        "Road/Ross, Bob(bross)/Submission attachment(s)/x.zip",
    ),
    "by hand": ("class/ada/my_workbook/", "class/bob/notebooks/"),
    "zips": ("ada.zip", "bob.zip"),
}


@pytest.mark.parametrize("platform", CLASSES)
def test_a_class_in_one_zip_or_in_a_folder(course, tmp_path, full, platform):
    """From a zip without a roster, and from a folder with one."""
    folder, files = tmp_path / "folder", {}
    for value, place in zip((70, 71), CLASSES[platform]):
        book = answer(full, value)[THIRD]
        inside = zipped({f"my_workbook/{THIRD}.ipynb": book})
        files |= {place: inside} if place.endswith(".zip") else {f"{place}{THIRD}.ipynb": json.dumps(book).encode()}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    students = collected(course, write_zip(tmp_path / "zip" / "all of them.zip", files).parent)
    assert sorted(answered(course, student)[-2:] for student in students) == ["70", "71"]
    shutil.rmtree(course / "submitted")
    (course / "collected.json").unlink()
    logins = ("ada", "bob") if platform in ("by hand", "zips") else ("alove", "bross")
    roster = "id;name;login\ns1;Lovelace, Ada;{}\ns2;Bob Ross;{}\ns3;Eve;eve\n"
    (course / "roster.csv").write_text(roster.format(*logins))
    assert collected(course, folder) == ["s1", "s2"] and not_collected(course) == ["s3"]
    assert [answered(course, student)[-2:] for student in ("s1", "s2")] == ["70", "71"]
    hand_in(tmp_path / "late" / "eva.zip", full)
    assert "eva" in collected(course, tmp_path / "late") and collect.remarks(course, "eva")


def test_names_that_hold_a_word_such_as_old_are_names_and_a_macs_umlauts_are_read(course, tmp_path, full):
    names = ("Arnold", "Newman", "Ada Müller".encode().decode("cp437"))  # as zipfile reads UTF-8 without its mark
    books = {f"class/{name}/{THIRD}.ipynb": answer(full, 70 + i)[THIRD] for i, name in enumerate(names)}
    write_zip(tmp_path / "in" / "class.zip", {name: json.dumps(book).encode() for name, book in books.items()})
    assert collected(course, tmp_path / "in") == ["Ada_Muller", "Arnold", "Newman"]
    assert [answered(course, name)[-2:] for name in ("Arnold", "Newman", "Ada_Muller")] == ["70", "71", "72"]


BLACKBOARDS = ("A1_a_l_attempt_2026-11-29-20-15-33_x.zip", "A1_b_l_attempt_2026-11-29-20-15-33_x.zip")


def test_names_become_ids_in_ascii(course, tmp_path, full):
    names = ["s1.2", "s12", "Émile Zola", "a[b]*?", ".", "काम", "कीम", "学生七", "Ødegård", "4711"]
    for name in (*names, unicodedata.normalize("NFD", "Émile Zola"), "x/report", "y/report"):
        hand_in(tmp_path / "in" / f"{name}.zip", full)
    students = collected(course, tmp_path / "in")
    assert len(students) == len(names) + 2 and all(name.isascii() and "/" not in name for name in students)
    expected = {"s1.2", "s12", "Emile_Zola", "a_b", "unnamed_2e", "Odegard", "4711", "x-report", "y-report"}
    assert expected <= set(students)


def test_two_people_of_one_name_stay_two(course, tmp_path, full):
    for folder, keys in {"one": (4711,), "two": (4712,), "three": (4711, 4712)}.items():
        for key in keys:
            hand_in(tmp_path / folder / f"kimlee_{key}_{key}0_hand_in.zip", answer(full, key))
        collected(course, tmp_path / folder)
    assert answered(course, "kimlee").endswith("4711") and answered(course, "kimlee_4712").endswith("4712")


@pytest.mark.parametrize(
    ("files", "logins", "students"),
    [
        (("ada_2026_1129_final.zip", "bob_2026_1129_final.zip"), (), ("ada", "bob")),
        (BLACKBOARDS, (), ("l_A1_a_l", "l_A1_b_l")),
        (BLACKBOARDS, ("a_l", "b_l"), ("s0", "s1")),
        (("hand_in.zip", "hand_in (1).zip"), (), ("hand_in", "hand_in_1")),
        (("ada.zip", "ada (1).zip"), ("ada", "ada (1)"), ("s0", "s1")),
        (("ada.zip", "ada (1).zip"), (), ("ada",)),
    ],
)
def test_students_stay_apart_and_a_second_download_is_of_the_first(course, tmp_path, full, files, logins, students):
    rows = [f"s{i},{login}" for i, login in enumerate(logins)]
    (course / "roster.csv").write_text("\n".join(["id,login", *rows]))
    for value, name in zip((70, 71), files):
        hand_in(tmp_path / "in" / name, answer(full, value))
    assert collected(course, tmp_path / "in") == list(students)
    values = ["70", "71"] if len(students) == 2 else ["71"]
    assert [answered(course, student)[-2:] for student in students] == values
    assert len(students) == 2 or any(files[1] in remark for remark in collect.remarks(course, "ada"))


def test_no_name_writes_lines_of_its_own(course, tmp_path, capsys, full):
    write_zip(tmp_path / "in" / "ada.zip", {"02_unet\x1b[2J\nbob: new.ipynb": full[SECOND], f"{FIRST}\n.rar": b""})
    (tmp_path / "in" / "x\ny.pdf").touch()
    collected(course, tmp_path / "in")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and not {"bob", "y.pdf"}.intersection(printed.replace(":", "\n").splitlines())


@pytest.mark.parametrize("first", ["student7.zip", "student7_12345_67990_hand_in.zip"])
@pytest.mark.parametrize("together", [False, True])
def test_a_second_hand_in_is_of_the_same_student_and_the_newest_counts(course, tmp_path, full, first, together):
    second = "student7_LATE_12345_67999_hand_in-1.zip"
    for value, name, folder in ((68, first, "one"), (70, second, "one" if together else "two")):
        hand_in(tmp_path / folder / name, answer(full, value))
        assert collected(course, tmp_path / folder) == ["student7"]
    assert answered(course, "student7").endswith("70") and list((course / "earlier" / "student7").iterdir())
    assert collect.canvas_id(course, "student7") == "12345"
    before = (course / "submitted" / "student7" / ASSIGNMENT / "digest.txt").read_text()
    assert collected(course, tmp_path / "one") == ["student7"]
    if together or "67990" in first:  # nothing else tells which is older
        assert (course / "submitted" / "student7" / ASSIGNMENT / "digest.txt").read_text() == before


def test_of_zips_collected_one_after_the_other_the_newest_by_its_dates_counts(course, tmp_path, full):
    for day in (20, 10, 25):
        files = {f"{name}.ipynb": book for name, book in answer(full, day).items()}
        (tmp_path / str(day)).mkdir()
        (tmp_path / str(day) / "ada.zip").write_bytes(zipped(files, **{"0": (2026, 11, day, 8, 0, 0)}))
        collected(course, tmp_path / str(day))
        assert answered(course, "ada").endswith(str(max(day, 20)))


def test_the_time_of_handing_in_is_nbgraders_time_stamp(course, tmp_path, full, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    folder = tmp_path / "in"
    hand_in(folder / "A1_ada_attempt_2026-11-29-20-15-33_hand_in.zip", full)
    files = {f"{name}.ipynb": book for name, book in full.items()}
    (folder / "bob.zip").write_bytes(zipped(files, **{"0": (2026, 11, 30, 8, 0, 2)}))
    (folder / "eve.zip").write_bytes(zipped(files))  # a report's zip has no times
    nonsense = zipped(files, **{"0": (2026, 12, 1, 8, 0, 2)}).replace(b"\x81\x5d", b"\xa0\x5d")  # month 13
    (folder / "fay.zip").write_bytes(nonsense)
    collected(course, folder)
    stamps = [course / "submitted" / name / ASSIGNMENT / "timestamp.txt" for name in ("ada", "bob", "eve", "fay")]
    assert parse_utc(stamps[0].read_text()) == datetime(2026, 11, 29, 20, 15, 33)
    assert parse_utc(stamps[1].read_text()) == datetime(2026, 11, 30, 8, 0, 2) and not stamps[2].exists()
    assert b"\xa0\x5d" in nonsense and not stamps[3].exists()
    times = [collect.handed_in(course, name) for name in ("ada", "bob", "eve", "fay")]
    assert times == ["2026-11-29T20:15:33 (platform)", "2026-11-30T08:00:02 (zip)", "", ""]


def test_zips_of_one_name_belong_to_the_folders_in_which_they_differ(course, tmp_path, full):
    for value, place in ((68, "Ada/road/Version 1"), (70, "Ada/road/Version 2"), (71, "Bob/road/Version 1")):
        hand_in(tmp_path / "in" / "Submitted files" / place / "hand_in.zip", answer(full, value))
    assert collected(course, tmp_path / "in") == ["Ada-hand_in", "Bob-hand_in"]
    assert answered(course, "Ada-hand_in").endswith("70") and answered(course, "Bob-hand_in").endswith("71")
    assert any("Version 2" in remark for remark in collect.remarks(course, "Ada-hand_in"))


def test_nbgraders_exchange_can_be_collected_from(course, tmp_path, capsys, full):
    folder, outside = tmp_path / "inbound", loose(tmp_path / "worked" / f"{THIRD}.ipynb", answer(full, 1)[THIRD])
    for day, value in (("2026-11-30 08:00:02.5 UTC", 71), ("2026-11-29 09:00:00.0 UTC", 70)):
        loose(folder / f"ada-1+{ASSIGNMENT}+{day}+Zm9v" / f"{THIRD}.ipynb", answer(full, value)[THIRD])
        (folder / f"ada-1+{ASSIGNMENT}+{day}+Zm9v" / SECRET).write_text(f"secret {value}")
    place = loose(folder / f"bob+{ASSIGNMENT}+{day}+YmFy" / f"{SECOND}.ipynb", full[SECOND]).parent
    (place / f"{THIRD}.ipynb").symlink_to(outside)
    forged = folder / f"ada-1+{ASSIGNMENT}+2026-12-01 08:00:02.5 UTC+Zm9v"
    if os.geteuid() == 0:
        loose(forged / f"{THIRD}.ipynb", answer(full, 2)[THIRD])
        shutil.chown(forged, "nobody")
    assert collected(course, folder) == ["ada-1", "bob"]
    assert answered(course, "ada-1").endswith("71") and submitted(course, "bob")[THIRD] == blank()[THIRD]
    stamp = (course / "submitted" / "ada-1" / ASSIGNMENT / "timestamp.txt").read_text()
    assert parse_utc(stamp) == datetime(2026, 11, 30, 8, 0, 2)
    assert (forged.name in outcomes(capsys)["ada-1"]) == forged.exists()
    assert (course / "submitted" / "ada-1" / ASSIGNMENT / SECRET).read_text() == "secret 71"


@pytest.mark.skipif(sys.platform != "linux", reason="rights as Linux has them")
def test_a_folder_that_cannot_be_read_is_named_and_stops_no_other(course, tmp_path, capsys, full, monkeypatch):
    for name in ("ada", "bob"):
        loose(tmp_path / "in" / f"{name}+{ASSIGNMENT}+x" / f"{THIRD}.ipynb", full[THIRD])
    monkeypatch.setattr(os, "access", lambda path, mode: not path.name.startswith("bob"))  # root may read everything
    command("collect", tmp_path / "in", "--course", course)
    assert [path.name for path in (course / "submitted").iterdir()] == ["ada"] and "bob" in outcomes(capsys)["bob"]
    for name in (SECRET, "locked/notes.txt"):
        loose(tmp_path / "in" / f"ada+{ASSIGNMENT}+x" / name, {})
    stat, refuse = os.stat, Mock(side_effect=PermissionError)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    monkeypatch.setattr(os, "stat", lambda path, **how: refuse() if "locked/" in str(path) else stat(path, **how))
    command("collect", tmp_path / "in", "--course", course)
    assert outcomes(capsys)["ada"].startswith("as before")
    with pytest.raises(CourseError, match="nowhere"):
        command("collect", tmp_path / "nowhere", "--course", course)


def test_what_belongs_to_nobody_is_named(course, tmp_path, capsys, full):
    hand_in(tmp_path / "in" / "ada.zip", full)
    for name in ("late.rar", "bob/x.tar.gz", "notes.pdf"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    loose(tmp_path / "in" / f"{SECOND}.ipynb", full[SECOND])
    collected(course, tmp_path / "in")
    told = capsys.readouterr().out
    assert all(name in told for name in ("late.rar", "bob/x.tar.gz", "notes.pdf", f"{SECOND}.ipynb"))
    assert collect.remarks(course)[0] in told


def test_a_roster_as_excel_may_write_it(course, tmp_path, full):
    hand_in(tmp_path / "in" / "Ada Lovelace_4711_assignsubmission_file_" / "x.zip", full)
    (course / "roster.csv").write_text("sep=;\nid;Vorname;Nachname;E-Mail\ns1;Ada;Lovelace;a@b.org\n;;;;\n", "utf-8")
    assert collected(course, tmp_path / "in") == ["s1"] and not_collected(course) == []


def test_a_roster_that_is_none_is_named(course, tmp_path, full):
    hand_in(tmp_path / "in" / "ada.zip", full)
    for content in ("name\nAda\n", "id\nÄ b\n", "id,name\ns1,Ada\ns2,Eve\ns1,Bob\n"):
        (course / "roster.csv").write_text(content, "latin-1")
        with pytest.raises(CourseError, match=r"roster\.csv"):
            command("collect", tmp_path / "in", "--course", course)


def test_a_folder_named_after_another_student_takes_nobodys_work(course, tmp_path, full):
    (course / "roster.csv").write_text("id,login\nm1,ada\nm2,bob\nm3,schmidt\n")
    for value, name in enumerate(("schmidt/ada", "schmidt/Ada_4711_assignsubmission_file_", "schmidt/schmidt", "bob")):
        hand_in(tmp_path / "in" / f"{name}.zip", answer(full, value))
    hand_in(tmp_path / "in" / "ada_4711_assignsubmission_file_" / "bob.zip", answer(full, 9))  # Ada has named it
    assert collected(course, tmp_path / "in") == ["m1", "m2", "m3"]
    assert [answered(course, f"m{number}")[-1] for number in (1, 2, 3)] == list("932")
    assert collect.remarks(course)[0].count("m1, m3") == 2 * 3
    shutil.rmtree(course / "submitted" / "m1")
    hand_in(tmp_path / "alone" / "schmidt" / "ada.zip", full)
    with pytest.raises(CourseError, match="m1, m3"):
        collected(course, tmp_path / "alone")
    assert collected(course, tmp_path / "in") == ["m1", "m2", "m3"]


def test_a_roster_that_gives_other_ids_than_before_is_refused(course, tmp_path, full):
    hand_in(tmp_path / "in" / "ada.zip", full)
    collected(course, tmp_path / "in")
    (course / "roster.csv").write_text("id,login\nm1,ada\n")
    with pytest.raises(CourseError, match="m1"):
        command("collect", tmp_path / "in", "--course", course)


def test_a_lost_record_loses_no_notebook_and_a_damaged_one_is_named(course, tmp_path, full):
    hand_in(tmp_path / "one" / "ada.zip", answer(full, 70))
    write_zip(tmp_path / "two" / "ada.zip", {f"{SECOND}.ipynb": full[SECOND]})
    collected(course, tmp_path / "one")
    (course / collect.RECORD).unlink()
    collected(course, tmp_path / "two")
    assert answered(course, "ada").endswith("70")
    (course / collect.RECORD).write_text("{")
    with pytest.raises(CourseError, match=collect.RECORD):
        command("collect", tmp_path / "two", "--course", course)


def test_names_without_letters_are_of_different_students(course, tmp_path, full):
    for name in ("...", "\U0001f600"):
        hand_in(tmp_path / "in" / f"{name}.zip", full)
    assert len(collected(course, tmp_path / "in")) == 2


# --- zips that anybody may have made ------------------------------------------------------------------------------


def test_a_bad_zip_is_named_and_does_not_stop_the_others(course, tmp_path, capsys, full):
    folder = tmp_path / "in"
    whole = hand_in(folder / "zoe.zip", full).read_bytes()
    (folder / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.zip").write_bytes(b"")
    write_zip(folder / "other.zip", {"essay.txt": b"Roads."})
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF  # in the first notebook's content
    (folder / "flipped.zip").write_bytes(flipped)
    assert command("collect", folder, "--course", course) == 1
    found = outcomes(capsys)
    assert found.keys() >= {"cut", "empty", "other", "flipped", "zoe"}
    assert all(found[name].startswith(f"{name}.zip") for name in ("cut", "empty", "other"))
    assert found["flipped"].startswith("new; ") and FIRST in found["flipped"] and found["zoe"] == "new"
    assert sorted(path.name for path in (course / "submitted").iterdir()) == ["flipped", "zoe"]
    assert [remark.partition(":")[0] for remark in collect.not_in_submissions(course)] == ["cut", "empty", "other"]


def test_names_that_lead_outside_and_links_do_no_harm(course, tmp_path):
    link = zipfile.ZipInfo(f"notebooks/{FIRST}.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = write_zip(tmp_path / "in" / "eve.zip", {f"../../../{SECOND}.ipynb": blank()[SECOND], "/etc/x": b"x"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    before = {found for found in tmp_path.rglob("*") if "submitted" not in found.parts}
    collected(course, tmp_path / "in")
    after = {found for found in tmp_path.rglob("*") if "submitted" not in found.parts}
    assert after == {*before, course / "collected.json"}
    folder = course / "submitted" / "eve" / ASSIGNMENT
    assert {found.name for found in folder.iterdir()} >= {f"{name}.ipynb" for name in GRADED}
    assert submitted(course, "eve")[FIRST] == blank()[FIRST]


def test_what_is_too_large_is_not_read(course, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "LARGEST_NOTEBOOK", 2**20)
    path = write_zip(tmp_path / "in" / "ada.zip", {f"{FIRST}.ipynb": bytes(2**24), f"{SECOND}.ipynb": blank()[SECOND]})
    lying = path.read_bytes().replace((2**24).to_bytes(4, "little"), (2**19).to_bytes(4, "little"))
    for content in (path.read_bytes(), lying):  # one claims to be small
        path.write_bytes(content)
        collected(course, tmp_path / "in")
        assert [FIRST in remark for remark in collect.remarks(course, "ada")] == [True, True, False]
    monkeypatch.setattr(delivery, "LARGEST_ZIP", 100)
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "all.zip").write_bytes(zipped({"ada.zip": lying, "bob.zip": lying}))
    assert command("collect", tmp_path / "class", "--course", course) == 1


def test_a_folder_without_anything_is_named(course, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    for _ in range(2):
        with pytest.raises(CourseError, match="empty"):
            command("collect", folder, "--course", course)
        (folder / "a.txt").touch()


def test_what_jupyter_and_macs_keep_beside_loose_notebooks_is_left_out(course, tmp_path, full):
    for value, name in ((70, "ada"), (71, "bob")):
        loose(tmp_path / "in" / name / f"{THIRD}.ipynb", answer(full, value)[THIRD])
    loose(tmp_path / "in" / "ada" / ".ipynb_checkpoints" / f"{THIRD}-checkpoint.ipynb", answer(full, 1)[THIRD])
    loose(tmp_path / "in" / "ada" / f"._{THIRD}.ipynb", answer(full, 2)[THIRD])
    assert collected(course, tmp_path / "in") == ["ada", "bob"]
    assert collect.remarks(course, "ada") == [f"{FIRST} is missing", f"{SECOND} is missing"]


def test_a_member_without_a_name_stops_nobody(course, tmp_path, full):
    files = {f"{name}.ipynb": json.dumps(book).encode() for name, book in full.items()}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ada.zip").write_bytes(zipped({"QQQQ": b"x", **files}).replace(b"QQQQ", b"\0QQQ"))
    assert collected(course, tmp_path / "in") == ["ada"] and collect.remarks(course, "ada") == []
