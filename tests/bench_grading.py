"""How long grading takes: made-up submissions by one worker and by two, then simulated ones by up to 64.

    python tests/bench_grading.py                      # 60 submissions, about 20 minutes on two idle cores
    python tests/bench_grading.py --submissions 20
    python tests/bench_grading.py --submissions 0 --seconds 10    # simulated ones alone

A fifth each is right, wrong, blank, endless and damaged. Simulated workers sleep as long as a submission
took, and all is recorded as it is in a course: this shows from how many workers on the one recorder is the limit.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import psutil
from conftest import write_roads
from distributed import Client
from handed_in import NOTHING_RIGHT, blank, command, hand_in, perfect, set_source

from roadseg.course import workers, workflow

LIMIT = 15.0  # seconds for an answer


def submission(number: int) -> dict[str, dict]:
    """One of five kinds; the damaged one is a right one until it has been collected."""
    books = blank() if number % 5 == 2 else perfect()
    if number % 5 == 1:
        set_source(books["02_unet"], "build_unet", "def build_unet(input_shape=(256, 256, 3)):\n    return None")
        set_source(books["03_written_questions"], "answer-3", "steps_per_epoch = 70")
    if number % 5 == 3:
        set_source(books["01_simple_model"], "train_step", "def train_step(*a, **b):\n    while True:\n        pass")
    return books


def make_course(folder: Path, count: int) -> list[str]:
    """A course in a folder with so many submissions; their names."""
    for name, part in (("HOME", ""), ("CACHE", "cache"), ("RUNS", "runs"), ("DATA", "roads")):
        os.environ[f"ROADSEG_{name}"] = str(folder / part)
    write_roads(folder / "roads")
    command("setup", folder / "course")
    students = [f"student{i:03}" for i in range(count)]
    for i, student in enumerate(students):
        hand_in(folder / "in" / f"{student}.zip", submission(i))
    command("collect", folder / "in", "--course", folder / "course")
    for student in students[4::5]:
        (folder / "course/submitted" / student / workflow.ASSIGNMENT / "02_unet.ipynb").write_text('{"cells": [')
    return students


def processor_seconds() -> float:
    """Of this process, and of those that it has started and that have ended."""
    return sum(psutil.Process().cpu_times()[:4])


def measure(kind: str, students: list[str], course: Path, client, **options) -> dict:
    """Grade and record these students: seconds in all, for each, and of a processor to record each."""
    started, before = time.perf_counter(), processor_seconds()
    done = [student for student, _ in workflow.grade_submissions(students, course, client, seconds=LIMIT, **options)]
    took, count = time.perf_counter() - started, len(done)
    recorder = (processor_seconds() - before) / count
    assert sorted(done) == students
    found = {"kind": kind, "workers": sum(client.nthreads().values()), "submissions": count, "seconds": took}
    found |= {"each": took / count, "recorder": recorder}
    print("  ".join(f"{name} {value:.4g}" if name != "kind" else value for name, value in found.items()), end="  ")
    print("load", *map(round, os.getloadavg()), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--simulated", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, help="of a simulated submission (default: measured)")
    options = parser.parse_args()
    numbers = {count: min(96, max(6, 2 * count)) for count in options.simulated}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        course, seconds = Path(name) / "course", options.seconds
        students = make_course(Path(name), max([options.submissions, *numbers.values()]))
        for count in options.workers if options.submissions else []:
            with workers.connect(count=count) as client:
                workers.everywhere(client, workflow.get_ready)
                found = measure("graded", students[: options.submissions], course, client)
            seconds = seconds or found["each"] * count

        def sleep(*_) -> dict:
            time.sleep(seconds)
            return NOTHING_RIGHT

        for count, number in numbers.items():
            with Client(n_workers=1, threads_per_worker=count, dashboard_address="127.0.0.1:0") as client:
                measure("simulated", students[:number], course, client, judge=sleep)


if __name__ == "__main__":
    main()
