"""Work for other processes, here or on other machines, by Dask (https://docs.dask.org).

Dask's scheduler hands tasks out, and hands them out again where a worker has died. Each worker is a process of one
thread, as TensorFlow keeps one state for a process. Needs `distributed`, which the extra `course` brings.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from roadseg.errors import RoadsegError, one_line

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 10  # seconds in which a scheduler has to answer
SETTINGS = {
    "distributed.admin.large-graph-warning-threshold": "1GB",  # notebooks travel with their tasks, to outlive a worker
    "distributed.comm.timeouts.connect": f"{PATIENCE}s",
    "distributed.deploy.lost-worker-timeout": "1 day",  # by default Dask gives up one that takes 15 s to start again
    "distributed.scheduler.no-workers-timeout": "10 minutes",  # by default work waits forever where no worker is left
}


class WorkerError(RoadsegError):
    """There is no scheduler, it has no workers, or these are unlike this machine."""


@contextmanager
def connect(scheduler: str | None = None, *, count: int = 1) -> Iterator[Client]:
    """The client of a scheduler such as "tcp://10.0.0.7:8786"; of `count` processes on this machine where it is None.

    Raises
    ------
    WorkerError : Dask is not installed, there is no scheduler, or a worker has other versions or several threads.
    """
    if find_spec("distributed") is None:
        raise WorkerError('Dask is not installed: python -m pip install -e ".[course]" in the project\'s folder.')
    import dask
    from distributed import Client, LocalCluster, WorkerPlugin
    from distributed.utils import silence_logging_cmgr
    from distributed.versions import VersionMismatchWarning

    class Undisturbed(WorkerPlugin):
        def setup(self, worker) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to the workers, too
            atexit.register(os._exit, 0)  # TensorFlow's own way out takes more than four seconds

    with ExitStack() as stack:
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))  # our own errors are one line
        stack.enter_context(dask.config.set(SETTINGS))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", VersionMismatchWarning)  # a table of all packages; ours is one line
        if scheduler is None:
            local = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": "CRITICAL"}
            cluster = LocalCluster(n_workers=count, threads_per_worker=1, memory_limit=0, **local)
            stack.enter_context(cluster)
        try:
            client = stack.enter_context(Client(scheduler or cluster, timeout=PATIENCE))
        except (OSError, ValueError) as error:
            wanted = "expected an address such as tcp://10.0.0.7:8786, where `dask scheduler` runs"
            raise WorkerError(f"no scheduler answers at {scheduler}: {wanted}.") from error
        if scheduler:
            _compare(client, scheduler)
        else:
            client.register_plugin(Undisturbed())
        yield client


def dashboard(client: Client) -> str | None:
    """The address of Dask's dashboard, which its scheduler shows where bokeh is installed."""
    return client.dashboard_link if client.run_on_scheduler(find_spec, "bokeh") else None


def needed_versions() -> dict[str, str]:
    """The versions that have to be the same everywhere; of Python without the last number."""
    from roadseg import runs

    found = runs.versions() | {"distributed": version("distributed")}
    return found | {"python": found["python"].rpartition(".")[0]}


def _compare(client: Client, scheduler: str) -> None:
    """Raise WorkerError where there are no workers, or one has threads, or anything has other versions than here."""
    threads, own, start = client.nthreads(), needed_versions(), f"dask worker {scheduler} --nworkers 1 --nthreads 1"
    if not threads:
        raise WorkerError(f"the scheduler {scheduler} has no workers: start some, `{start}` each.")
    everyone = client.run(needed_versions, on_error="return")
    try:
        everyone[scheduler] = client.run_on_scheduler(needed_versions)
    except Exception as error:  # whatever its machine lacks
        everyone[scheduler] = error
    for address, found in everyone.items():
        if isinstance(found, Exception):
            raise WorkerError(f"{address} has no roadseg like this one ({one_line(found)}): install it there.")
        if other := [f"{name} {found[name]}, not {own[name]}" for name in own if found[name] != own[name]]:
            raise WorkerError(f"{address} has {'; '.join(other)}: install the same versions everywhere.")
        if threads.get(address, 1) > 1:
            raise WorkerError(f"the worker {address} has {threads[address]} threads: start it with `{start}`.")


def everywhere(client: Client, function: Callable, *arguments) -> list:
    """What a function returns on each worker; where one dies, another does it."""
    options = {"pure": False, "allow_other_workers": True}
    return client.gather([client.submit(function, *arguments, workers=[a], **options) for a in client.nthreads()])


def results(
    client: Client, function: Callable, names: Iterable, arguments: Callable[..., tuple]
) -> Iterator[tuple[object, object]]:
    """Each name, with what `function(*arguments(name))` returned or the exception it raised, as soon as it is done.

    Twice as many as there are workers are under way; one with which workers died is tried once more, alone.
    Raises WorkerError where the scheduler or all workers are lost.
    """
    from distributed import KilledWorker, as_completed
    from distributed.scheduler import NoWorkerError

    done, names_of, suspects = as_completed(), {}, []
    try:
        for alone, wanted in (False, names), (True, suspects):
            waiting = deque(wanted)
            while waiting or names_of:
                if waiting and len(names_of) < (1 if alone else 2 * max(1, sum(client.nthreads().values()))):
                    name = waiting.popleft()
                    try:
                        future = client.submit(function, *arguments(name), pure=False)
                    except RoadsegError as error:
                        yield name, error
                        continue
                    names_of[future] = name
                    done.add(future)
                    continue
                future = next(done)
                name, outcome = names_of.pop(future), future.exception() or future.result()
                del future  # or else the worker keeps the result
                if isinstance(outcome, NoWorkerError):
                    raise outcome
                if isinstance(outcome, KilledWorker) and not alone:
                    suspects.append(name)  # Dask also blames what only waited where another task killed its worker
                else:
                    yield name, outcome
    except (CancelledError, NoWorkerError, OSError) as error:
        gone = "the scheduler or its workers are gone; what was done stays, the same command does the rest"
        raise WorkerError(f"{gone}.") from error
