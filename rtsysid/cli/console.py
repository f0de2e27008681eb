"""What the command line shows: results as text or JSON on stdout, progress on stderr.

Names come from files and boards: nothing else prints, so that each text is made visible once, here.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import click
import msgspec

from rtsysid.cli.progress import Display, StageBar
from rtsysid.guards.text import for_json, for_terminal, visible

if TYPE_CHECKING:
    from rtsysid.evaluation.horizon import Evaluation
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.golden import Row
    from rtsysid.model.parity import NotLoaded
    from rtsysid.recordings.pieces import Note
    from rtsysid.recordings.trace import Trace


class Shown:
    """Hold how much the command line says: ``quiet`` (-q), ``verbose`` (-v), the line of progress, and told notes."""

    quiet = verbose = False
    display: Display | None = None
    told: frozenset[str] = frozenset()

    @classmethod
    def begin(cls) -> Display:
        """Begin a command: nothing is asked for yet."""
        cls.quiet, cls.verbose, cls.told = False, False, frozenset()
        cls.display = Display()
        cls.display.watch()
        return cls.display

    @classmethod
    def say_less(cls) -> None:
        """Leave out progress and notes."""
        rest()
        cls.quiet, cls.display = True, None

    @classmethod
    def say_more(cls) -> None:
        """Print the time of each stage too, and the traceback of a fault."""
        cls.verbose = True
        if cls.display is not None:
            cls.display.timed = True


def echo(*lines: str, err: bool = False, colour: str | None = None) -> None:
    """Print each text as one line of visible characters. A colour is left out where NO_COLOR or a file says so.

    Ref: https://no-color.org
    """
    if Shown.display is not None:
        Shown.display.clear()
    for line in lines:
        plain = False if os.environ.get("NO_COLOR") else None
        click.secho(visible(line), err=err, fg=colour, color=plain)


def say(*lines: str) -> None:
    """Print on stderr what is worth knowing but no result; nothing with -q."""
    if not Shown.quiet:
        echo(*lines, err=True)


def stage(label: str, done: int = 0, total: int = 0, text: str = "") -> None:
    """Show that a stage begins, or how much of it is done; nothing with -q."""
    if Shown.display is not None:
        Shown.display.stage(label, done, total, text)


def rest() -> None:
    """Show no progress until the next stage: a session or a person uses the terminal from here on."""
    if Shown.display is not None:
        Shown.display.rest()


def block(text: str) -> None:
    """Print a text of several lines, such as a table."""
    echo(*text.split("\n"))


class StderrLog(logging.Handler):
    """Print what the library logs on stderr, one line each; with -q warnings alone. The same warning is said once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()  # a file that is opened twice warns twice

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        line, warning = record.getMessage(), record.levelno >= logging.WARNING
        if (warning and line not in self._said) or not (warning or Shown.quiet):
            echo(line, err=True, colour="yellow" if warning else None)
        self._said |= {line} if warning else set()


def report(fields: dict[str, Any], json_: bool) -> None:
    """Print one JSON object, or one aligned line for each field."""
    if json_:
        return echo(json.dumps(plain(fields), allow_nan=False))
    names = {key: for_terminal(key.replace("_", " ")) for key in fields}
    width = max(map(len, names.values()), default=0)
    for key, value in fields.items():
        echo(f"{names[key]:<{width}}  {text(value)}")


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: None for a number that is not finite, no half characters."""
    if isinstance(value, dict):
        return {for_json(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return for_json(value) if isinstance(value, str) else value


def text(value: Any) -> str:
    """Format a value for a person, in one line."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        return ", ".join(f"{for_terminal(str(key))} {text(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or "-"
    return "-" if value is None else for_terminal(str(value))


def flat(summary: dict[str, Any]) -> dict[str, Any]:
    """Flatten the summary of a session: counts and rates as they are, latencies in microseconds."""
    latency = summary["latency"] or {}
    timed = {f"{key}_us": latency[key] * 1e6 for key in ("p50", "p99", "worst") if latency.get(key) is not None}
    return {**summary["health"], **(summary["novelty"] or {}), **timed, "deadline_misses": latency.get("misses")}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table: columns as wide as their widest cell, a rule below the header, numbers right-aligned."""
    lines = [list(map(for_terminal, line)) for line in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    numeric = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    cells = [
        "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([cells[0], "  ".join("-" * w for w in widths), *cells[1:]])


def verification(rows: Sequence[Row | NotLoaded]) -> str:
    """Format the table of `rtsysid verify`: errors in standard deviations of the outputs, times of this machine.

    Errors of code and reconstruction are shown where they are too large.
    """
    header = ["backend", "step error", "bound", "forecast error", "bound", "step us", "50 steps us", "result"]
    return table(header, [_verification_cells(row) for row in rows])


def _verification_cells(row: Row | NotLoaded) -> list[str]:
    from rtsysid.model.parity import NotLoaded

    if isinstance(row, NotLoaded):
        return [row.backend, *["-"] * 6, f"not loaded: {row.reason}"]
    shown = [f"{value:.1e}" for name in ("step", "forecast") for value in row.errors[name]]
    failed = [f"{name} {error:.1e} of {bound:.1e}" for name, (error, bound) in row.errors.items() if not error <= bound]
    result = f"FAILED: {', '.join(failed)}" if failed else "passed"
    return [row.backend, *shown, f"{row.step_us:.1f}", f"{row.forecast_us:.0f}", result]


def generated(bundle: Bundle) -> list[str]:
    """Describe the generated C: its sizes, and the error of int8 weights where it has them."""
    lines = []
    for kind, sizes in bundle.manifest.c.items():
        errors = {"step": sizes.step, "forecast": sizes.forecast}
        text = "".join(f", {name} error {error:.1e}" for name, error in errors.items() if error is not None)
        lines.append(f"C {kind}: weights {sizes.weight_bytes:,} bytes, state {sizes.state_bytes:,} bytes{text}")
    return lines


def evaluation(result: Evaluation) -> str:
    """Format the table of `rtsysid evaluate`, and a line that says where the model is better than the baselines."""
    steps = [f"{n} ({n / result.rate_hz:g} s)" for n in result.table_ticks]
    lines = [
        f"mean error of {result.forecasts} forecasts, by ticks ahead",
        table(["error", "predictor", *steps, "sum"], result.rows()),
    ]
    lost = [visible(f"  {each}") for each in result.lost()]
    lines += ["not better than", *lost] if lost else ["the model beats both baselines in every cell"]
    return "\n".join(lines)


def progress(total: int, label: str) -> StageBar:
    """Make a bar that counts the parts of a stage on stderr."""
    return StageBar(Shown.display, total, label)


class StderrLines:
    """Print lines on stderr from a thread of its own: `with StderrLines() as stderr`.

    A terminal that is stuck does not delay the caller. Of more than a hundred waiting lines the rest is left out and
    counted.
    """

    def __init__(self) -> None:
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._left_out = 0
        self._thread = threading.Thread(target=self._print, name="stderr", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.put(None)
        self._thread.join(1.0)

    def write(self, *lines: str) -> None:
        """Queue lines for printing."""
        for line in lines:
            if self._lines.qsize() >= 100:
                self._left_out += 1
                continue
            if self._left_out:
                self._lines.put(f"({self._left_out} lines left out)")
                self._left_out = 0
            self._lines.put(line)

    def _print(self) -> None:
        with suppress(OSError):  # the terminal or the pipe was closed
            for line in iter(self._lines.get, None):
                echo(line, err=True)


def notes(found: Sequence[Note]) -> None:
    """Print on stderr what was left out of the recordings, or resampled; what was printed before is not repeated."""
    lines = dict.fromkeys(note.line for note in found)
    echo(*(line for line in lines if line not in Shown.told), err=True)
    Shown.told |= lines.keys()


def heading(line: str, json_: bool) -> None:
    """Print the heading of a step."""
    echo("", line, err=json_, colour="bright_cyan")


def evaluating(bundle: Bundle, trace: Trace, horizon: int, stride: int) -> Evaluation:
    """Evaluate, and say what was left out of the recordings."""
    from rtsysid.evaluation import horizon as evaluate

    result = evaluate.evaluate(bundle, trace, horizon, stride)
    notes(result.notes)
    return result


def show_verification(bundle: Bundle, rows: Sequence[Row | NotLoaded], json_: bool) -> None:
    """Print the result of an export or a verification."""
    if json_:
        fields = {"bundle": str(bundle.folder), "id": bundle.id}
        found = {"backends": [{**msgspec.to_builtins(r), "passed": getattr(r, "passed", None)} for r in rows]}
        return report({**fields, **found, "c": bundle.manifest.content().get("c", {})}, True)
    block(verification(rows))
    echo(*generated(bundle), f"bundle {bundle.folder}, id {bundle.id}")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell == "-"
    return True
