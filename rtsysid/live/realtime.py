"""Settings of Linux that make a live loop punctual. Each is tried, none is required, and each reports its result.

Call `make_punctual` when everything is loaded and the threads run: it applies to existing threads and objects only.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterable
from typing import NamedTuple

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_SWITCH_S = 0.5e-3  # by default a computing thread gives up the interpreter after 5 ms: several ticks


class Outcome(NamedTuple):
    """Result of one setting; `done` is False where the system refused it, and `text` then says how to allow it."""

    name: str
    done: bool
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


def make_punctual(
    priority: int = 0, cpus: Iterable[int] = (), threads: Iterable[int] = (), *, lock: bool = True
) -> list[Outcome]:
    """Try every setting and return the results. `lock`: keep the memory of the process from being swapped out.

    `priority`: 1..99 of SCHED_FIFO; 0: unchanged. `cpus`: processors to run on; none: all. `threads`: native ids of
    more threads, such as a reader; they get the priority above that of the calling thread.
    """
    chosen = sorted(set(cpus))
    outcomes = [affinity(chosen)] if chosen else []
    outcomes += [fifo(priority, threads)] if priority else []
    return [*outcomes, *([lock_memory()] if lock else []), switch_interval(), freeze()]


def fifo(priority: int, threads: Iterable[int] = ()) -> Outcome:
    """Set SCHED_FIFO: the calling thread at `priority`, `threads` one above it, since the loop waits for the reader.

    Child processes and threads made later are scheduled as usual.
    """
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
        for thread in threads:
            os.sched_setscheduler(thread, policy, os.sched_param(min(priority + 1, 99)))
    except (OSError, OverflowError) as error:
        return _refused("SCHED_FIFO", error, f"allow it: ulimit -r, or LimitRTPRIO={min(priority + 1, 99)} in the unit")
    return Outcome("SCHED_FIFO", True, f"priority {priority}, reset on fork")


def affinity(cpus: Iterable[int]) -> Outcome:
    """Run all threads of this process on the processors `cpus` only."""
    wanted = set(cpus)
    try:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), wanted)
    except (OSError, OverflowError, ValueError) as error:
        here = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        return _refused("affinity", error, f"choose among the processors {here}")
    return Outcome("affinity", True, f"processors {','.join(map(str, sorted(wanted)))}")


def lock_memory() -> Outcome:
    """Lock every page that this process uses in memory, now and later.

    Pages that are reserved and not yet used, such as most of a thread's stack, take no memory before their first use.
    Not tried where a limit is set: beyond the limit, every later allocation would fail.
    """
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        found = f"limited to {limit >> 10} KiB"
        return Outcome("mlockall", False, f"{found}; allow it: ulimit -l unlimited, or LimitMEMLOCK=infinity")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        code = ctypes.get_errno()
        return _refused("mlockall", OSError(code, os.strerror(code)), "allow it: CAP_IPC_LOCK")
    return Outcome("mlockall", True, "all pages in use, now and later")


def switch_interval() -> Outcome:
    """Give the interpreter to a waiting thread sooner."""
    sys.setswitchinterval(_SWITCH_S)
    return Outcome("thread switch", True, f"after {_SWITCH_S * 1e3:g} ms")


def freeze() -> Outcome:
    """Collect garbage once and exclude all existing objects from later collections; a full one takes 7 to 11 ms."""
    gc.collect()
    gc.freeze()
    return Outcome("gc freeze", True, f"{gc.get_freeze_count()} objects")


def _refused(name: str, error: Exception, remedy: str) -> Outcome:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Outcome(name, False, f"{reason}; {remedy}")
