"""Grading by Dask's workers: killed, interrupted, of other versions, not there; two graders, a full disk."""

import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from handed_in import NOTHING_RIGHT, blank, command, hand_in, make_course, set_own_jupyter

from roadseg.course import workers, workflow
from roadseg.course.workers import WorkerError
from roadseg.course.workflow import ASSIGNMENT, CourseError, RecordError

pytest.importorskip("nbgrader")
LocalCluster = pytest.importorskip("distributed").LocalCluster
resource = pytest.importorskip("resource")  # not on Windows
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of sockets that are closed later

STUDENTS = ["ada", "bob", "cy"]


@pytest.fixture(scope="module")
def collected(set_up, tmp_path_factory) -> Path:
    """A course with three blank submissions that nobody has graded; not to be changed."""
    folder = tmp_path_factory.mktemp("many")
    for student in STUDENTS:
        hand_in(folder / "in" / f"{student}.zip", blank())
    shutil.copytree(set_up, folder / "course")
    command("collect", folder / "in", "--course", folder / "course")
    return folder / "course"


@pytest.fixture
def course(collected, tmp_path, monkeypatch) -> Path:
    """A copy of it."""
    set_own_jupyter(monkeypatch, tmp_path)
    return Path(shutil.copytree(collected, tmp_path / "course"))


@pytest.fixture
def recorded(monkeypatch) -> list[str]:
    """Whose submission has been recorded, as often as it has."""
    names, record = [], workflow.record

    def counted(course, student, found, **options):
        remarks = record(course, student, found, **options)
        names.append(student)
        return remarks

    monkeypatch.setattr(workflow, "record", counted)
    return names


@pytest.fixture(scope="module")
def client():
    """Two workers on this machine."""
    with workers.connect(count=2) as client:
        yield client


def grade(course: Path, client, judge=lambda *_: NOTHING_RIGHT, students=tuple(STUDENTS)) -> dict[str, list[str]]:
    return dict(workflow.grade_submissions(list(students), course, client, seconds=1, judge=judge))


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",  # before the second student's gradebook takes its place, and after that
    [6, pytest.param(7, marks=pytest.mark.long)],
)
def test_interrupted_or_with_a_killed_worker_none_is_lost_or_recorded_twice(
    moment, course, client, recorded, monkeypatch, tmp_path
):
    moments, mark = [], str(tmp_path / "killed")

    def interrupted(write, source, target) -> None:
        moments.append(target)
        if len(moments) == moment:
            signal.raise_signal(signal.SIGINT)
        write(source, target)

    def killed_once(*_) -> dict:
        if not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return NOTHING_RIGHT

    for name in ("copy_gradebook", "replace"):
        monkeypatch.setattr(workflow, name, partial(interrupted, getattr(workflow, name)))
    with pytest.raises(KeyboardInterrupt):
        grade(course, client)
    assert len(recorded) == 1 and not list(course.glob(".*.part*"))
    rest = workflow.students_to_grade(course, [])
    assert sorted(recorded + rest) == STUDENTS
    assert grade(course, client, killed_once, rest) == {student: [] for student in rest}
    assert os.path.exists(mark) and sorted(recorded) == list(workflow.read_points(course)) == STUDENTS
    assert workflow.students_to_grade(course, []) == []


@pytest.mark.long
def test_what_stops_one_submission_stops_no_other(course, client, recorded):
    """One has a loop of links for a folder; one kills every worker that it gets."""
    folder = course / "submitted" / "ada" / ASSIGNMENT
    shutil.rmtree(folder)
    folder.symlink_to(folder)
    (course / "submitted" / "bob" / ASSIGNMENT / "02_unet.ipynb").write_text("bob")

    def judge(books, *_) -> dict:
        if books["02_unet"] == b"bob":
            os.kill(os.getpid(), signal.SIGKILL)
        return NOTHING_RIGHT

    assert workflow.students_to_grade(course, []) == STUDENTS
    remarks = grade(course, client, judge)
    assert remarks.pop("cy") == [] and all(len(lines) == 1 for lines in remarks.values())
    assert str(folder) in remarks["ada"][0]
    assert recorded == ["cy"] and workflow.students_to_grade(course, []) == ["ada", "bob"]


@pytest.mark.slow
def test_a_bug_stops_one_submission_and_a_full_disk_all_and_what_was_recorded_stays(course, client, recorded):
    (course / "submitted" / "bob" / ASSIGNMENT / "02_unet.ipynb").write_text("bob")
    judge = lambda books, *_: 1 / 0 if books["02_unet"] == b"bob" else NOTHING_RIGHT  # noqa: E731
    assert "ZeroDivisionError" in grade(course, client, judge, ["ada", "bob"])["bob"][0]
    before = (course / "gradebook.db").read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, resource.RLIM_INFINITY))
    try:
        with pytest.raises(RecordError):
            grade(course, client)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (course / "gradebook.db").read_bytes() == before and recorded == ["ada"]
    assert workflow.students_to_grade(course, []) == ["bob", "cy"]


@pytest.mark.slow
def test_one_item_alone_is_graded_again_only_of_whom_the_gradebook_knows(course, client):
    def judge(books, handed_out, seconds, only) -> dict:
        return {**NOTHING_RIGHT, "remarks": {"only": sorted(only)}}

    def of_one_item() -> dict[str, list[str]]:
        options = {"seconds": 1, "only": frozenset({"answer-3"}), "judge": judge}
        return dict(workflow.grade_submissions(["ada", "bob"], course, client, **options))

    grade(course, client, judge, ["ada"])
    assert of_one_item() == {"ada": ["only: answer-3"], "bob": []}
    with workflow.open_gradebook(course) as gradebook:  # as after an older one was put back
        gradebook.remove_submission(ASSIGNMENT, "ada")
    assert of_one_item() == {"ada": [], "bob": ["only: answer-3"]}


@pytest.mark.slow
def test_where_space_is_short_nothing_is_written(course, monkeypatch):
    before = (course / "gradebook.db").read_bytes()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(OSError, match="space"):
        workflow.record(course, "ada", dict(NOTHING_RIGHT), again=False, run=None)
    assert (course / "gradebook.db").read_bytes() == before and not list(course.glob(".*.part.db"))


def test_two_teachers_do_not_grade_at_once(tmp_path):
    with workflow.one_grader(tmp_path), pytest.raises(CourseError), workflow.one_grader(tmp_path):
        pass
    with workflow.one_grader(tmp_path):
        pass


# --- schedulers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "http://127.0.0.1:9"])
def test_a_scheduler_that_is_not_there(address, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 1)
    course = make_course(tmp_path / "course")
    (course / "submitted" / "ada").mkdir(parents=True)
    with pytest.raises(WorkerError, match=address):
        command("grade", "--scheduler", address, "--course", course)


def test_without_dask_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(workers, "find_spec", lambda name: None)
    with pytest.raises(WorkerError, match="pip install"), workers.connect():
        pass


@pytest.mark.slow
def test_workers_of_another_kind_are_named_before_any_submission(client, monkeypatch):
    pair = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with pair, pytest.raises(WorkerError, match="2 threads"), workers.connect(pair.scheduler_address):
        pass
    monkeypatch.setattr(workers, "version", lambda name: "0.0.7")  # here alone
    with pytest.raises(WorkerError, match=r"not 0\.0\.7"), workers.connect(client.scheduler.address):
        pass


@pytest.mark.slow
def test_work_for_which_no_worker_is_left_ends(monkeypatch):
    monkeypatch.setitem(workers.SETTINGS, "distributed.scheduler.no-workers-timeout", "1s")
    with workers.connect() as own:
        own.cluster.scale(0)
        while own.nthreads():
            time.sleep(0.1)
        with pytest.raises(WorkerError):
            list(workers.results(own, len, ["ada"], lambda name: (name,)))


@pytest.mark.long
def test_a_scheduler_that_dies_ends_grading_and_what_was_recorded_stays(course, recorded):
    with LocalCluster(n_workers=1, threads_per_worker=1) as cluster, workers.connect(cluster.scheduler_address) as own:
        grading = workflow.grade_submissions(STUDENTS, course, own, seconds=1, judge=lambda *_: NOTHING_RIGHT)
        next(grading)
        cluster.close()
        with pytest.raises(WorkerError):
            list(grading)
    assert sorted(recorded + workflow.students_to_grade(course, [])) == STUDENTS
