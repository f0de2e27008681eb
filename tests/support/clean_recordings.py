"""Clean recordings of robots and of the classic benchmarks, each with its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from support.injected_faults import trace_of

from rtsysid.benchmarks.tasks import SIMULATIONS
from rtsysid.checking.check import table_findings, trace_findings
from rtsysid.checking.findings import Finding, joined_findings
from rtsysid.checking.tables import RawTable
from rtsysid.config import Config, embedded, parse_config, read_config
from rtsysid.errors import TraceError
from rtsysid.recordings.home import recordings
from rtsysid.recordings.simulate import fly
from rtsysid.recordings.trace import Episode, Trace

ROBOTS = ("crazypad", "fixed_wing", "humanoid_arm", "kuka", "motor_rig", "schunk_arm", "so101")
CLASSICS = ("silverbox", "wh2009", "emps", "cascaded-tanks", "ced")
EVERY = ("simulated", "nanodrone", *ROBOTS, *CLASSICS)


def clean(name: str) -> tuple[Config, Trace]:
    """The training recordings of a benchmark and its configuration."""
    try:
        return _read(name)
    except TraceError as error:
        pytest.skip(f"wants {error.what}")


@cache
def _read(name: str) -> tuple[Config, Trace]:
    if name in CLASSICS:
        return _classic(name)
    if name == "simulated":
        return read_config("quadrotor"), fly(3, 20.0)
    if name == "nanodrone":
        folder, config = recordings("nanodrone"), parse_config(embedded("nanodrone"))
    else:
        folder = recordings("robots", name)
        config = read_config(folder / "robot.toml")
    return config, Trace.read(folder / "train", config.data.channels)


def _classic(name: str) -> tuple[Config, Trace]:
    known = next(each for each in SIMULATIONS if each.name == name)
    records, rate = known.read().train, known.rate_hz
    episodes = (
        Episode(r.name, np.arange(len(r.u)) / rate, np.column_stack((r.u, r.y)).astype(np.float32)) for r in records
    )
    return parse_config(embedded(known.config), known.config), Trace((known.input, known.output), tuple(episodes))


def found_in(tables: Sequence[RawTable], config: Config) -> list[Finding]:
    """Everything that a check finds in recordings."""
    raw = [each for table in tables for each in table_findings(table, config)]
    return joined_findings([*raw, *trace_findings(trace_of(tables), config)[0]])
