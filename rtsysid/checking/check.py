"""Check recordings: first as they are, file by file, then as a model would see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rtsysid.checking.amounts import amount_findings
from rtsysid.checking.attitude import attitude_findings, attitude_text, quaternion_findings
from rtsysid.checking.clocks import clock_findings
from rtsysid.checking.delays import Delay, delays
from rtsysid.checking.derivatives import relation_findings
from rtsysid.checking.findings import FAULTS, Finding, joined_findings, source_key
from rtsysid.checking.forces import force_findings, gravity_findings
from rtsysid.checking.inputs import Excitation, input_findings
from rtsysid.checking.levels import level_findings
from rtsysid.checking.rotations import fit_attitude
from rtsysid.checking.stuck import stuck_findings
from rtsysid.checking.tables import RawTable, raw_tables
from rtsysid.checking.vectors import Vector, vectors_of
from rtsysid.config import Config
from rtsysid.errors import TraceError
from rtsysid.guards.stages import say_stage, with_progress
from rtsysid.recordings.names import names_of, recording_files, require_distinct
from rtsysid.recordings.trace import Trace

DELAYED = 3  # ticks: an input that acts later has a delay worth a word
UNDELAYED = 0.7  # of what an input explains, explained without a delay, is as good
IN_SHORT = 3  # warnings before a training
SIMILAR = 20  # recordings and topics whose conventions are described


class Checked(msgspec.Struct, frozen=True):
    """Hold what a check found. ``findings``: grave ones first. ``recordings`` and ``rows`` were looked at.

    ``delays`` and ``inputs``: of each input, empty where there is no configuration, or the rows could not be used.
    ``conventions``: of attitudes and rates, in words. ``notes``: what could not be checked, and why.
    """

    findings: list[Finding]
    recordings: int
    rows: int
    delays: list[Delay]
    inputs: list[Excitation]
    conventions: list[str]
    notes: list[str]

    @property
    def grave(self) -> list[Finding]:
        """List the grave findings."""
        return [each for each in self.findings if each.grave]

    @property
    def in_short(self) -> list[str]:
        """Write the first findings in a line each, and how many more there are."""
        lines = [f"check: {each.title}: {each.evidence}" for each in self.findings[:IN_SHORT]]
        more = len(self.findings) - IN_SHORT
        return [*lines, f"check: {more} more findings: rtsysid check LOG... CONFIG"] if more > 0 else lines

    def to_builtins(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return {**plain, "grave": len(self.grave)}


def check_recordings(
    paths: Sequence[Path], config: Config | None = None, trace: Trace | None = None, time: str | None = None
) -> Checked:
    """Check files and folders as they are; with a configuration, also the `trace` that a training would use of them.

    Without a configuration every column of numbers is checked; `time` names the time column then, "" none; it is
    guessed for None. Raises TraceError where a file cannot be read, or lacks a channel.
    """
    files = [file for path in paths for file in recording_files(path)]
    require_distinct(files)
    found: list[Finding] = []
    counts, conventions, suffix = dict[str, int](), list[str](), ""
    named = zip(files, names_of(files), strict=True)
    for file, name in with_progress(named, "checking recordings", len(files)):
        several: list[RawTable] = []
        for table in raw_tables(file, name, None if config is None else config.data, time):
            found += table_findings(table, config)
            counts[table.recording] = counts.get(table.recording, 0) + len(table.t)
            several += [only_vectors(table)] if config is None else []
            suffix = table.suffix
            del table  # before the next one is read
        conventions += list(_conventions(several))[: SIMILAR - len(conventions)]
    if config is None or trace is None:
        return Checked(joined_findings(found), len(counts), sum(counts.values()), [], [], conventions, [])
    say_stage("checking inputs and conventions")
    later, late, inputs, notes = trace_findings(trace, config, suffix)
    everywhere = {name for each in later if each.fault in ("constant", "input never moves") for name in each.channels}
    found = [each for each in found if each.fault != "constant" or not set(each.channels) <= everywhere]
    narrowed = {name for each in found if each.fault == "float32 resolution" for name in each.channels}
    later = [each for each in later if each.fault != "constant" or not set(each.channels) <= narrowed]
    joined = _explained(joined_findings([*found, *later]))
    return Checked(joined, len(counts), sum(counts.values()), late, inputs, conventions, notes)


def _explained(findings: list[Finding]) -> list[Finding]:
    """Give a lack of rows the remedy of the fault that cut them, where there is one."""
    cuts = (*FAULTS[: FAULTS.index("too short")], "missing values")
    cause = next((each for each in findings if each.fault in cuts), None)
    if cause is None:
        return findings
    remedy = f"see {cause.title}: {cause.remedy}"
    short = [each.fault == "too short" and each.grave for each in findings]
    return [
        msgspec.structs.replace(each, remedy=remedy) if lacks else each
        for each, lacks in zip(findings, short, strict=True)
    ]


def check_for_training(
    paths: Sequence[Path], config: Config, trace: Trace, force: bool, override: str = "force=True"
) -> Checked:
    """Check the recordings of a training; `override` says how to train in spite of grave findings, as `force` does.

    Raises TraceError where a finding is grave and `force` is not given.
    """
    checked = check_recordings(paths, config, trace)
    if not force:
        require_sound(checked, override)
    return checked


def require_sound(checked: Checked, override: str = "force=True") -> None:
    """Raise TraceError where a finding is grave; `override` says how to train nevertheless."""
    if checked.grave:
        first, count = checked.grave[0], len(checked.grave)
        more = f"{count} grave findings in all" if count > 1 else "a grave finding"
        remedy = f"{first.remedy}; {more}: see rtsysid check, or train with {override}"
        raise TraceError(f"recordings: {first.title}", first.evidence, remedy)


def table_findings(table: RawTable, config: Config | None = None) -> list[Finding]:
    """Check one table as it was recorded."""
    rate, lateness = (None, None) if config is None else (config.data.rate_hz, _lateness_of(config, table))
    every: Iterable[Iterator[Finding]] = (
        clock_findings(table, rate, lateness), stuck_findings(table), level_findings(table), quaternion_findings(table),
    )  # fmt: skip
    found = [each for findings in every for each in findings]
    if config is None:  # a column that nobody chose cannot spoil a model
        found = [msgspec.structs.replace(f, grave=f.grave and f.fault != "float32 resolution") for f in found]
    return found


def _lateness_of(config: Config, table: RawTable) -> float | None:
    """Return how late messages may be in s where rows are aligned, None where they are trained as they are."""
    data = config.data
    if not (data.resample or data.sources or table.topic):
        return None
    return 1 / data.rate_hz if data.lateness is None else data.lateness


def trace_findings(
    trace: Trace, config: Config, suffix: str = ""
) -> tuple[list[Finding], list[Delay], list[Excitation], list[str]]:
    """Check recordings as a model sees them: conventions, inputs, delays and amounts. `suffix`: of the log.

    Returns findings, the delay of each input, how each input moves, and notes on what could not be checked.
    """
    body, data = config.model.rigid_body, config.data
    vectors = vectors_of(trace.channels, body)
    relations = list(relation_findings(trace, body is not None))
    found = [*attitude_findings(trace, vectors), *relations, *gravity_findings(trace, vectors)]
    if body is not None and not found:
        found += list(force_findings(trace, vectors, body.gravity))
    try:
        cut = trace.segments(data.rate_hz, nan="split", allow_none=True)
    except TraceError as error:
        note = f"inputs, delays and amounts were not checked: {error}"
        return found, [], [], [note]
    found += list(amount_findings(trace, cut, config))
    if not cut.episodes:
        return found, [], [], []
    of_inputs, inputs, _ = input_findings(cut, data.rate_hz, suffix)
    late = delays(trace, config)
    return [*found, *of_inputs, *delay_findings(late, config)], late, inputs, []


def is_late(delay: Delay) -> bool:
    """Tell whether an input acts some ticks later than the first that may, and not without a delay as well."""
    return delay.found and delay.low >= 2 and delay.ticks >= DELAYED and delay.undelayed <= UNDELAYED


def delay_findings(late: Sequence[Delay], config: Config) -> Iterator[Finding]:
    """Find the inputs that act late."""
    for each in late:
        if not is_late(each):
            continue
        found = (
            f"it acts {each.ticks} ticks ({each.seconds:.3g} s) after its row (95 %: {each.low} to {each.high} ticks); "
            f"without a delay it explains {each.undelayed:.0%} of that"
        )
        taps = config.model.taps
        enough = f"let the window reach it: model.taps = {each.high + 4} or more"
        shift = f"shift it: {source_key(each.input)} shift_s = {each.seconds:.3g}"
        remedy = f"{enough}, or {shift}" if taps is not None and taps < each.high + 2 else shift
        yield Finding("input delay", (each.input,), found, remedy)


def only_vectors(table: RawTable) -> RawTable:
    """Keep the columns of attitudes and rates of a table."""
    columns = [
        c for vector in vectors_of(table.channels) if vector.kind in ("attitude", "rate") for c in vector.columns
    ]
    channels = tuple(table.channels[c] for c in columns)
    return table._replace(values=table.values[:, columns], channels=channels)


def _conventions(tables: Sequence[RawTable]) -> Iterator[str]:
    """Describe the convention of each attitude in a recording, by the rates of its own topic, or of all."""
    every = [(table, vector) for table in tables for vector in vectors_of(table.channels)]
    rates = [each for each in every if each[1].kind == "rate"]
    for table, vector in every:
        own = [each for each in rates if each[0] is table] or rates
        if vector.kind != "attitude" or len(vector.columns) != 4:
            continue
        fits = [(fit_attitude(*_vector_series(table, vector), *_vector_series(*each)), each) for each in own[:SIMILAR]]
        good = [(fit, each) for fit, each in fits if fit is not None and fit.is_good]
        if good:
            fit, (other, rate) = min(good, key=lambda each: each[0].residual)
            names = [f"{t.channels[v.columns[0]].name} .." for t, v in ((table, vector), (other, rate))]
            text = attitude_text(fit._replace(best=fit.best if vector.order else fit.upright or fit.best))
            yield f"{table.recording}: {names[0]} with {names[1]}: {text}"


def _vector_series(table: RawTable, vector: Vector) -> tuple[Any, Any]:
    return table.values[:, list(vector.columns)], table.t
