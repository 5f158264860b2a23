"""Take over what students have handed in: from all that they delivered, the notebooks that count.

A notebook is known by its answers, else by its name, so that one under another name counts, too. What the reader made
of it is stored, so that all that follows sees the same. What was not taken over is named, and kept in `collected.json`.
"""

import json
import shutil
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath

from roadseg import workbook
from roadseg.course.delivery import DAMAGED, LARGEST_ZIP, NOTEBOOK, File, find_owners, notebook_named
from roadseg.course.roster import Owner, name_students, read_roster
from roadseg.course.workflow import ASSIGNMENT, NOTEBOOKS, SECRET, CourseError, require_course
from roadseg.errors import RoadsegError, printable
from roadseg.storage import atomic_write
from roadseg.workbook.copies import SOLUTION
from roadseg.workbook.files import (
    CODE_STUB,
    TEXT_STUB,
    NotebookError,
    handed_out,
    is_blank,
    notebook_bytes,
    parse_notebook,
    read_notebook,
    source_of,
)

LARGEST_NOTEBOOK = 100 * 2**20  # bytes unpacked; an endless loop may have printed many of them
RECORD = "collected.json"
ARCHIVES = (".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")
SILENT = {".txt", ".html", ".csv", ""}  # of files that platforms add; all others that are not taken over are named
WORKED_TEXT = "**Answer.**"  # how texts of the worked notebooks begin
ITEMS = {item.id: item for item in workbook.ITEMS}


class SubmissionError(RoadsegError):
    """What a student handed in cannot be read, or holds none of the notebooks."""


@dataclass(frozen=True)
class Copy:
    """A notebook as a student has handed it in.

    answered : whether it holds an answer. order : of handing in, as Owner has time and number.
    """

    notebook: dict
    file: File
    answered: bool
    order: tuple[str, int]

    def rank(self, name: str) -> tuple:
        """The copy with the highest one counts."""
        path = PurePosixPath(self.file.place)
        exact, own = path.name == f"{name}.ipynb", "my_workbook" in path.parts
        depth, last = -len(path.parts), self.file.path  # "Version 2" is later
        return self.answered, self.order, exact, own, self.file.date, depth, last


def collect_submissions(folder: Path, course: Path) -> dict[str, str | SubmissionError]:
    """Copy the notebooks that were handed in into the course; return what came of them, by student.

    The newest count. What was collected before is kept in `earlier`, and stays where nothing newer can be read.

    Raises
    ------
    CourseError : no student has handed anything in, the course has not been set up, or its roster is wrong.
    """
    require_course(course)
    roster, record = read_roster(course), _read_record(course)
    owners = find_owners(folder, roster)
    if not any(owners.values()):
        found = ", ".join(sorted({file.problem or file.name for file in owners})[:5]) or "nothing"
        raise CourseError(
            f"{folder} holds {found}, nothing with a name: expected zips or folders named after students."
        )
    stored = [student for student in record["students"] if (course / "submitted" / student).is_dir()]
    known = {person: student for student in stored for person in record["students"][student]["persons"]}
    students = name_students(filter(None, owners.values()), roster, known)
    files: dict[str, dict[File, Owner]] = {student: {} for student in sorted(set(students.values()))}
    for file, owner in owners.items():
        if owner:
            files[students[owner.person]][file] = owner
    outcomes: dict[str, str | SubmissionError] = {}
    for student, own in files.items():
        kept = record["students"].setdefault(student, {"persons": [], "orders": {}})
        kept["persons"] = sorted({*kept["persons"], *(owner.person for owner in own.values())})
        try:
            state, found = _take_over(own, student, course, kept["orders"])
            kept["remarks"] = list(map(printable, found))
            kept["remarks"] += ["not in the roster"] * (bool(roster) and student not in roster.values())
            outcomes[student] = "; ".join([state, *kept["remarks"]])
        except SubmissionError as error:
            outcomes[student], kept["remarks"] = error, [str(error)]
    record["others"][str(folder)] = [
        printable(file.problem or "/".join((file.path.relative_to(folder).as_posix(), *file.parts)))
        for file, owner in owners.items()
        if not owner and PurePosixPath(file.name).suffix.lower() not in SILENT
    ]
    with atomic_write(course / RECORD) as file:
        file.write(json.dumps(record, indent=1, ensure_ascii=False).encode(errors="replace"))
    return outcomes


def remarks(course: Path, student: str = "") -> list[str]:
    """What was missing, damaged or not taken over of a student's files when they were collected.

    Without a student: the files that belong to nobody, a remark for each folder.
    """
    record = _read_record(course)
    if student:
        return record["students"].get(student, {}).get("remarks", [])
    return [f"not taken over from {folder}: {', '.join(names)}" for folder, names in record["others"].items() if names]


def not_in_submissions(course: Path) -> list[str]:
    """What no submission holds: files that belong to nobody, and students of whose files none could be read."""
    students = _read_record(course)["students"]
    unread = [student for student in students if not (course / "submitted" / student).is_dir()]
    return [f"{student}: {remark}" for student in unread for remark in remarks(course, student)] + remarks(course)


def handed_in(course: Path, student: str) -> str:
    """When a student has handed in, ISO 8601, and who says so: the platform, or the zip, whose dates its student may
    set. Empty where neither does."""
    orders = _read_record(course)["students"].get(student, {}).get("orders", {}).values()
    platform, _, time = max(orders, key=lambda order: order[-1], default=("", 0, ""))
    return f"{time} ({'platform' if platform else 'zip'})" if time else ""


def canvas_id(course: Path, student: str) -> str:
    """Canvas's number for a student, by which it imports points; empty where it has not delivered their files."""
    persons = _read_record(course)["students"].get(student, {}).get("persons", [])
    return next((person.split()[1] for person in persons if person.startswith("canvas ")), "")


def _read_record(course: Path) -> dict:
    """What is known of all students; `orders` has the order and the time of the copies that count, by notebook."""
    try:
        return json.loads((course / RECORD).read_bytes())
    except FileNotFoundError:
        return {"students": {}, "others": {}}
    except ValueError as error:
        raise CourseError(f"{course / RECORD} is damaged: delete it, and collect everything again.") from error


def _take_over(own: dict[File, Owner], student: str, course: Path, orders: dict) -> tuple[str, list[str]]:
    """Store the notebooks that count; return "new", "changed" or "as before", and remarks. Updates `orders`."""
    copies, remarks = read_copies(own)
    if not any(copies.values()):
        found = "; ".join(remarks) or ", ".join(dict.fromkeys(file.path.name for file in own))
        raise SubmissionError(f"{found}: holds no readable notebook of the assignment; ask for it again.")
    if any(owner.late for owner in own.values()):
        remarks.append("handed in late, as the platform says")
    stored, folder = {}, course / "submitted" / student / ASSIGNMENT
    for name in NOTEBOOKS:
        before = folder / f"{name}.ipynb"
        new = max(copies[name], key=lambda copy: copy.rank(name), default=None)
        try:
            old = read_notebook(before) if before.is_file() else None
        except NotebookError:
            old = None
            remarks.append(f"{name} was damaged where it had been collected")
            (folder / "digest.txt").unlink(missing_ok=True)  # so that it is stored anew
        order = orders.get(name, ["", 0, ""] if old and _is_answered(old) else None)  # the record may be lost
        if old and order and (new is None or _is_older(new, old, order)):
            remarks.append(f"{name} is {'older than' if new else 'missing:'} what was collected before, which counts")
            stored[name] = before.read_bytes()
        elif new is None:
            remarks.append(f"{name} is missing")
            stored[name] = (course / "release" / ASSIGNMENT / f"{name}.ipynb").read_bytes()
            orders.pop(name, None)
        else:
            if len(answered := [copy for copy in copies[name] if copy.answered]) > 1:
                place = "/".join((*new.file.path.parts[-2:], *new.file.parts))
                remarks.append(f"{name} is there {len(answered)} times: {place} counts")
            elif new.file.name != f"{name}.ipynb":
                remarks.append(f"{name} is taken from {new.file.place}")
            stored[name], orders[name] = notebook_bytes(new.notebook), [*new.order, new.order[0] or new.file.date]
    time = max((order[-1] for order in orders.values()), default="")
    state = _store(stored, folder, course / "earlier" / student, time)
    _keep_secret(own, folder)
    return state, remarks


def _keep_secret(own: dict[File, Owner], folder: Path) -> None:
    """Keep the secret of the newest hand-in, if that came from nbgrader's exchange."""
    times = {file: owner.time for file, owner in own.items() if not file.problem}
    secrets = {time: file.path for file, time in times.items() if file.name == SECRET and not file.members}
    (folder / SECRET).unlink(missing_ok=True)
    if secret := secrets.get(max(times.values())):
        with suppress(OSError):  # its student may have locked it
            shutil.copyfile(secret, folder / SECRET)


def _is_older(new: Copy, before: dict, order: list) -> bool:
    """Whether a copy counts less than the one that was collected before. Where nothing tells, it is newer."""
    if _is_answered(before) != new.answered:
        return not new.answered
    ranks = zip([*new.order, new.order[0] or new.file.date], order)
    both = [(now, then) for now, then in ranks if now and then and now != then]
    return bool(both) and both[0][0] < both[0][1]


def _store(notebooks: dict[str, bytes], folder: Path, earlier: Path, time: str) -> str:
    """Write a student's notebooks, the time for nbgrader's late days, and a digest, by which grading sees a change."""
    digest = sha256(b"".join([time.encode(), *notebooks.values()])).hexdigest()
    if (folder / "digest.txt").is_file() and (folder / "digest.txt").read_text() == digest:
        return "as before"
    state = "new"
    if folder.is_dir():
        state = "changed"
        shutil.copytree(folder, earlier / f"{datetime.now():%Y-%m-%d_%H-%M-%S.%f}")
    folder.mkdir(parents=True, exist_ok=True)
    content = {f"{name}.ipynb": notebook for name, notebook in notebooks.items()}
    (folder / "timestamp.txt").unlink(missing_ok=True)
    if time:
        content["timestamp.txt"] = f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC".encode()
    for name, written in {**content, "digest.txt": digest.encode()}.items():
        with atomic_write(folder / name) as file:
            file.write(written)
    return state


# --- what a student's files hold --------------------------------------------------------------------------------------


def read_copies(own: dict[File, Owner]) -> tuple[dict[str, list[Copy]], list[str]]:
    """All readable copies of each notebook of the assignment in a student's files, and remarks about other files."""
    copies: dict[str, list[Copy]] = {name: [] for name in NOTEBOOKS}
    remarks, left = [file.problem for file in own if file.problem], LARGEST_ZIP
    exact = {f"{name}.ipynb" for name in NOTEBOOKS}
    for file in sorted(own, key=lambda file: file.name not in exact):
        about, lower = notebook_named(file.name), file.name.lower()
        left_out = f"{file.place} is not taken over: only notebooks and zips are"
        if file.problem or not (about or ".ipynb" in lower):
            remarks += [left_out] * (lower.endswith(ARCHIVES) and not file.problem)
            continue
        limit = min(LARGEST_NOTEBOOK, left)
        if file.size > limit:
            limits = f"a notebook may have {LARGEST_NOTEBOOK >> 20} MiB, a student's files {LARGEST_ZIP >> 20} MiB"
            remarks.append(f"{file.place} is not read: {limits}")
            continue
        try:
            with ExitStack() as stack:
                content = file.open(stack).read(limit)  # no more, whatever size the zip claims
            notebook = parse_notebook(content, file.place)
        except NotebookError as error:
            remarks.append(str(error) if NOTEBOOK.search(lower) else left_out)
            continue
        except DAMAGED as error:
            remarks.append(f"{file.place} is damaged or encrypted ({error})")
            continue
        left -= len(content)
        answers = Counter(ITEMS[cell["id"]].notebook for cell in notebook["cells"] if cell["id"] in ITEMS)
        name = answers.most_common(1)[0][0] if answers else about
        if name is None:
            continue
        if worked := _leave_out_worked_answers(notebook):
            remarks.append(f"{file.place} is the worked notebook, of which {', '.join(worked)} do not count")
        answered, owner = _is_answered(notebook), own[file]
        if answered or not worked:
            copies[name].append(Copy(notebook, file, answered, (owner.time, owner.number)))
    return copies, remarks


def _is_answered(notebook: dict) -> bool:
    original = handed_out(notebook)
    return any(cell["id"] in ITEMS and not is_blank(cell, original) for cell in notebook["cells"])


def _leave_out_worked_answers(notebook: dict) -> list[str]:
    """Make the solutions of a worked notebook blank in a copy of it, of whatever version; return the answers' ids."""
    answers = [cell for cell in notebook["cells"] if cell["id"] in ITEMS]
    if not any(SOLUTION.search(source_of(cell)) for cell in answers):
        return []
    worked = [cell for cell in answers if SOLUTION.search(source_of(cell)) or source_of(cell).startswith(WORKED_TEXT)]
    for cell in worked:
        code = SOLUTION.sub(rf"\1{CODE_STUB}", source_of(cell))
        cell["source"] = (code if cell["cell_type"] == "code" else TEXT_STUB).splitlines(keepends=True)
    return [cell["id"] for cell in worked]
