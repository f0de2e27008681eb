"""Test that faults injected into clean recordings are found with their place, and that clean ones have no grave one."""

import numpy as np
import pytest
from support.clean_recordings import CLASSICS, ROBOTS, clean, found_in
from support.injected_faults import FAULTS, delayed, inject, is_found, table_of, trace_of

from rtsysid.checking.delays import delays

WHERE = ("nanodrone", "schunk_arm", "crazypad")
SEED = 1


@pytest.mark.parametrize("fault", FAULTS)
def test_an_injected_fault_is_found(fault):
    """Each fault is found in its own word, with its channel and its time, in a recording that has what it needs."""
    tried = 0
    for robot in WHERE:
        config, trace = clean(robot)
        table = table_of(trace)
        try:
            faulty = inject(fault, table, SEED)
        except ValueError:  # nothing to inject it into
            continue
        tried += 1
        others = [table_of(trace, k) for k in range(1, min(len(trace.episodes), 3))]
        for tables in ([faulty.table, *others], [faulty.table]):  # what concerns all recordings is in all of them
            if is_found(faulty, FAULTS[fault], found_in(tables, config), float(np.median(np.diff(table.t)))):
                return
    assert not tried, f"{fault} was injected into {tried} recordings and found in none"


@pytest.mark.parametrize("robot", ["nanodrone", *ROBOTS, *CLASSICS])
def test_clean_recordings_have_no_grave_finding(robot):
    """What was recorded well trains without a word of refusal."""
    config, trace = clean(robot)
    tables = [table_of(trace, k) for k in range(min(len(trace.episodes), 6))]
    assert [each.line for each in found_in(tables, config) if each.grave] == []


@pytest.mark.slow
@pytest.mark.parametrize("robot", ["nanodrone", "schunk_arm", "silverbox", "wh2009"])
def test_two_delays_differ_by_what_was_injected(robot):
    """Injected delays differ in the estimates by what was injected, within a tick, and lie in narrow intervals."""
    config, trace = clean(robot)
    tables = [table_of(trace, k) for k in range(min(len(trace.episodes), 4))]
    estimates = {}
    for ticks in (0, 3, 5, 20):
        late = [delayed(table, ticks) for table in tables]
        estimates[ticks] = {each.input: each for each in delays(trace_of(late), config)}
    known = [name for name, each in estimates[0].items() if each.found]
    assert known
    for ticks, found in estimates.items():
        for name in known:
            late = found[name]
            allowed = 1 if ticks >= 5 else 2
            assert abs(late.ticks - estimates[0][name].ticks - ticks) <= allowed
            assert late.low <= late.ticks <= late.high < late.low + 15
