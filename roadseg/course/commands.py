"""The teacher's commands: `python -m roadseg teach setup | collect | grade | open | feedback | points`.

They print what `teach_course` does, a line a student. A copy that was handed out to a class lacks them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import roadseg
from roadseg.course.course import (
    ARCHIVE,
    SECONDS,
    TO_FINISH,
    CourseError,
    Points,
    collect,
    environment,
    feedback,
    grade,
    lend,
    points,
    set_up,
    setup,
    to_grade,
    write_points,
)
from roadseg.errors import OptionError, RoadsegError

TEXT = "for teachers: set up a course, collect, grade, give feedback"


def add_commands(commands) -> None:
    """Add `teach` and its steps to the command line."""
    steps = commands.add_parser("teach", help=TEXT, description=TEXT).add_subparsers(metavar="STEP", required=True)
    step = _add(steps, "setup", _setup, "make or renew the course folder, and the archive to hand out")
    step.add_argument("course", nargs="?", type=Path, metavar="COURSE", help="folder (default: course)")
    step = _add(steps, "collect", _collect, "take over zips that were handed in")
    step.add_argument("folder", type=Path, metavar="FOLDER", help="folder that holds the zips, at any depth")
    _add_course(step)
    step = _add(steps, "grade", _grade, "grade code, numbers and choices of all that is new or has changed")
    step.add_argument("students", nargs="*", metavar="STUDENT", help="grade only these, if need be again")
    help_text = f"for a submission (default {SECONDS}); what has not run by then is left to you"
    step.add_argument("--seconds", type=int, metavar="N", default=SECONDS, help=help_text)
    step.add_argument("--jobs", type=int, metavar="N", default=1, help="submissions at a time, two cores each (1)")
    _add_course(step)
    step = _add(steps, "open", _open, "open nbgrader's formgrader, to grade texts below their rubrics")
    _add_course(step)
    step.add_argument("--lab", nargs=argparse.REMAINDER, default=[], metavar="OPTION", help="options for JupyterLab")
    _add_course(_add(steps, "feedback", _feedback, "make a page of feedback for each student and notebook"))
    _add_course(_add(steps, "points", _points, "write a table of all points"))


def _add(steps, name: str, run: Callable[[Namespace], int], text: str) -> ArgumentParser:
    added = steps.add_parser(name, help=text, description=text)
    added.set_defaults(command=run)
    return added


def _add_course(step: ArgumentParser) -> None:
    step.add_argument("--course", type=Path, metavar="COURSE", help="folder of the course (default: course)")


def _folder(options: Namespace) -> Path:
    return (options.course or roadseg.kitti.project_root() / "course").absolute()


def _setup(options: Namespace) -> int:
    course = _folder(options)
    setup(course)
    print(f"Hand out {course / ARCHIVE}. Then, with --course {course.name} where that is not course:")
    print("  python -m roadseg teach collect FOLDER    takes over the zips that were handed in")
    print("  python -m roadseg teach grade             grades code, numbers and choices")
    print("  python -m roadseg teach open              opens the formgrader: texts, each below its rubric")
    print("  python -m roadseg teach feedback          makes a page for each student and notebook")
    print("  python -m roadseg teach points            writes the table of points")
    return 0


def _collect(options: Namespace) -> int:
    """Print a line a zip; 1 where one could not be read."""
    outcomes = collect(options.folder, _folder(options))
    for student, outcome in outcomes.items():
        print(f"{student}: {outcome}")
    return int(any(isinstance(outcome, RoadsegError) for outcome in outcomes.values()))


def _grade(options: Namespace) -> int:
    """Print a line a submission, and one for each remark; 1 where one could not be graded."""
    if options.jobs < 1 or options.seconds <= TO_FINISH:
        found = f"--jobs {options.jobs} --seconds {options.seconds}"
        raise OptionError(f"{found}: expected at least 1, and over {TO_FINISH}.")
    course = _folder(options)
    students = to_grade(course, options.students)
    lend(course)
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = pool.map(partial(_graded, course=course, seconds=options.seconds), students)
        for student, (lines, seconds) in zip(students, outcomes):
            lines[0] += f" ({seconds:.0f} s)"
            print(f"{student}: " + "\n  ".join(lines), flush=True)
    waiting = to_grade(course, [])
    print(f"Not graded yet: {', '.join(waiting)}." if waiting else "All submissions are graded as they were handed in.")
    return int(not set(students).isdisjoint(waiting))


def _graded(student: str, *, course: Path, seconds: float) -> tuple[list[str], float]:
    """What to say of a submission that has just been graded, or could not be, and the seconds that took."""
    started = time.monotonic()
    try:
        remarks = grade(student, course, seconds=seconds)
        lines = [_summary(points(course)[student]), *remarks]
    except CourseError as error:
        lines = [f"not graded: {error}"]
    return lines, time.monotonic() - started


def _summary(given: list[Points]) -> str:
    graded = [entry for entry in given if entry.points is not None]
    text = f"{sum(entry.points for entry in graded):g} of {sum(entry.item.points for entry in graded)} points"
    return f"{text}, {len(given) - len(graded)} answers to grade by hand" if len(graded) < len(given) else text


def _open(options: Namespace) -> int:
    """Run JupyterLab in the course folder, with its own options, until it is stopped."""
    course = _folder(options)
    set_up(course)
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0  # the only user of many containers; Jupyter wants to be told
    lab = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", "--LabApp.default_url=/formgrader"]
    return subprocess.call([*lab, *["--allow-root"] * as_root, *options.lab], cwd=course, env=environment())


def _feedback(options: Namespace) -> int:
    course = _folder(options)
    print(f"The pages are in {feedback(course)}.")
    _say_what_is_open(course)
    return 0


def _points(options: Namespace) -> int:
    course = _folder(options)
    print(f"The table is {write_points(course)}.")
    _say_what_is_open(course)
    return 0


def _say_what_is_open(course: Path) -> None:
    """Print who has answers that nobody has graded yet."""
    given = points(course).items()
    if waiting := [student for student, entries in given if any(entry.points is None for entry in entries)]:
        print(f"Still to grade by hand (python -m roadseg teach open): {', '.join(waiting)}.")
