"""Submissions that attack: each gets its honest points, is told to the teacher, and leaves nothing behind."""

import copy
import json
import socket
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
LIMIT = 60  # seconds for an answer: a right one takes three, on a slow machine at a slow hour many more
SHORT = 5  # for answers that take no time, or never end
PERFECT, BLANK = perfect(), blank()


def source(name: str, books: dict) -> str:
    return "".join(cell_of(books[questions.item(name).notebook], name)["source"])


STEP, NETWORK, NUMBER = "train_step", "build_unet", "answer-3"
RIGHT, STUB = ({name: source(name, books) for name in (STEP, NETWORK)} for books in (PERFECT, BLANK))
HEAD = STUB[STEP].splitlines()[0]
ENDLESS = "while True:\n    try:\n        sum(range(10**12))\n    except BaseException:\n        pass"
SLEEP = "4711"  # seconds, by which a process that was left is known

# name: what is answered, its points, what is said of it, and the code below an answer that is right where it earns
# points, and a stub where it does not. A stub earns nothing, whatever else it does.
ATTACKS = {
    "kills the parent": (STEP, 12, "os.kill", "import os\nos.kill(os.getppid(), 9)"),
    "patches the probe": (STEP, 0, "probe.observe_step", "from roadseg.checks import probe\nprobe.observe_step = list"),
    "reads gradebooks": (
        *(STEP, 12, "gradebook"),
        """import glob, sqlite3
for folder in ("/home", "/root", "/tmp", "/package"):
    for path in glob.glob(f"{folder}/**/gradebook.db", recursive=True):
        connection = sqlite3.connect(path)
        connection.execute("update grade set manual_score = 100")
        connection.commit()""",
    ),
    # from here on in the long run alone
    "the package's step": (STEP, 0, "", "train_step = training.train_step"),
    "kills all": (STEP, 12, "os.kill", "import os\ntry:\n    os.kill(-1, 9)\nexcept OSError:\n    pass"),
    "ends its process": (STEP, 0, "died", "import os\nos._exit(0)"),
    "writes to every file": (
        *(STEP, 0, ""),
        "import os\nfor n in range(200):\n    try:\n        os.write(n, b'9' * 99)\n    except OSError:\n        pass",
    ),
    "forges what comes out": (
        *(STEP, 0, "__main__.encode"),
        'import __main__\n__main__.encode = lambda thing: b"\\x02" + bytes(7) + b"{}"',
    ),
    "replaces the probe's module": (
        *(STEP, 0, "sys.modules"),
        "import sys, roadseg.checks\nsys.modules['roadseg.checks.probe'] = roadseg.checks.probe = sys",
    ),
    "forges states": (
        *(STEP, 0, "probe.Kit.state"),
        """from roadseg.checks import probe
state = probe.Kit.state
def huge(kit):
    found = state(kit)
    weights = {name: value * 0 + 1e30 for name, value in found.weights.items()}
    return probe.State(weights, found.trainable, found.totals, found.settings, found.applied)
probe.Kit.state = huge""",
    ),
    "patches keras": (
        *(STEP, 0, "keras.Model"),
        "keras.Model.__call__ = lambda model, image, training=None: image[..., :1]",
    ),
    "calls Keras's loop": (
        *(STEP, 0, ""),
        f"{HEAD}\n    model.compile(optimizer, loss_fn)\n    model.train_on_batch(image, mask)",
    ),
    "reads the solution": (
        *(STEP, 0, "inspect"),
        "import inspect\nexec(inspect.getsource(training.train_step).replace('training.', ''))",
    ),
    "reads the catalog": (
        *(NETWORK, 0, "roadseg.checks.unet_mistakes"),
        "from roadseg.checks import unet_mistakes\nlayers = keras.layers\nexec(unet_mistakes.RIGHT)",
    ),
    "finds the seed": (
        *(STEP, 0, "_getframe"),
        """import sys
frame = sys._getframe()
while frame and "item" not in frame.f_locals:
    frame = frame.f_back
seed = frame.f_locals["item"]["seed"]""",
    ),
    "leaves a process": (
        *(STEP, 12, "subprocess"),
        f"import subprocess\nsubprocess.Popen(['sleep', '{SLEEP}'], start_new_session=True)",
    ),
    "leaves a thread": (
        *(STEP, 12, "threading"),
        f"import threading, time\nthreading.Thread(target=time.sleep, args=[{SLEEP}]).start()",
    ),
    "forks and forks": (
        *(STEP, 0, "os.fork"),
        f"import os, time\nfor _ in range(150):\n    if not os.fork():\n        break\ntime.sleep({SLEEP})",
    ),
    "takes all memory": (STEP, 0, "", "hoard = bytearray(20 * 2**30)"),
    "fills the disk": (STEP, 0, "open", "open('full', 'wb').write(bytes(2**28))"),
    "prints and prints": (STEP, 12, "", "print('x' * 10**8)"),
    "claims a network": (
        *(NETWORK, 0, "network.observe_network"),
        "from roadseg.checks import network\n"
        "network.observe_network = lambda *_: network.Seen(output=(256, 256, 1), count=485817)",
    ),
    "claims larger kernels": (
        *(NETWORK, 0, "a kernel's size"),
        f"""from roadseg.checks import trace
row = trace.Row
trace.Row = lambda kind, **options: row(kind, **options | {{"window": (3, 3)}})
{RIGHT[NETWORK].replace("count, 3", "count, 1").replace("filters[-1], 3", "filters[-1], 1")}""",
    ),
    "claims other activations": (
        *(NETWORK, 0, "what a layer gives"),
        f"""from roadseg.checks import trace
note = trace.Recorder._note
def lie(recorder, layer, given, gave):
    note(recorder, layer, given, gave if "Transpose" in type(layer).__name__ else np.zeros(gave.shape, "float32"))
trace.Recorder._note = lie
{RIGHT[NETWORK].replace(', activation="relu"', "")}""",
    ),
    "writes what comes out": (
        *(STEP, 0, "/proc/"),
        """import glob, os, struct
for path in glob.glob("/proc/1/fd/*"):
    try:
        os.write(os.open(path, os.O_WRONLY), struct.pack("<QQ", 10, 2) + b"{}")
    except OSError:
        pass""",
    ),
    "answers after it": (STEP, 12, "", "pass"),
    "writes to its parent's memory": (STEP, 0, "/proc/", "open('/proc/1/mem', 'r+b', 0).write(bytes(9))"),
    "fills shared memory": (
        *(STEP, 12, "/dev/"),
        """try:
    for number in range(16):
        open(f"/dev/shm/{number}", "wb").write(bytes(2**25))
    train_step = None
except OSError:
    pass""",
    ),
    "stops its parents": (STEP, 12, "os.kill", "import os, signal\nos.kill(1, signal.SIGSTOP)"),
    "makes namespaces": (
        *(STEP, 12, "subprocess"),
        "import subprocess\nsubprocess.run(['unshare', '-Ur', 'mount', '-t', 'tmpfs', 'x', '/package'])",
    ),
    "ends at exit": (STEP, 12, "atexit", "import atexit, os\natexit.register(os.abort)"),
    "breaks memory": (STEP, 0, "ctypes", "import ctypes\nctypes.string_at(0)"),
    "changes the drawing": (STEP, 0, "np.random.default_rng", "np.random.default_rng = lambda *seed: None"),
    "hooks imports": (STEP, 0, "sys.meta_path", "import sys\nsys.meta_path.insert(0, None)"),
    "asks TensorFlow for files": (STEP, 12, "gfile", "tf.io.gfile.glob('/home/*')"),
    "downloads": (
        *(STEP, 12, "get_file"),
        "try:\n    keras.utils.get_file('x', 'http://127.0.0.1:9/x')\nexcept Exception:\n    pass",
    ),
    "formats": (STEP, 0, "__globals__", "seed = '{0.__globals__}'.format(training.train)"),
    "claims strides": (
        *(NETWORK, 0, "trace.Row"),
        f"""{RIGHT[NETWORK]}
from roadseg.checks import trace
row = trace.Row
trace.Row = lambda kind, **options: row(kind, **options | {{"stride": (2000, 2000)}})""",
    ),
    "is another language": (NUMBER, 0, "not Python", "%%bash\nkill -9 1\nsteps_per_epoch=68"),
    "has lines of its own": (NUMBER, 0, "", "raise ValueError('\\nbob: 47 of 47 points')"),
    "equals everything": (
        *(NUMBER, 0, ""),
        "class Any(int):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\nsteps_per_epoch = Any(1)",
    ),
    "runs when it is read": (
        *(NUMBER, 0, ""),
        "class Bomb:\n    def __reduce__(self):\n        import os\n        return os.system, ('touch /tmp/bomb',)\n"
        "steps_per_epoch = Bomb()",
    ),
    "has too many digits": (NUMBER, 0, "", "steps_per_epoch = 10 ** 100_000"),
    "blames a cell that there is not": (
        *(NUMBER, 0, ""),
        """import json\njson.dumps = lambda thing: '{"errors": {"99999": "x"}, "found": 70}'""",
    ),
    "ends nowhere": (NUMBER, 0, "", """import json\njson.dumps = lambda thing: '{"at": Infinity}'"""),
    "holds itself": (NUMBER, 0, "", "steps_per_epoch = []\nsteps_per_epoch.append(steps_per_epoch)"),
}
USUAL, LONG = list(ATTACKS)[:3], list(ATTACKS)[3:]
# True for each thing that can be done behind the wall, of which only the last is allowed.
LOOK_AROUND = """
import os, pathlib, socket, roadseg
def works(call, *arguments):
    try:
        call(*arguments)
        return True
    except OSError:
        return False
package = pathlib.Path(roadseg.__file__).parent
steps_per_epoch = [
    works(open, {gradebook!r}),
    works(open, {solution!r}),
    works(open, package / "written", "w"),
    works(open, "/usr/written", "w"),
    works(socket.create_connection, ("127.0.0.1", {port}), 1),
    any(name.isdigit() and int(name) not in (1, os.getpid()) for name in os.listdir("/proc")),
    "SECRET" in os.environ,
    (package / "course").exists() or (package / "checks" / "judge.py").exists(),
    works(open, "/tmp/own", "w"),
]"""
BEHIND_BWRAP = pytest.mark.skipif(sandbox.walls() != "bwrap", reason="bubblewrap does not work here")


def task(name: str, *sources: str) -> dict:
    """What the sandbox gets for an answer in cells from the third on."""
    return judging.task(questions.item(name), list(enumerate(sources, start=3)), SEED)


def attack(name: str) -> dict:
    answered, points, _, code = ATTACKS[name]
    imports = "".join(cell_of(PERFECT["03_written_questions"], "imports")["source"])
    base = (RIGHT if points else STUB).get(answered, "")
    return task(answered, f"{imports}\nfrom tensorflow.keras import layers", f"{base}\n{code}")


def judged(task: dict, outcome: sandbox.Outcome, seconds: float = LIMIT) -> dict:
    """The entry of an answer that is in cell 4."""
    return judging.judged(questions.item(task["id"]), outcome, {4}, SEED, seconds) | {"ended": outcome.ended}


def left_behind() -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if SLEEP in (process.info["cmdline"] or [])]


@pytest.fixture
def own_folders(own_folders, monkeypatch, tmp_path, road_folder):
    monkeypatch.setenv("ROADSEG_DATA", str(road_folder))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, road_folder):
    """Gives the entry of an attack, graded together with others: in a process each, in one sandbox; the first ones with
    what can be done there, under the name None."""
    folder, entries = tmp_path_factory.mktemp("wall"), {}
    for place in ("", "course/submitted/", "course/source/"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / f"{place}gradebook.db").write_bytes(b"marks")

    def run(names: list[str]) -> None:
        with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as server:
            settings = {"HOME": folder, "DATA": road_folder, "CACHE": folder / "cache"}
            for name, value in settings.items():
                patch.setenv(f"ROADSEG_{name}", str(value))
            patch.setenv("SECRET", "of the teacher")
            places = {"gradebook": str(folder / "gradebook.db"), "port": server.getsockname()[1]}
            places["solution"] = str(sandbox.PACKAGE / "course" / "workflow.py")
            tasks = [*map(attack, names), task(NUMBER, LOOK_AROUND.format(**places))]
            *found, entries[None] = sandbox.run_behind_wall(tasks, seconds=LIMIT)
        entries.update({name: judged(task, one) for name, task, one in zip(names, tasks, found)})
        assert {path.read_bytes() for path in folder.rglob("gradebook.db")} == {b"marks"}

    def entry(name: str | None):
        if name not in entries:
            run(LONG if name in LONG else USUAL)
        return entries[name]

    return entry


@pytest.mark.slow
@BEHIND_BWRAP  # without it they would reach your processes and files
@pytest.mark.parametrize("name", [*USUAL, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_an_attack_gets_its_honest_points_and_is_told(outcomes, name):
    _, points, told, code = ATTACKS[name]
    entry = outcomes(name)
    assert entry["points"] == points, entry
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    said = [sign for _, sign in signs(notebook, nbformat.v4.new_notebook())] + [entry["why"], entry["ended"]]
    assert any(told in line for line in said), said
    assert not left_behind()


@pytest.mark.slow
@BEHIND_BWRAP
def test_behind_the_wall_is_nothing(outcomes):
    """No files but programs and images, no network, no other process, no environment, nothing that can be written."""
    assert outcomes(None).found == [False] * 8 + [True], outcomes(None)


def test_right_answers_have_no_signs():
    for name, book in PERFECT.items():
        both = (nbformat.reads(json.dumps(one), as_version=4) for one in (book, BLANK[name]))
        assert list(signs(*both)) == []


@pytest.mark.slow
def test_what_an_answer_builds_on_and_never_ends_is_left_to_the_teacher(own_folders):
    """Such as a cell that trains; an answer that never ends costs its points."""
    tasks = [
        task("answer-4", f"import time\ntime.sleep({SLEEP})", "steps_in_all = 816"),
        task("answer-4", "pass", ENDLESS),
        task("answer-4", "import os\nos._exit(0)", "steps_in_all = 816"),
        task("answer-4", "undefined", "steps_in_all = 816"),
        task("answer-4", "steps = undefined", "steps_in_all = steps"),
    ]
    entries = list(map(judged, tasks, sandbox.run_behind_wall(tasks, seconds=SHORT)))
    assert [entry["points"] for entry in entries] == [None, 0, None, 3, None]
    assert all("cell 4" in entry["why"] for entry in entries if entry["points"] is None)


def test_a_number_that_the_packages_solution_gives_is_left_to_the_teacher():
    errors = {4: f"NotImplementedError: {sandbox.MISSING}"}
    for found, points in ((None, None), (485_817, 3)):
        outcome = sandbox.Outcome(found, errors, "", "", -1, 1.0)
        assert judged({"id": "answer-8"}, outcome)["points"] == points


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unshare", pytest.param("none", marks=pytest.mark.long)])
def test_where_there_is_less_of_a_wall_answers_are_graded_and_nothing_is_left(kind, own_folders, monkeypatch):
    if kind == "unshare" and sandbox.walls() == "none":
        pytest.skip("unshare does not work here")
    monkeypatch.setattr(sandbox, "walls", lambda: kind)
    right = "steps_per_epoch = 68"
    sources = (ATTACKS["leaves a process"][-1], ENDLESS, ATTACKS["kills the parent"][-1])
    tasks = [task(NUMBER, "pass", f"{source}\n{right}") for source in sources]
    points = [judged(*pair)["points"] for pair in zip(tasks, sandbox.run_behind_wall(tasks, seconds=SHORT))]
    assert points == [3, 0, 3 if kind == "unshare" else 0]
    assert not left_behind()


# --- what comes out is not believed ---------------------------------------------------------------------------------


def crossed(thing):
    return inside.decode(inside.encode(thing))


@pytest.fixture(scope="module")
def seen() -> list:
    """What came out for a right step."""
    return crossed(inside.observed(STEP, training.train_step, SEED))


def test_numbers_arrays_and_texts_cross_and_nothing_else_does():
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(True), "c": np.zeros((0, 2), np.uint8)}
    found = crossed({**arrays, "d": (1, "x", None, np.float32(0.5)), "e": object()})
    assert all(np.array_equal(found[name], arrays[name]) and found[name].dtype == arrays[name].dtype for name in "abc")
    assert found["d"] == [1, "x", None, 0.5] and "object" in found["e"]


def test_whatever_else_comes_out_is_refused():
    texts = [b"[}", b"[" * 10**5, b"[%s0]" % (b"[]," * (inside.LONGEST // 3))]
    texts += [b'{"array": "<f8", "shape": [1000, 1000]}', b'{"array": "O", "shape": [1]}', b'{"array": "<f8"}']
    for text in (*texts, b'{"array": "<f8", "shape":[-1]}'):
        for content in (inside.LENGTH.pack(len(text)) + text, text[:7]):
            with pytest.raises(ValueError):
                inside.decode(content)


MISTAKES = chain(*step_mistakes.CATALOG.values())
SAMPLE = [pytest.param(one, id=one.id, marks=[pytest.mark.long] * (i % 20 > 0)) for i, one in enumerate(MISTAKES)]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", SAMPLE)
def test_the_judge_outside_says_what_the_check_says(mistake):
    expected, _ = steps.step_aspects(mistake.name, mistake.step, SEED)
    found = crossed(inside.observed(mistake.name, mistake.step, SEED))
    assert judging.verdict(questions.item(mistake.name), found, SEED)[0] == expected


def points(seen: list, change) -> float | None:
    """The points of what came out, after a change."""
    found = copy.deepcopy(seen)
    change(found)
    return judged({"id": STEP}, sandbox.Outcome(found, {}, "", "", -1, 1.0))["points"]


def all_steps(found: list) -> list[dict]:
    return [step for trial in found for step in trial]


@pytest.mark.slow
def test_what_a_step_says_of_its_start_changes_nothing(seen):
    def lie(found):
        for step in all_steps(found):
            step.update(before=None, image=None, mask=None)

    assert points(seen, list) == points(seen, lie) == 12


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
    assert not points(seen, change)


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.0, 1e30, np.inf, np.nan])
def test_forged_weights_earn_no_more_than_a_step_that_leaves_them(seen, value):
    def forget(found):
        for step in all_steps(found):
            for state in (step["before"], step["after"]):
                state["weights"] = {name: np.full_like(weight, value) for name, weight in state["weights"].items()}
            step["events"] = [event for event in step["events"] if event[0] in ("forward", "prediction")]

    assert points(seen, forget) <= 6


@pytest.mark.slow
def test_a_network_whose_layers_give_something_else_is_a_contradiction():
    item, candidate = questions.item(NETWORK), {}
    exec(f"from tensorflow import keras\nfrom tensorflow.keras import layers\n{RIGHT[NETWORK]}", candidate)
    seen = crossed(inside.observed(network.NAME, candidate[NETWORK], SEED))
    aspects, _ = judging.verdict(item, copy.deepcopy(seen), SEED)
    assert all(aspect.right for aspect in aspects)
    for change in (lambda gave: gave * 1.01, lambda gave: gave[:, 1:]):
        found = copy.deepcopy(seen)
        found["recorder"]["rows"][3][2] = change(found["recorder"]["rows"][3][2])
        with pytest.raises(judging.Contradiction):
            judging.verdict(item, found, SEED)
    huge = [10**6, 10**6]
    for change in (
        lambda found: [row.update(stride=huge) for row, *_ in found["recorder"]["rows"] if row["kind"] == "transposed"],
        lambda found: found.update(shapes=[huge]),
        lambda found: found["recorder"].update(others=found["recorder"]["others"] * 100),
    ):
        change(found := copy.deepcopy(seen))
        with pytest.raises(judging.Contradiction):
            judging.verdict(item, found, SEED)
    found = copy.deepcopy(seen)
    found["recorder"]["weights"][3][0] = found["recorder"]["weights"][3][0] + 1
    with pytest.raises(judging.Contradiction):
        judging.verdict(item, found, SEED)
    with pytest.raises(judging.Contradiction):  # another seed: an answer that was prepared
        judging.verdict(item, seen, SEED + 1)
