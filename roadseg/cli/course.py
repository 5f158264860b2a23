"""Set up a course, collect, grade, give feedback (for teachers).

example:
  python -m roadseg course setup
"""

import argparse
import math
import os
import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC
from pathlib import Path

import roadseg
from roadseg.cli.start import open_jupyterlab
from roadseg.course import workflow
from roadseg.errors import OptionError, interruptible, quoted
from roadseg.storage import project_root
from roadseg.workbook import questions


def add_options(parser: ArgumentParser) -> None:
    """Add the steps, each with its own options."""
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    added = {}
    for name, step in STEPS.items():
        text = (step.__doc__ or "").strip()
        added[name] = steps.add_parser(name, help=text.rstrip("."), description=text)
        if name != "setup":
            added[name].add_argument("--course", type=Path, metavar="COURSE", help="its folder (default: course)")
    added["setup"].add_argument("course", nargs="?", type=Path, metavar="COURSE", help="folder (default: course)")
    text = 'when submissions are due: "2027-03-01 23:59" here, or with a zone such as Europe/Berlin; see '
    text += "LateDays in nbgrader_config.py"
    added["setup"].add_argument("--due", metavar="TIME", help=text)
    added["collect"].add_argument("folder", type=Path, metavar="FOLDER", help="folder with the zips, at any depth")
    for name in ("open", "review"):
        added[name].add_argument("--lab", nargs=argparse.REMAINDER, default=[], metavar="OPTION", help="for JupyterLab")
    text = "the question to read, such as 7 or task-3 (default: the first that has answers to read)"
    added["review"].add_argument("--question", metavar="N", help=text)
    added["review"].add_argument("--no-open", action="store_true", help="only write the notebook")
    grading = added["grade"]
    grading.add_argument("students", nargs="*", metavar="STUDENT", help="only these, even if they have been graded")
    grading.add_argument("--all", action="store_true", help="everybody, even if they have been graded")
    grading.add_argument(
        "--item", action="append", default=[], metavar="NAME", help="grade only this item again; may be repeated"
    )
    text = "processes that grade on this machine, two cores each (default 1)"
    grading.add_argument("--workers", type=int, metavar="N", default=1, help=text)
    text = "of a Dask scheduler, whose workers grade instead, on any machines: tcp://HOST:8786"
    grading.add_argument("--scheduler", metavar="ADDRESS", help=text)
    text = "seconds that an answer may take (default: measured with the reference answers)"
    grading.add_argument("--seconds", type=float, metavar="N", help=text)


def run(options: Namespace) -> int:
    """Run the step that was named."""
    return STEPS[options.step]((options.course or project_root() / "course").absolute(), options)


def setup(course: Path, options: Namespace) -> int:
    """Make or renew the course folder, and the archive to hand out."""
    for line in workflow.set_up_course(course):
        print(line)
    if options.due:
        due = workflow.set_due_date(course, options.due)
        print(f"Due {due:%Y-%m-%d %H:%M %Z}, which is {due.astimezone(UTC):%Y-%m-%d %H:%M} UTC.")
    print(f"Hand out {course / workflow.ARCHIVE}. The next steps:")
    flag = f" --course {quoted(options.course)}" if options.course else ""
    for name, step in list(STEPS.items())[1:]:
        usage = f"{name} FOLDER" if name == "collect" else name
        print(f"  python -m roadseg course {usage:15}{flag} {step.__doc__}")
    return 0


def collect(course: Path, options: Namespace) -> int:
    """Copy the notebooks out of the zips that were handed in."""
    from roadseg.course.collect import SubmissionError, collect_submissions, handed_in, remarks
    from roadseg.course.roster import not_collected
    from roadseg.kitti import a_few

    outcomes = collect_submissions(options.folder, course)
    for student, outcome in outcomes.items():
        print(f"{student}: {outcome}")
    for remark in remarks(course):
        print(f"Look again: {remark}")
    times = {student: handed_in(course, student) for student in outcomes}
    if of_zips := [student for student, time in times.items() if time.endswith("(zip)")]:
        print(f"The platform gives no time, so the dates in the zips count as the time of handing in: {a_few(of_zips)}")
    if never := [student for student, time in times.items() if not time]:
        print(f"Nothing tells when they handed in, so they are never late: {', '.join(never)}")
    if absent := not_collected(course):
        print(f"Nothing from: {', '.join(absent)}")
    return int(any(isinstance(outcome, SubmissionError) for outcome in outcomes.values()))


def grade(course: Path, options: Namespace) -> int:
    """Grade code, numbers and choices of everything new or changed."""
    if options.workers < 1 or (options.seconds is not None and not 0 < options.seconds < math.inf):
        raise OptionError(
            f"--workers {options.workers} --seconds {options.seconds}: expected at least 1 worker and some seconds."
        )
    only = frozenset(questions.item(name).id for name in options.item)
    students = workflow.students_to_grade(course, options.students, everybody=options.all or bool(only))
    failed = []
    if students:
        kept = "what was recorded stays; the same command grades the rest."
        with interruptible(kept), workflow.one_grader(course):
            failed = _grade(students, course, options, only)
    _print_left_out(course)
    ungraded = workflow.students_to_grade(course, [])
    print(f"Not graded yet: {', '.join(ungraded)}." if ungraded else "All submissions are graded.")
    if stale := [student for student in failed if student not in ungraded]:
        print(f"Not graded again, and as before: {', '.join(stale)}.")
    return int(bool(failed) or not set(students).isdisjoint(ungraded))


def _grade(students: list[str], course: Path, options: Namespace, only: frozenset[str]) -> list[str]:
    """Let workers grade these students, and print a line for each; return those whose grading failed."""
    from tqdm import tqdm

    from roadseg.course import collect, sandbox, workers

    with workers.connect(options.scheduler, count=options.workers) as client:
        if page := workers.dashboard(client):
            print(f"Dask's dashboard: {page}")
        roadseg.load(log=print)  # where scenes have to be rendered, this says so
        weakest = max(workers.everywhere(client, workflow.get_ready), key=list(sandbox.WALLS).index)
        print(f"Student code runs behind {sandbox.WALLS[weakest]}.")
        seconds = options.seconds or workflow.seconds_for_an_answer(course, client)
        print(f"An answer may take {seconds:.0f} s.", flush=True)
        done = workflow.grade_submissions(students, course, client, seconds=seconds, only=only)
        failed = []
        for student, remarks in tqdm(done, "Graded", len(students), disable=None, smoothing=0, unit=""):
            failed += [student] * any(remark.startswith(workflow.FAILED) for remark in remarks)
            points = _summary(workflow.read_points(course, student).get(student, {}))
            lines = [f"{student}: {points}", *collect.remarks(course, student), *remarks]
            tqdm.write("\n  ".join(lines), file=sys.stdout)
            sys.stdout.flush()
        return failed


def _summary(points: dict) -> str:
    """The points of a submission in one line, and how many answers are ungraded."""
    graded = {item: value for item, value in points.items() if value is not None}
    text = f"{sum(graded.values()):g} of {sum(item.points for item in graded)} points"
    ungraded = len(points) - len(graded)
    return f"{text}, {ungraded} answer{'s' * (ungraded > 1)} to grade by hand" if ungraded else text


def open_formgrader(course: Path, options: Namespace) -> int:
    """Open nbgrader's formgrader, to grade texts below their rubrics."""
    workflow.require_course(course)
    return _open_jupyterlab("/formgrader", course, options.lab)


def _open_jupyterlab(page: str, course: Path, options: list[str]) -> int:
    """Open JupyterLab in the course folder, at that page."""
    os.chdir(course)
    return open_jupyterlab(f"--LabApp.default_url={page}", *options, environment=workflow.nbgrader_environment())


def open_review(course: Path, options: Namespace) -> int:
    """Read and mark texts, all students' answers to a question after another, alike ones together."""
    workflow.require_course(course)  # which says what is missing, before its packages are imported
    from roadseg.course import reading, review_panel

    question = questions.text_item(options.question).id if options.question else None
    waiting = reading.open_answers(course)
    workflow.back_up_gradebook(course)
    notebook = review_panel.write_review(course, question)
    print(f"Answers that wait for a mark: {sum(waiting.values())}. They are read in {notebook}.", flush=True)
    return 0 if options.no_open else _open_jupyterlab(f"/doc/tree/{notebook.name}", course, options.lab)


def stats(course: Path, options: Namespace) -> int:
    """Write a page of statistics: what the class did not understand."""
    workflow.require_course(course)
    from roadseg.course.stats import write_stats

    print(f"The page is {write_stats(course)}.")
    return 0


def feedback(course: Path, options: Namespace) -> int:
    """Make a page of feedback for each student."""
    pages = workflow.make_feedback(course)
    print(f"The pages are in {course / 'feedback'}; new: {len(pages)}.")
    _print_ungraded(course)
    return 0


def points(course: Path, options: Namespace) -> int:
    """Write a table of all points."""
    from roadseg.course.collect import remarks

    print(f"The table is {workflow.write_points(course)}.")
    for student in workflow.read_points(course):
        for remark in remarks(course, student):
            print(f"{student}: {remark}")
    _print_left_out(course)
    _print_ungraded(course)
    return 0


def _print_left_out(course: Path) -> None:
    """Print what has been handed in and is not graded."""
    from roadseg.course.collect import not_in_submissions

    for remark in not_in_submissions(course):
        print(f"Look again: {remark}")


def _print_ungraded(course: Path) -> None:
    """Print who has answers that are still to be graded by hand."""
    if students := [student for student, given in workflow.read_points(course).items() if None in given.values()]:
        print(f"Still to grade by hand (python -m roadseg course review, or open): {', '.join(students)}.")


STEPS = {
    "setup": setup,
    "collect": collect,
    "grade": grade,
    "open": open_formgrader,
    "review": open_review,
    "feedback": feedback,
    "points": points,
    "stats": stats,
}
