"""Train several networks at the same time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from rtsysid.errors import RtsysidError, ScheduleError

Work = Callable[[], Iterator[Any]]  # yields what a job reports


def run_jobs(jobs: Mapping[str, Work]) -> Iterator[tuple[str, Any]]:
    """Run the jobs and yield what each reports, with its name; at most as many at a time as there are cores.

    Raises the first error of a job, after all processes have ended.
    """
    if (
        torch.cuda.is_available()
        or (os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()) == 1
    ):
        for name, work in jobs.items():
            yield from ((name, item) for item in work())
        return
    context, waiting = multiprocessing.get_context("fork"), list(jobs.items())
    running: dict[Connection, tuple[str, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < 2:
                name, work = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_report, args=(work, theirs), daemon=True)
                process.start()
                theirs.close()
                running[ours] = (name, process)
            for connection in wait(list(running)):
                yield from _taken(connection, running)
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def _taken(connection: Any, running: dict[Connection, tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    name, process = running[connection]
    try:
        kind, item = connection.recv()
    except EOFError:
        kind, item = "error", ScheduleError(f"training {name}", "its process ended", "run the same command again")
    if kind == "item":
        yield name, item
        return
    del running[connection]
    process.join()
    if kind == "error":
        raise item


def _report(work: Work, to: Connection) -> None:
    torch.set_num_threads(1)
    try:
        for item in work():
            to.send(("item", item))
        to.send(("end", None))
    except RtsysidError as error:
        to.send(("error", error))
    except KeyboardInterrupt:
        os._exit(130)  # the parent has the same signal and says so
