"""Submissions that attack: each gets its honest points, is told to the teacher, and leaves nothing behind."""

import json
import socket
import textwrap
from itertools import chain

import nbformat
import numpy as np
import psutil
import pytest
from handed_in import blank, cell_of, perfect

from roadseg import training
from roadseg.checks import network, step_mistakes, steps
from roadseg.workbook import questions

pytest.importorskip("nbgrader")
from roadseg.course import inside, judging, sandbox
from roadseg.course.signs import signs

SEED = 90210
LIMIT = 45  # seconds for an answer: a right one takes three, on a slow machine at a slow hour many more
PERFECT, BLANK = perfect(), blank()


def source(name: str, book: dict) -> str:
    return "".join(cell_of(book[questions.item(name).notebook], name)["source"])


RIGHT = {name: source(name, PERFECT) for name in ("train_step", "val_step", "build_unet", "answer-3")}
STUB = source("train_step", BLANK)
OPEN_STUB = source("build_unet", BLANK)
DIED, TIME = "died", "time"

# name: (what is answered, the code of the answer, its points, what is said of it). A stub earns nothing, whatever else
# it does; a right answer earns all, unless it ends the process that runs it.
ATTACKS = {
    "empties later cells": ("train_step", f"get_ipython().ast_transformers.append(0)\n{STUB}", 0, "get_ipython"),
    "the package's step": ("train_step", "train_step = training.train_step", 0, ""),
    "the package's network": ("build_unet", "build_unet = models.unet", 0, ""),
    "patches points": ("train_step", f"checks.points = lambda *_, **__: 12\n{STUB}", 0, "checks.points"),
    "kills the parent": ("train_step", f"import os\nos.kill(os.getppid(), 9)\n{RIGHT['train_step']}", 12, "os.kill"),
    "never ends": ("train_step", f"{STUB.splitlines()[0]}\n    while True:\n        pass", 0, TIME),
    "patches the probe": (
        "train_step",
        f"from roadseg.checks import probe\nprobe.observe = lambda *_: []\n{STUB}",
        0,
        "probe.observe",
    ),
    "reads gradebooks": (
        "train_step",
        f"""import glob, sqlite3
for folder in ("/home", "/root", "/tmp", "/package"):
    for path in glob.glob(f"{{folder}}/**/gradebook.db", recursive=True):
        connection = sqlite3.connect(path)
        connection.execute("update grade set manual_score = 100")
        connection.commit()
{RIGHT["train_step"]}""",
        12,
        "gradebook",
    ),
    # from here on in the long run alone
    "kills all": (
        "train_step",
        f"import os\ntry:\n    os.kill(-1, 9)\nexcept OSError:\n    pass\n{RIGHT['train_step']}",
        12,
        "os.kill",
    ),
    "interrupts the parent": ("train_step", f"import os\nos.kill(1, 2)\n{RIGHT['train_step']}", 12, "os.kill"),
    "ends its process": ("train_step", f"import os\nos._exit(0)\n{RIGHT['train_step']}", 0, DIED),
    "catches everything": (
        "train_step",
        "while True:\n    try:\n        sum(range(10**12))\n    except BaseException:\n        pass",
        0,
        TIME,
    ),
    "writes to every file": (
        "train_step",
        f"import os\nfor number in range(200):\n    try:\n        os.write(number, b'9' * 99)\n    except OSError:\n"
        f"        pass\n{STUB}",
        0,
        "",
    ),
    "forges what comes out": (
        "train_step",
        f"""import __main__
__main__.pack = lambda thing: b"\\x02" + bytes(7) + b"{{}}"
{STUB}""",
        0,
        "__main__.pack",
    ),
    "replaces the probe's module": (
        "train_step",
        f"import sys, roadseg.checks\nsys.modules['roadseg.checks.probe'] = roadseg.checks.probe = sys\n{STUB}",
        0,
        "sys.modules",
    ),
    "forges states": (
        "train_step",
        f"""from roadseg.checks import probe
state = probe.Kit.state
def huge(kit):
    found = state(kit)
    weights = {{name: value * 0 + 1e30 for name, value in found.weights.items()}}
    return probe.State(weights, found.trainable, found.totals, found.settings)
probe.Kit.state = huge
{STUB}""",
        0,
        "probe.Kit.state",
    ),
    "patches numpy": (
        "train_step",
        f"np.allclose = np.all = np.any = lambda *_, **__: True\n{STUB}",
        0,
        "np.allclose",
    ),
    "patches keras": (
        "train_step",
        f"keras.Model.__call__ = lambda model, image, training=None: image[..., :1]\n{STUB}",
        0,
        "keras.Model",
    ),
    "calls Keras's loop": (
        "train_step",
        f"{STUB.splitlines()[0]}\n    model.compile(optimizer, loss_fn)\n    model.train_on_batch(image, mask)",
        0,
        "",
    ),
    "reads the solution": (
        "train_step",
        f"import inspect\nexec(inspect.getsource(training.train_step))\n{STUB.splitlines()[0]}\n"
        "    return training.train_step(model, image, mask, loss_fn=loss_fn, optimizer=optimizer,"
        " running_loss=running_loss, running_accuracy=running_accuracy)",
        0,
        "inspect",
    ),
    "reads the catalog": (
        "build_unet",
        "from roadseg.checks import unet_mistakes\nlayers = keras.layers\nexec(unet_mistakes.RIGHT)",
        0,
        "roadseg.checks.unet_mistakes",
    ),
    "finds the seed": (
        "train_step",
        f"""import sys
frame = sys._getframe()
while frame and "item" not in frame.f_locals:
    frame = frame.f_back
seed = frame.f_locals["item"]["seed"]
{STUB}""",
        0,
        "_getframe",
    ),
    "searches memory": (
        "train_step",
        f"import gc\nsteps = [one for one in gc.get_objects() if type(one).__name__ == 'Step']\n{STUB}",
        0,
        "gc",
    ),
    "leaves a process": (
        "train_step",
        f"import subprocess\nsubprocess.Popen(['sleep', '4711'], start_new_session=True)\n{RIGHT['train_step']}",
        12,
        "subprocess",
    ),
    "leaves a thread": (
        "train_step",
        f"import threading, time\nthreading.Thread(target=time.sleep, args=[4711]).start()\n{RIGHT['train_step']}",
        12,
        "threading",
    ),
    "forks and forks": (
        "train_step",
        "import os, time\nfor _ in range(150):\n    if not os.fork():\n        time.sleep(4711)\ntime.sleep(4711)",
        0,
        "os.fork",
    ),
    "takes all memory": ("train_step", f"hoard = bytearray(20 * 2**30)\n{STUB}", 0, ""),
    "fills the disk": (
        "train_step",
        f"open('full', 'wb').write(bytes(2**28))\n{STUB}",
        0,
        "open",
    ),
    "prints and prints": ("train_step", f"print('x' * 10**8)\n{RIGHT['train_step']}", 12, ""),
    "claims a network": (
        "build_unet",
        f"""from roadseg.checks import network
network.observe = lambda *_: network.Seen(output=(256, 256, 1), count=485817)
{OPEN_STUB}""",
        0,
        "network.observe",
    ),
    "claims larger kernels": (
        "build_unet",
        f"""from roadseg.checks import trace
row = trace.Row
trace.Row = lambda kind, **options: row(kind, **options | {{"window": (3, 3)}})
{RIGHT["build_unet"].replace("count, 3", "count, 1").replace("filters[-1], 3", "filters[-1], 1")}""",
        0,
        "a kernel's size",
    ),
    "claims other activations": (
        "build_unet",
        f"""from roadseg.checks import trace
note = trace.Recorder._note
def lie(recorder, layer, given, gave):
    note(recorder, layer, given, gave if "Transpose" in type(layer).__name__ else np.zeros(gave.shape, "float32"))
trace.Recorder._note = lie
{RIGHT["build_unet"].replace(', activation="relu"', "")}""",
        0,
        "what a layer gives",
    ),
    "equals everything": (
        "answer-3",
        "class Any(int):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\nsteps_per_epoch = Any(1)",
        0,
        "",
    ),
    "runs when it is read": (
        "answer-3",
        "class Bomb:\n    def __reduce__(self):\n        import os\n        return os.system, ('touch /tmp/bomb',)\n"
        "steps_per_epoch = Bomb()",
        0,
        "",
    ),
    "has too many digits": ("answer-3", "steps_per_epoch = 10 ** 100_000", 0, ""),
    "holds itself": ("answer-3", "steps_per_epoch = []\nsteps_per_epoch.append(steps_per_epoch)", 0, ""),
}
USUAL = list(ATTACKS)[:8]
BEHIND_BWRAP = pytest.mark.skipif(sandbox.walls() != "bwrap", reason="bubblewrap does not work here")


def own_folders(patch: pytest.MonkeyPatch, folder, road_folder) -> None:
    for name, value in (("HOME", folder), ("DATA", road_folder), ("CACHE", folder / "cache")):
        patch.setenv(f"ROADSEG_{name}", str(value))


def tasks(names: list[str]) -> list[dict]:
    imports = "".join(cell_of(PERFECT["03_written_questions"], "imports")["source"])
    start = f"{imports}\nfrom tensorflow.keras import layers"
    found = [(questions.item(ATTACKS[name][0]), ATTACKS[name][1]) for name in names]
    return [judging.task(item, [(0, start), (1, code)], SEED) for item, code in found]


@pytest.fixture(scope="module")
def graded(tmp_path_factory, road_folder):
    """Gives the entry of an attack, graded together with others of its kind: in a process each, in one sandbox."""
    folder, entries = tmp_path_factory.mktemp("wall"), {}
    (folder / "gradebook.db").write_bytes(b"")
    for stage in ("submitted", "source"):
        (folder / "course" / stage).mkdir(parents=True)
        (folder / "course" / stage / "gradebook.db").write_bytes(b"marks")

    def entry(name: str) -> dict:
        if name not in entries:
            names = USUAL if name in USUAL else [other for other in ATTACKS if other not in USUAL]
            with pytest.MonkeyPatch.context() as patch:
                own_folders(patch, folder, road_folder)
                outcomes = list(sandbox.run_behind_wall(tasks(names), seconds=LIMIT))
            for other, outcome in zip(names, outcomes):
                item = questions.item(ATTACKS[other][0])
                entries[other] = judging.judged(item, outcome, {1}, SEED, LIMIT) | {"ended": outcome.ended}
            assert {path.read_bytes() for path in folder.rglob("gradebook.db")} == {b"", b"marks"}
        return entries[name]

    return entry


@pytest.mark.slow
@BEHIND_BWRAP  # without it they would reach your processes and files
@pytest.mark.parametrize(
    "name", [*USUAL, *(pytest.param(n, marks=pytest.mark.long) for n in ATTACKS if n not in USUAL)]
)
def test_an_attack_gets_its_honest_points_and_is_told(graded, name):
    _, code, points, told = ATTACKS[name]
    entry = graded(name)
    assert entry["points"] == points, entry
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    said = [sign for _, sign in signs(notebook, nbformat.v4.new_notebook())] + [entry["why"], entry["ended"]]
    assert any(told in line for line in said), said
    assert not [process for process in psutil.process_iter(["cmdline"]) if "4711" in (process.info["cmdline"] or [])]


def test_right_answers_have_no_signs():
    for name, book in PERFECT.items():
        notebook = nbformat.reads(json.dumps(book), as_version=4)
        original = nbformat.reads(json.dumps(BLANK[name]), as_version=4)
        assert list(signs(notebook, original)) == []


@pytest.mark.slow
@BEHIND_BWRAP
def test_behind_the_wall_is_nothing(tmp_path, road_folder, monkeypatch):
    """No files but programs and images, no network, no other process, no environment, nothing that can be written."""
    own_folders(monkeypatch, tmp_path, road_folder)
    (tmp_path / "gradebook.db").write_text("marks")
    monkeypatch.setenv("SECRET", "of the teacher")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        code = f"""
        import os, pathlib, socket, roadseg
        def works(call):
            try:
                call()
                return True
            except OSError:
                return False
        package = pathlib.Path(roadseg.__file__).parent
        steps_per_epoch = [
            works(lambda: open({str(tmp_path / "gradebook.db")!r})),
            works(lambda: open({str(sandbox.PACKAGE / "course" / "workflow.py")!r})),
            works(lambda: open(package / "written", "w")),
            works(lambda: open("/usr/written", "w")),
            works(lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 1)),
            any(name.isdigit() and int(name) not in (1, os.getpid()) for name in os.listdir("/proc")),
            "SECRET" in os.environ,
            (package / "course").exists() or (package / "checks" / "judge.py").exists(),
            works(lambda: open("/tmp/own", "w")),
        ]"""
        (outcome,) = sandbox.run_behind_wall(
            [judging.task(questions.item("answer-3"), [(0, textwrap.dedent(code))], SEED)], seconds=LIMIT
        )
        with pytest.raises(TimeoutError):
            server.accept()
    assert outcome.found == [False] * 8 + [True], outcome


@pytest.mark.slow
def test_what_an_answer_builds_on_and_never_ends_is_left_to_the_teacher(tmp_path, road_folder, monkeypatch):
    """Such as a cell that trains; an answer that never ends costs its points."""
    own_folders(monkeypatch, tmp_path, road_folder)
    item, endless = questions.item("answer-4"), "while True:\n    pass"
    tasks = [
        judging.task(item, [(3, endless), (4, "steps_in_all = 816")], SEED),
        judging.task(item, [(3, "pass"), (4, endless)], SEED),
        judging.task(item, [(3, "import os\nos._exit(0)"), (4, "steps_in_all = 816")], SEED),
        judging.task(item, [(3, "undefined"), (4, "steps_in_all = 816")], SEED),
        judging.task(item, [(3, "steps = undefined"), (4, "steps_in_all = steps")], SEED),
    ]
    entries = [judging.judged(item, outcome, {4}, SEED, 15) for outcome in sandbox.run_behind_wall(tasks, seconds=15)]
    assert [entry["points"] for entry in entries] == [None, 0, None, 3, None]
    assert all("cell 4" in entry["why"] for entry in entries if entry["points"] is None)


def test_a_number_that_the_packages_solution_gives_is_left_to_the_teacher():
    errors = {4: f"NotImplementedError: {sandbox.MISSING}"}
    for found, points in ((None, None), (485_817, 3)):
        outcome = sandbox.Outcome(found, errors, "", "", -1, 1.0)
        assert judging.judged(questions.item("answer-8"), outcome, {4}, SEED, 5)["points"] == points


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unshare", pytest.param("none", marks=pytest.mark.long)])
def test_where_there_is_less_of_a_wall_answers_are_graded_and_nothing_is_left(kind, tmp_path, road_folder, monkeypatch):
    if kind == "unshare" and sandbox.walls() == "none":
        pytest.skip("unshare does not work here")
    own_folders(monkeypatch, tmp_path, road_folder)
    monkeypatch.setattr(sandbox, "walls", lambda: kind)
    names = ["leaves a process", "never ends", "kills the parent"]
    for name, outcome in zip(names, sandbox.run_behind_wall(tasks(names), seconds=20)):
        item = questions.item(ATTACKS[name][0])
        points = judging.judged(item, outcome, {1}, SEED, LIMIT)["points"]
        assert points == ATTACKS[name][2] or (name, kind, points) == ("kills the parent", "none", 0)
    assert not [process for process in psutil.process_iter(["cmdline"]) if "4711" in (process.info["cmdline"] or [])]


# --- what comes out is not believed ---------------------------------------------------------------------------------


def crossed(thing):
    return inside.decode(inside.encode(thing))


@pytest.fixture(scope="module")
def seen() -> list:
    """What came out for a right step."""
    return crossed(inside.observed("train_step", training.train_step, SEED))


def test_numbers_arrays_and_texts_cross_and_nothing_else_does():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(True), "c": np.zeros((0, 2), np.uint8)}
    found = crossed({**arrays, "d": (1, "x", None, np.float32(0.5)), "e": object()})
    assert all(np.array_equal(found[name], arrays[name]) and found[name].dtype == arrays[name].dtype for name in "abc")
    assert found["d"] == [1, "x", None, 0.5] and "object" in found["e"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 20,
        inside.LENGTH.pack(2) + b"[}",
        inside.LENGTH.pack(10**5) + b"[" * 10**5,
        inside.LENGTH.pack(38) + b'{"array": "<f8", "shape": [1000, 1000]}',
        inside.LENGTH.pack(29) + b'{"array": "O", "shape": [1]}  ',
        inside.LENGTH.pack(29) + b'{"array": "<f8", "shape":[-1]}',
    ],
)
def test_whatever_else_comes_out_is_refused(content):
    with pytest.raises(ValueError):
        inside.decode(content)


STEPS = [mistake for mistake in chain(*step_mistakes.CATALOG.values()) if mistake.number is None]
SAMPLE = [
    pytest.param(mistake, id=mistake.id, marks=[pytest.mark.long] * (i % 20 > 0)) for i, mistake in enumerate(STEPS)
]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", SAMPLE)
def test_the_judge_outside_says_what_the_check_says(mistake):
    expected, _ = steps.step_aspects(mistake.name, mistake.step(), SEED)
    found = crossed(inside.observed(mistake.name, mistake.step(), SEED))
    assert judging.verdict(questions.item(mistake.name), found, SEED)[0] == expected


def points(found) -> float | None:
    outcome = sandbox.Outcome(found, {}, "", "", -1, 1.0)
    return judging.judged(questions.item("train_step"), outcome, set(), SEED, LIMIT)["points"]


def changed(seen: list, change) -> list:
    copied = json.loads(json.dumps(seen, default=lambda array: {"copied": array.tolist(), "kind": array.dtype.str}))

    def arrays(part):
        if isinstance(part, dict):
            return (
                np.array(part["copied"], part["kind"]) if "copied" in part else {n: arrays(v) for n, v in part.items()}
            )
        return [arrays(value) for value in part] if isinstance(part, list) else part

    copied = arrays(copied)
    change(copied)
    return copied


def all_steps(found: list) -> list[dict]:
    return [step for trial in found for step in trial]


def set_after(found: list, value: float) -> None:
    for step in all_steps(found):
        for state in (step["before"], step["after"]):
            state["weights"] = {name: np.full_like(weight, value) for name, weight in state["weights"].items()}


@pytest.mark.slow
def test_what_a_step_says_of_its_start_changes_nothing(seen):
    def lie(found):
        for step in all_steps(found):
            step.update(before=None, image=None, mask=None)

    assert points(seen) == points(changed(seen, lie)) == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.clear(),
        lambda found: found.pop(),
        lambda found: found[0].pop(),
        lambda found: [trial.clear() for trial in found[1:]],
        lambda found: [step.update(after={}) for step in all_steps(found)],
        lambda found: [step.update(events=[["forward"]]) for step in all_steps(found)],
        lambda found: [step.update(events=[["prediction", []], ["forward", [1, True]]]) for step in all_steps(found)],
        lambda found: found[0][0]["after"]["weights"].popitem(),
        lambda found: found[0][0].update(error="yes"),
    ],
)
def test_what_is_left_out_or_misshapen_earns_nothing(seen, change):
    assert not points(changed(seen, change))


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.0, 1e30, np.inf, np.nan])
def test_forged_weights_earn_no_more_than_a_step_that_leaves_them(seen, value):
    def forget(found):
        set_after(found, value)
        for step in all_steps(found):
            step["events"] = [event for event in step["events"] if event[0] in ("forward", "prediction")]

    assert points(changed(seen, forget)) <= 6


@pytest.mark.slow
def test_a_network_whose_layers_give_something_else_is_a_contradiction():
    item, candidate = questions.item("build_unet"), {}
    exec(f"from tensorflow import keras\nfrom tensorflow.keras import layers\n{RIGHT['build_unet']}", candidate)
    found = crossed(inside.observed(network.NAME, candidate["build_unet"], SEED))
    aspects, _ = judging.verdict(item, found, SEED)
    assert all(aspect.right for aspect in aspects)
    rows = found["recorder"]["rows"]
    for change in (
        lambda: rows[3].__setitem__(2, rows[3][2] * 1.01),
        lambda: rows[3].__setitem__(2, rows[3][2][:, 1:]),
        lambda: found["recorder"]["weights"][3].__setitem__(0, found["recorder"]["weights"][3][0] + 1),
    ):
        kept = json.dumps(None), [list(row) for row in rows], [list(each) for each in found["recorder"]["weights"]]
        change()
        with pytest.raises(judging.Contradiction):
            judging.verdict(item, found, SEED)
        rows[:], found["recorder"]["weights"][:] = kept[1], kept[2]
    with pytest.raises(judging.Contradiction):  # another seed: an answer that was prepared
        judging.verdict(item, found, SEED + 1)
