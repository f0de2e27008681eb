"""A pytest plugin that prints what each test cost: `pytest -p support.cpu_times`, in one process; nothing fails by it.

CPU seconds of the test and of the processes that it started, and seconds by the clock; set-up counts for the test that
came first. Whatever takes more than ten seconds on a quiet machine is to be marked `slow`, and nothing else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

LIMIT_S = 10.0
SHOWN = 40


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(CpuTimes(), "cpu_times")


class CpuTimes:
    """One line for each test: CPU seconds, seconds by the clock, and whether it is marked slow."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[float, float, bool]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        begun, begun_s = os.times(), time.monotonic()
        result = yield
        spent = sum(after - before for after, before in zip(os.times()[:4], begun[:4], strict=True))
        slow = item.get_closest_marker("slow") is not None
        self.found[item.nodeid] = (spent, time.monotonic() - begun_s, slow)
        return result  # type: ignore[return-value]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        write = terminalreporter.write_line
        total = [sum(cost[k] for cost in self.found.values()) for k in (0, 1)]
        write(f"CPU {total[0]:.0f} s, {total[1]:.0f} s by the clock")
        for name, (cpu, wall, slow) in sorted(self.found.items(), key=lambda each: -each[1][0])[:SHOWN]:
            remark = "slow" if slow else "NOT MARKED slow" if min(cpu, wall) > LIMIT_S else ""
            write(f"{cpu:7.1f} {wall:7.1f} {name} {remark}")
