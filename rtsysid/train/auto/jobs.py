"""Train several networks at the same time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from rtsysid.errors import RtsysidError, ScheduleError

AT_A_TIME = 2
Work = Callable[[], Iterator[Any]]  # yields what a job reports


def run_jobs(jobs: Mapping[str, Work]) -> Iterator[tuple[str, Any]]:
    """Run the jobs, `AT_A_TIME` of them at a time, and yield what each reports, with its name.

    With one core they run one after another in this process. Raises the first error of a
    job after all processes have ended, and ScheduleError where a process was killed.
    """
    if _cores() == 1:
        for name, work in jobs.items():
            yield from ((name, item) for item in work())
        return
    waiting, running = list(jobs.items()), dict[Connection, tuple[str, BaseProcess]]()
    try:
        while waiting or running:
            while waiting and len(running) < AT_A_TIME:
                running.update([_started(*waiting.pop(0))])
            for connection in wait(list(running)):
                yield from _taken(connection, running)
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _started(name: str, work: Work) -> tuple[Connection, tuple[str, BaseProcess]]:
    """Start a job in a process of its own; return where it reports to."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(work, theirs), daemon=True)
    with warnings.catch_warnings():  # Python 3.12 and later warn of threads; none of this process holds a lock here
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    return ours, (name, process)


def _taken(connection: Any, running: dict[Connection, tuple[str, BaseProcess]]) -> Iterator[tuple[str, Any]]:
    """Yield what a job reports next; forget the job where that is its end. Raises its error."""
    name, process = running[connection]
    try:
        kind, item = connection.recv()
    except EOFError:
        kind, item = "error", ScheduleError(f"training {name}", "its process ended", "run the same command again")
    if kind == "item":
        yield name, item
        return
    del running[connection]
    connection.close()
    process.join()
    if kind == "error":
        raise item


def _report(work: Work, to: Connection) -> None:
    """Run a job and send what it yields, then its end or its error."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for item in work():
            to.send(("item", item))
        to.send(("end", None))
    except RtsysidError as error:
        to.send(("error", error))
    except KeyboardInterrupt:
        os._exit(130)  # the parent has the same signal and says so
    except Exception as error:  # a fault, or no memory: the parent says it once
        to.send(("error", RuntimeError(f"{type(error).__name__}: {error}")))


def _end_with_parent() -> None:
    """End this process when its parent was killed: it would hold the folder of the run, and write to it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
