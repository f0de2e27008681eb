"""Arguments and options that several commands share, and the types of numbers."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, get_args

import click

from rtsysid.cli import console
from rtsysid.guards import ranges


class NamedPath(click.Path):
    """A path that is not empty: an unset variable of the shell would name the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises click.BadParameter for an empty one."""
        if not os.fspath(value):
            self.fail("the path is empty.", param, ctx)
        return super().convert(value, param, ctx)


PATH = NamedPath(path_type=Path)


class FiniteRange(click.FloatRange):
    """A number in a range, which NaN is not, although it passes every comparison of a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raises click.BadParameter for anything else."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


class Speed(FiniteRange):
    """A factor of the recorded pace, or ``max``, which becomes None."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the factor, or None for ``max``. Raises click.BadParameter for anything else."""
        return None if value == "max" else super().convert(value, param, ctx)


class Moment(FiniteRange):
    """A time in seconds, with or without its unit: ``12.3s``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the seconds. Raises click.BadParameter for anything else."""
        return super().convert(str(value).removesuffix("s"), param, ctx)


def within(range_: Any, kind: type[FiniteRange] = FiniteRange) -> click.ParamType[Any]:
    """Return the type of an option whose numbers lie in a range of `rtsysid.guards.ranges`; `kind` reads them."""
    number, meta = get_args(range_)
    low, high = (meta.gt if meta.ge is None else meta.ge), (meta.lt if meta.le is None else meta.le)
    ranged: Any = click.IntRange if number is int else kind
    return ranged(low, high, min_open=meta.ge is None, max_open=meta.le is None)  # type: ignore[no-any-return]


def _set_trust(context: click.Context, param: click.Parameter, value: bool) -> None:
    context.meta["rtsysid.trust"] = value


def _trusted_or_not(context: click.Context, param: click.Parameter, value: str) -> str:
    return "trusted" if value == "auto" and context.meta["rtsysid.trust"] else value


def backend_option(command: Any) -> Any:
    """Add --backend and --trust: the name of a backend, "trusted" for auto where the maker is trusted for once."""
    chosen = click.option(
        "--backend", type=click.Choice(["auto", "c", "onnx", "numpy"]), default="auto", show_default=True,
        callback=_trusted_or_not, help="Implementation that runs the model; auto: the fastest one of this machine.",
    )  # fmt: skip
    trust = click.option(
        "--trust", is_flag=True, is_eager=True, expose_value=False, callback=_set_trust,
        help="Run the bundle's C library without asking for its maker.",
    )  # fmt: skip
    return chosen(trust(command))


max_gap = click.option(
    "--max-gap", type=within(ranges.MaxGap), default=5, show_default=True,
    help="Missing samples to replace before a reset.",
)  # fmt: skip
deadline_option = click.option(
    "--deadline", "deadline_ms", type=within(ranges.Milliseconds), metavar="MS",
    help="Exit with code 4 where an answer was older than this.",
)  # fmt: skip
_json = click.option("--json", "json_", is_flag=True, help="Print one JSON object instead of text.")


def _set_quiet(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        console.Shown.say_less()


def _set_verbose(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        console.Shown.say_more()


def verbosity(command: Any) -> Any:
    """Add -q and -v to a command or a group."""
    quiet = click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_set_quiet,
                         help="Print the result and errors alone: no progress, no notes.")  # fmt: skip
    verbose = click.option("-v", "--verbose", is_flag=True, expose_value=False, callback=_set_verbose,
                           help="Print the time of each stage too, and the traceback of a fault.")  # fmt: skip
    return quiet(verbose(command))


def as_json(command: Any) -> Any:
    """Add what every command has: --json, -q and -v."""
    return _json(verbosity(command))


time_column = click.option(
    "--time", "time_", metavar="COLUMN",
    help="Time column, with its unit where the file states none: 'stamp [us]'; \"\" where there is none and rows are "
    "even.  [default: as in training, or t]",
)  # fmt: skip
horizon_option = click.option(
    "--horizon", type=within(ranges.Count), default=50, show_default=True, help="Ticks to forecast."
)
seeds_option = click.option(
    "--seeds", type=within(ranges.Few), default=1, show_default=True, help="Models to train, seeds 0, 1, .."
)
