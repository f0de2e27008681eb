"""Test the processes that train at the same time: results arrive, errors too, and no process is left."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from rtsysid.errors import ScheduleError
from rtsysid.train.auto.jobs import run_jobs

HANGS_S = 60  # a wait that ends only where something hangs


def counting(first: int, count: int) -> Iterator[int]:
    yield from range(first, first + count)


def failing() -> Iterator[int]:
    yield 1
    raise ScheduleError("stage 'joint'", "the loss is not finite", "lower its learning_rate")


def dying() -> Iterator[int]:
    yield 1
    os._exit(3)


def silent(writer: int) -> Iterator[int]:
    """Say once through a pipe that it runs, and then nothing; the pipe ends with the process."""
    os.write(writer, b"x")
    threading.Event().wait()
    yield 1


def endless() -> Iterator[int]:
    while True:
        yield 1


def too_large() -> Iterator[int]:
    yield 1
    raise MemoryError("no room")


def test_what_jobs_report_arrives_with_their_names_and_in_their_order() -> None:
    """Three jobs, more than run at a time, report all they yield, each in order."""
    jobs = {str(k): lambda k=k: counting(10 * k, 5) for k in range(3)}
    found = list(run_jobs(jobs))
    assert {name: [item for of, item in found if of == name] for name in jobs} == {
        str(k): list(range(10 * k, 10 * k + 5)) for k in range(3)
    }
    assert not multiprocessing.active_children()


def test_the_error_of_a_job_is_raised_here_and_ends_the_others() -> None:
    """The line of the error is the one that the job raised; a job without an end ends."""
    with pytest.raises(ScheduleError, match="stage 'joint': the loss is not finite; lower its learning_rate"):
        list(run_jobs({"bad": failing, "endless": endless}))
    assert not multiprocessing.active_children()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core: jobs run in this process")
def test_a_fault_in_a_job_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    """No memory, or a fault of a library: the error says which, and no traceback of the process is printed."""
    with pytest.raises(RuntimeError, match="MemoryError: no room"):
        list(run_jobs({"bad": too_large}))
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core: jobs run in this process")
def test_a_job_whose_process_dies_is_one_line() -> None:
    """A process that was killed is reported as an error with a remedy."""
    with pytest.raises(ScheduleError, match="training bad: its process ended; run the same command again"):
        list(run_jobs({"bad": dying}))
    assert not multiprocessing.active_children()


def test_no_process_outlives_a_reader_that_stops() -> None:
    """Jobs end when nobody reads what they report."""
    reports = run_jobs({"a": endless, "b": endless})
    next(reports)
    reports.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core: jobs run in this process")
def test_jobs_end_when_their_parent_is_killed() -> None:
    """After SIGKILL of the process that started them no job goes on, which would hold the folder of the run."""
    reader, writer = os.pipe()

    def start() -> None:
        os.close(reader)
        list(run_jobs({name: lambda: silent(writer) for name in "ab"}))

    parent = multiprocessing.get_context("fork").Process(target=start)
    parent.start()
    os.close(writer)
    assert os.read(reader, 1) + os.read(reader, 1) == b"xx"
    os.kill(parent.pid or 0, signal.SIGKILL)
    parent.join()
    assert select.select([reader], [], [], HANGS_S)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)
