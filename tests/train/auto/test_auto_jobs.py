"""Test the processes that train at the same time: results arrive, errors too, and no process is left."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

import pytest

from rtsysid.errors import ScheduleError
from rtsysid.train.auto.jobs import run_jobs


def counting(first: int, count: int) -> Iterator[int]:
    yield from range(first, first + count)


def failing() -> Iterator[int]:
    yield 1
    raise ScheduleError("stage 'joint'", "the loss is not finite", "lower its learning_rate")


def dying() -> Iterator[int]:
    yield 1
    os._exit(3)


def endless() -> Iterator[int]:
    while True:
        yield 1


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
