"""Real-time settings in separate processes: the reported results are those of the kernel, with rights and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

CODE = """
import gc, json, os, resource, subprocess, sys, threading
from rtsysid.live import realtime
done, ready = threading.Event(), threading.Event()
reader = threading.Thread(target=lambda: (ready.set(), done.wait()), daemon=True)
reader.start(); ready.wait()
limit = {limit}
if limit is not None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
if {user}:
    os.setresuid({user}, {user}, {user})
outcomes = realtime.make_punctual({priority}, {cpus}, [reader.native_id])
facts = dict(
    outcomes={{o.name: [o.done, o.text] for o in outcomes}}, lines=[str(o) for o in outcomes],
    policy=os.sched_getscheduler(0), priority=os.sched_getparam(0).sched_priority,
    reader=[os.sched_getscheduler(reader.native_id), os.sched_getparam(reader.native_id).sched_priority],
    child=int(os.popen('cat /proc/self/stat').read().rsplit(')', 1)[1].split()[38]),
    locked=int(next(l for l in open('/proc/self/status') if l.startswith('VmLck')).split()[1]),
    cpus=[sorted(os.sched_getaffinity(t)) for t in (0, reader.native_id)],
    frozen=gc.get_freeze_count(), switch=sys.getswitchinterval(),
)
done.set()
print(json.dumps(facts))
"""


def facts(priority: int = 0, cpus: tuple[int, ...] = (), user: int = 0, limit: int | None = None) -> dict[str, Any]:
    code = CODE.format(priority=priority, cpus=cpus, user=user, limit=limit)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_is_reported_is_what_holds() -> None:
    """Each outcome agrees with the kernel's own word: policy and priority of both threads, no inheritance, locked
    pages, frozen objects, thread switch."""
    found = facts(priority=40)
    assert found["outcomes"]["SCHED_FIFO"][0] == (found["policy"] == os.SCHED_FIFO | os.SCHED_RESET_ON_FORK)
    if found["outcomes"]["SCHED_FIFO"][0]:
        assert found["priority"] == 40
        assert found["reader"] == [os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, 41]
    assert found["child"] == os.SCHED_OTHER
    assert found["outcomes"]["mlockall"][0] == (found["locked"] > 0)
    assert found["frozen"] > 1000
    assert found["switch"] == pytest.approx(0.0005)


def test_without_rights_each_refusal_is_one_line_with_a_remedy() -> None:
    """An ordinary user with ordinary limits gets no error, but what to allow; the rest is done all the same."""
    if os.geteuid() != 0:
        pytest.skip("wants the right to become another user")
    found = facts(priority=40, user=65534, limit=8 << 20)
    assert found["outcomes"]["SCHED_FIFO"] == [
        False,
        "Operation not permitted; allow it: ulimit -r, or LimitRTPRIO=41 in the unit",
    ]
    assert found["outcomes"]["mlockall"] == [
        False, "limited to 8192 KiB; allow it: ulimit -l unlimited, or LimitMEMLOCK=infinity",
    ]  # fmt: skip
    assert (found["policy"], found["locked"]) == (os.SCHED_OTHER, 0)
    assert found["outcomes"]["gc freeze"][0]
    assert all("\n" not in line for line in found["lines"])


def test_affinity_holds_for_all_threads() -> None:
    """The processors asked for are those of every thread; ones that do not exist are refused with those that do."""
    cpu = sorted(os.sched_getaffinity(0))[-1]
    assert facts(cpus=(cpu,))["cpus"] == [[cpu], [cpu]]
    done, text = facts(cpus=(100_000,))["outcomes"]["affinity"]
    assert not done
    assert f"choose among the processors {','.join(map(str, sorted(os.sched_getaffinity(0))))}" in text


def test_nothing_is_tried_that_was_not_asked_for() -> None:
    """Without a priority and processors, scheduling and affinity are left alone and not mentioned."""
    found = facts()
    assert list(found["outcomes"]) == ["mlockall", "thread switch", "gc freeze"]
    assert found["policy"] == os.SCHED_OTHER
