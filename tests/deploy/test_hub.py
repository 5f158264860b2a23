"""A class on a real hub: students who log in, fetch, work and submit by HTTP and websockets, and a teacher who grades.

Needs root, for accounts of their own, and what `deploy/install.sh` makes, in ROADSEG_HUB or /srv/roadseg.
ROADSEG_HUB_STUDENTS is how many students there are (3); the figures are in build/hub.json.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from handed_in import PROJECT, cell_of, perfect

pwd = pytest.importorskip("pwd")  # not on Windows
requests, websocket = pytest.importorskip("requests"), pytest.importorskip("websocket")

HUB = Path(os.environ.get("ROADSEG_HUB", "/srv/roadseg"))
STUDENTS = int(os.environ.get("ROADSEG_HUB_STUDENTS", 3))
IDLE = 100 * STUDENTS  # seconds after which kernels are shut down
NAMES = [f"demo-student-{i + 1}" for i in range(STUDENTS)]
EXCHANGE = HUB / "exchange" / "course"
MEBIBYTE = 2**20
DISK = 60 * MEBIBYTE  # of the home that gets full, the last student's

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="accounts of their own need root"),
    pytest.mark.skipif(not (HUB / "python/bin/jupyterhub").is_file(), reason=f"no hub in {HUB}: deploy/install.sh"),
    pytest.mark.skipif(not (HUB / "proxy/node_modules").is_dir(), reason=f"no proxy in {HUB}: deploy/install.sh"),
]


def wait_for(condition, seconds: float = 300):
    """What the condition returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{condition} is not true after {seconds} s"
        time.sleep(0.3)
    return found


def as_user(name: str, *command: str | Path, **options) -> subprocess.CompletedProcess:
    home = pwd.getpwnam(name).pw_dir
    environment = {
        **{"HOME": home, "PATH": f"{HUB}/python/bin:/usr/sbin:/usr/bin:/bin", "PYTHONPATH": f"{HUB}/teacher/project"},
        **{"ROADSEG_HUB": str(HUB), "ROADSEG_HOME": home, "ROADSEG_DATA": f"{HUB}/data/scenes"},
        **{"ROADSEG_CACHE": f"{HUB}/cache"},
    }
    command = ["runuser", "-u", name, "--", *map(str, command)]
    return subprocess.run(command, env=environment, cwd=home, text=True, capture_output=True, **options)


class Hub:
    """The demonstration's hub, on a free port."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = {"ROADSEG_HUB_PORT": str(self.port), "ROADSEG_HUB_IDLE": str(IDLE), "ROADSEG_EPOCHS": "1"}
        command = [PROJECT / "deploy" / "demonstration.sh", HUB, "yes", str(STUDENTS)]
        self.process = subprocess.Popen(command, env={**os.environ, **options})
        wait_for(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None
        try:
            return requests.get(f"{self.address}/hub/health", timeout=5).ok
        except requests.RequestException:
            return False

    def stop(self, kind: int = signal.SIGINT) -> None:
        self.process.send_signal(kind)
        self.process.wait(120)


class Browser:
    """A student at work."""

    def __init__(self, hub: Hub, name: str):
        self.hub, self.name, self.session = hub, name, requests.Session()
        self.address, self.socket = f"{hub.address}/user/{name}", None
        self.kernel = None

    def log_in(self) -> None:
        page = f"{self.hub.address}/hub/login"
        self.session.get(page)
        form = {"username": self.name, "password": (HUB / "passwords").read_text().split()[0]}
        assert self.session.post(page, {**form, "_xsrf": self.session.cookies["_xsrf"]}).ok
        self.session.get(f"{self.hub.address}/hub/spawn")
        wait_for(lambda: self.session.get(f"{self.address}/lab").url.startswith(self.address))

    def cookies(self) -> dict[str, str]:
        return {c.name: c.value for c in self.session.cookies if c.path in ("/", f"/user/{self.name}/")}

    def call(self, method: str, path: str, /, **content) -> requests.Response:
        headers = {"X-XSRFToken": self.cookies()["_xsrf"]}
        return self.session.request(method, f"{self.address}/{path}", json=content or None, headers=headers)

    def open(self, path: str):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies().items())
        return websocket.create_connection(f"{self.address}/{path}".replace("http", "ws", 1), cookie=cookie)

    def assignment(self, action: str) -> dict:
        """Press a button of nbgrader's list of assignments."""
        headers = {"X-XSRFToken": self.cookies()["_xsrf"]}
        form = {"course_id": "course", "assignment_id": "road_segmentation"}
        return self.session.post(f"{self.address}/assignments/{action}", form, headers=headers).json()

    def notebook(self, name: str) -> dict:
        return self.call("GET", f"api/contents/road_segmentation/{name}.ipynb").json()["content"]

    def save(self, name: str, notebook: dict) -> bool:
        path = f"api/contents/road_segmentation/{name}.ipynb"
        return self.call("PUT", path, type="notebook", format="json", content=notebook).ok

    def start_kernel(self, name: str) -> None:
        """A new kernel for a notebook, in place of the one that there is."""
        if self.kernel:
            self.call("DELETE", f"api/kernels/{self.kernel}")
        path = f"road_segmentation/{name}.ipynb"
        session = self.call("POST", "api/sessions", path=path, type="notebook", name="", kernel={"name": "python3"})
        self.kernel = session.json()["kernel"]["id"]
        self.connect()

    def connect(self) -> None:
        """Connect with the kernel, anew where that has waited for too long."""
        if self.socket:
            self.socket.close()
        self.socket = self.open(f"api/kernels/{self.kernel}/channels")

    def send(self, source: str) -> str:
        """Let the kernel run a cell; the message's id."""
        own = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "", "session": "1"}
        content = {"code": source, "silent": False, "store_history": True, "allow_stdin": False}
        message = {
            "header": own | {"version": "5.3"},
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": "shell",
        }
        self.socket.send(json.dumps(message | {"buffers": []}))
        return own["msg_id"]

    def run(self, source: str) -> list[dict]:
        """Run a cell; its outputs. An error fails."""
        own, outputs = self.send(source), []
        while True:
            answer = json.loads(self.socket.recv())
            kind, content = answer["header"]["msg_type"], answer["content"]
            if answer["parent_header"].get("msg_id") != own:
                continue
            if kind == "status" and content["execution_state"] == "idle":
                return outputs
            assert kind != "error", "\n".join(content["traceback"])
            if kind in ("stream", "display_data", "execute_result"):
                outputs.append({"output_type": kind, **{k: v for k, v in content.items() if k != "transient"}})

    def value(self, source: str) -> str:
        """What a cell prints."""
        return "".join(output.get("text", "") for output in self.run(source)).strip()

    def ended(self, message: str) -> bool:
        """Whether a cell that was sent has run, after half a second at most."""
        self.socket.settimeout(0.5)
        try:
            answer = json.loads(self.socket.recv())
        except websocket.WebSocketTimeoutException:
            return False
        finally:
            self.socket.settimeout(None)
        assert answer["header"]["msg_type"] != "error", answer["content"]
        own = answer["parent_header"].get("msg_id") == message
        return own and answer["content"].get("execution_state") == "idle"

    def kernels(self) -> list[psutil.Process]:
        return [p for p in processes(self.name) if "ipykernel_launcher" in (p.info["cmdline"] or ())]

    def typed(self, command: str) -> str:
        """What a terminal shows after a command."""
        terminal = self.open(f"terminals/websocket/{self.call('POST', 'api/terminals').json()['name']}")
        terminal.send(json.dumps(["stdin", f"{command}; echo e''nd\r"]))
        shown = ""
        while "end" not in shown:
            kind, *parts = json.loads(terminal.recv())
            shown += "".join(map(str, parts)) * (kind == "stdout")
        terminal.close()
        return shown


def processes(name: str) -> list[psutil.Process]:
    found = psutil.process_iter(["username", "status", "cmdline"])
    return [p for p in found if p.info["username"] == name and p.info["status"] != psutil.STATUS_ZOMBIE]


def memory(name: str) -> dict[str, float]:
    """MiB of all processes of a student: what is shared counts in part (pss), or wholly (rss)."""
    found = [process.memory_full_info() for process in processes(name)]
    return {kind: sum(getattr(info, kind) for info in found) / MEBIBYTE for kind in ("pss", "rss")}


@pytest.fixture(scope="module")
def hub():
    before = {account.pw_name for account in pwd.getpwall()}
    if there := before.intersection(NAMES):
        pytest.skip(f"the accounts {', '.join(sorted(there))} are somebody's: userdel -r removes them")
    running = Hub()
    running.start()
    small = Path("/home") / NAMES[-1]
    options = f"size={DISK},mode=0700,uid={pwd.getpwnam(NAMES[-1]).pw_uid}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", small], check=False).returncode == 0
    yield running
    running.stop()
    if mounted:
        subprocess.run(["umount", "--lazy", small], check=True)
    for name in {"demo-teacher", *NAMES} - before:
        subprocess.run(["userdel", "-r", name], stderr=subprocess.DEVNULL, check=True)


@pytest.fixture(scope="module")
def students(hub) -> Iterator[list[Browser]]:
    """All have logged in, fetched, and run notebook 00, at the same time."""
    found = [Browser(hub, name) for name in NAMES]

    def begin(student: Browser) -> dict[str, float]:
        started = time.perf_counter()
        student.log_in()
        seconds = {"server": time.perf_counter() - started}
        assert student.assignment("fetch")["success"]
        student.start_kernel("00_road_data")
        notebook = student.notebook("00_road_data")
        for cell in code_cells(notebook):
            cell["outputs"] = student.run("".join(cell["source"]))
            seconds.setdefault("first cell", time.perf_counter() - started)
            if cell["id"] == "load":
                ready.wait()  # all have come so far
                idle[student.name] = memory(student.name)
                student.connect()
        assert student.save("00_road_data", notebook)
        return seconds | {"notebook 00": time.perf_counter() - started}

    ready, idle = threading.Barrier(STUDENTS), {}
    with ThreadPoolExecutor(STUDENTS) as pool:
        seconds = list(pool.map(begin, found))
    note(
        {
            "students": STUDENTS,
            "load": os.getloadavg(),
            **{f"seconds to {name}": [each[name] for each in seconds] for name in seconds[0]},
            "MiB, images loaded": list(idle.values()),
            "MiB, notebook 00 done": [memory(name) for name in NAMES],
        }
    )
    yield found
    for student in found:
        student.socket.close()


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def note(figures: dict) -> None:
    """Add figures to build/hub.json."""
    path = PROJECT / "build" / "hub.json"
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text()) if path.is_file() and "students" not in figures else {}
    path.write_text(json.dumps(known | figures, indent=1))


def test_a_class_works_and_nothing_is_lost_when_the_hub_is_killed(hub, students):
    for student in students:
        student.run("kept = 4711")
    hub.stop(signal.SIGKILL)
    hub.start()
    answer = "".join(cell_of(perfect()["01_simple_model"], "train_step")["source"])

    def work(student: Browser) -> dict[str, float]:
        student.connect()
        assert student.value("print(kept)") == "4711"
        student.start_kernel("01_simple_model")
        notebook = student.notebook("01_simple_model")
        cell_of(notebook, "train_step")["source"] = answer
        for cell in code_cells(notebook):
            cell["outputs"] = student.run("".join(cell["source"]))
            if cell["id"] == "check-train_step":
                break
        assert student.save("01_simple_model", notebook) and student.assignment("submit")["success"]
        trained = student.send("run = training.train('simple', 'reported', roads, step=train_step)")
        most = {"pss": 0.0, "rss": 0.0}
        while not student.ended(trained):
            now = memory(student.name)
            most = {kind: max(most[kind], now[kind]) for kind in most}
        assert student.value("print(run.how, run.path.parent)").split() == ["trained", f"/home/{student.name}/runs"]
        return most

    with ThreadPoolExecutor(STUDENTS) as pool:
        note({"MiB, training": list(pool.map(work, students))})
    found = [path.name.partition("+")[0] for path in (EXCHANGE / "inbound").iterdir()]
    assert set(NAMES) <= set(found) and len(list((HUB / "cache").iterdir())) == 1


def test_a_training_run_whose_kernel_was_killed_resumes(students):
    student, source = students[0], "run = training.train('unet', 'fast', roads, seed=1)"
    prepare = "import os; os.environ['ROADSEG_EPOCHS'] = '2'; from roadseg import data, training; roads = data.load()"
    student.start_kernel("01_simple_model")
    student.run(prepare)
    student.send(source)
    (run,) = wait_for(lambda: list(Path(f"/home/{student.name}/runs").glob("unet-fast-seed1-*")))
    wait_for((run / "state.npz").is_file)
    (kernel,) = student.kernels()
    note({"MiB, U-Net training": memory(student.name)})
    kernel.kill()
    wait_for(lambda: [process for process in student.kernels() if process != kernel])
    student.connect()
    student.run(f"{prepare}; {source}")
    assert student.value("print(run.how, len(run.curves['epoch']))") == "resumed 2"


def test_a_run_that_the_teacher_shares_is_reused(students):
    first, second = students[:2]
    prepare = "from roadseg import data, training; roads = data.load()"
    train = "run = training.train('simple', 'reported', roads, seed=3)"
    for student in (first, second):
        student.start_kernel("01_simple_model")
        student.run(prepare)
    first.run(train)
    own = Path(first.value("print(run.path)"))
    shared = HUB / "runs" / own.name
    shutil.copytree(own, shared)
    try:
        said = second.value(train)
        assert second.value("print(run.how, run.path)").split() == ["reused", str(shared)] and str(shared) in said
        assert not (Path(f"/home/{second.name}/runs") / own.name).exists()
    finally:
        shutil.rmtree(shared)


def test_nobody_reads_what_is_not_theirs(hub, students):
    student, other = students[0], NAMES[1]
    secret = [
        f"/home/{other}/road_segmentation",
        f"{HUB}/teacher/course/gradebook.db",
        f"{HUB}/teacher/project/notebooks/01_simple_model.ipynb",
        f"{HUB}/teacher/project/roadseg/workbook/rubric.toml",
        f"{HUB}/passwords",
        f"{HUB}/state/jupyterhub.sqlite",
        f"{EXCHANGE}/inbound",
    ]
    assert all(Path(path).exists() for path in secret)
    student.start_kernel("01_simple_model")
    student.run("import os, pathlib, roadseg")
    for path in secret:
        assert student.value(f"print(os.access({path!r}, os.R_OK))") == "False"
        assert "denied" in student.typed(f"cat {path} || ls {path}")
    shared = [HUB, *(HUB / name for name in ("python", "workbook", "data/scenes", "cache", "runs", "exchange/course"))]
    assert student.value(f"print([os.access(path, os.W_OK) for path in {list(map(str, shared))}])") == str([False] * 7)
    assert student.value("print(roadseg.__file__)").startswith(f"{HUB}/workbook")
    found = student.value(f"""for folder in ("workbook", "data", "cache", "runs", "exchange"):
        for path in pathlib.Path("{HUB}", folder).rglob("*"):
            if path.name == "rubric.toml" or path.suffix == ".ipynb" and "BEGIN SOLUTION" in path.read_text():
                print(path)""")
    assert not found
    for process in processes(other):
        assert student.value(f"print(os.access('/proc/{process.pid}/environ', os.R_OK))") == "False"
    assert student.session.get(f"{hub.address}/user/{other}/api/contents").status_code in (403, 404)


def test_a_full_home_loses_nothing(students):
    student = students[-1]
    home = Path(f"/home/{student.name}")
    if not os.path.ismount(home):
        pytest.skip("no file system of its own can be mounted here")
    before = (home / "road_segmentation/00_road_data.ipynb").read_bytes()
    notebook = student.notebook("00_road_data")
    notebook["cells"][0]["source"] = "x" * MEBIBYTE
    student.start_kernel("01_simple_model")
    student.run("import pathlib; from roadseg import data, errors, training; roads = data.load()")
    student.run(f"""with pathlib.Path.home().joinpath("filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes({MEBIBYTE // 64})): pass
        except OSError: pass""")
    assert not student.save("00_road_data", notebook)
    assert (home / "road_segmentation/00_road_data.ipynb").read_bytes() == before
    train = "training.train('simple', 'reported', roads, seed=2)"
    caught = f"try: {train}\nexcept errors.RunError as e: print(str(e).count(chr(10)), 'No space' in str(e))"
    assert student.value(caught).endswith("0 True")
    (home / "filler").unlink()
    assert student.save("00_road_data", notebook)
    student.run(train)


def test_the_teacher_collects_and_grades_what_can_be_read(students):
    first, second, inbound = *NAMES[:2], EXCHANGE / "inbound"
    unreadable = inbound / f"{second}+road_segmentation+2099-01-01 00:00:00.0 UTC+x"
    forged = inbound / f"{first}+road_segmentation+2099-01-01 00:00:00.0 UTC+x"
    copied = f"/home/{second}/road_segmentation"
    assert as_user(second, "cp", "-r", copied, forged).returncode == 0
    assert as_user(second, "mkdir", "-m", "700", unreadable).returncode == 0
    teacher = [HUB / "python/bin/python", "-m", "roadseg", "course"]
    course = ["--course", HUB / "teacher/course"]
    try:
        collected = as_user("demo-teacher", *teacher, "collect", inbound, *course)
    finally:
        shutil.rmtree(forged)
        shutil.rmtree(unreadable)
    lines = dict(line.split(": ", 1) for line in collected.stdout.splitlines())
    assert forged.name in lines[first] and unreadable.name in lines[second] and set(NAMES) <= set(lines)
    graded = as_user("demo-teacher", *teacher, "grade", first, second, "--seconds", "120", *course)
    assert first in graded.stdout, graded.stderr
    outcome = json.loads((HUB / "teacher/course/outcomes" / f"{first}.json").read_text())
    assert outcome["items"]["train_step"]["points"] == 12 and outcome["items"]["val_step"]["points"] == 0


def test_wrong_rights_of_the_exchange_are_named(students):
    for folder, action in ((HUB / "exchange", "fetch"), (EXCHANGE / "inbound", "submit")):
        mode = folder.stat().st_mode
        folder.chmod(0o700)
        try:
            answer = students[0].assignment(action)
            assert not answer["success"] or answer["value"] is None or action == "fetch"
            tried = students[0].typed("cd /tmp && nbgrader fetch_assignment road_segmentation")
            assert action == "submit" or str(folder) in tried
        finally:
            folder.chmod(mode)
    (HUB / "exchange").chmod(0o700)
    try:
        command = [PROJECT / "deploy" / "demonstration.sh", HUB, "yes", str(STUDENTS)]
        refused = subprocess.run(command, text=True, capture_output=True, timeout=300)
    finally:
        (HUB / "exchange").chmod(0o1777)
    assert refused.returncode and f"chmod 1777 {HUB}/exchange" in refused.stderr


def test_idle_kernels_are_shut_down(students):
    assert any(student.kernels() for student in students)
    wait_for(lambda: not any(student.kernels() for student in students), 3 * IDLE)
