"""Every number from outside has a range: options of commands, keys of configurations, fields of specifications."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

import click
import msgspec
import pytest
from support.commands import every_command
from support.shell import ROOT, command

from firmware_bridge.schema import Schema
from rtsysid.benchmarks.robot_files import TrainedModel
from rtsysid.config import Config, config_from_builtins
from rtsysid.errors import ConfigError
from rtsysid.evaluation.expectation import Expectation
from rtsysid.live.settings import Settings
from rtsysid.spec import ModelSpec, Scaling

WORDS = ("nan", "inf", "-inf", "-1", "0", "9223372036854775808", "18446744073709551616", "1e300", "-1e300", "ten")
NUMBERS: tuple[Any, ...] = (math.nan, math.inf, -math.inf, -1, 0, 2**63, 2**64, 10**400, 1e300, -1e300, "ten")
RANGES = (click.IntRange, click.FloatRange)
OPTIONS = {
    f"{name} {option.opts[0]}": (name, option)
    for name, each in every_command()
    for option in each.params
    if isinstance(option, click.Option) and not option.is_flag
}
TEXTS = (click.Choice, click.Path, click.types.StringParamType)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_with_a_number_has_a_range(option: str) -> None:
    """An option takes a path, a choice, a text, or a number between two ends: no other type of click is in use."""
    kind = OPTIONS[option][1].type
    assert isinstance(kind, (*RANGES, *TEXTS))
    if isinstance(kind, RANGES):
        assert kind.min is not None
        assert kind.max is not None


@pytest.mark.parametrize("option", [key for key, (_, each) in OPTIONS.items() if isinstance(each.type, RANGES)])
def test_a_number_out_of_range_is_refused_before_the_command_begins(option: str) -> None:
    """NaN, infinity, what is negative or huge: within the declared range, or one line and exit code 1."""
    name, each = OPTIONS[option]
    kind: Any = each.type
    for word in WORDS:
        try:
            value = kind.convert(word, each, None)
        except click.BadParameter:
            done = command(*name.split(), f"{max(each.opts, key=len)}={word}", check=1)
            assert done.stderr.count("\n") == 1
            # With an optional value, what begins with a hyphen is an option of its own.
            own_option = each.flag_value is not None and word.startswith("-")
            assert max(each.opts, key=len) in done.stderr or own_option
        else:
            assert math.isfinite(value)
            assert kind.min <= value <= kind.max


def numbers(struct: type[msgspec.Struct]) -> Iterator[tuple[str, Any, Any]]:
    """Yield every key with a number of a structure, and of those inside it: name, type hint, and what msgspec knows."""
    about = msgspec.inspect.type_info(struct)
    assert isinstance(about, msgspec.inspect.StructType)
    hints = get_type_hints(struct, include_extras=True)
    for field in about.fields:
        for kind in inside(field.type):
            if isinstance(kind, msgspec.inspect.StructType) and kind.cls is not Scaling:
                yield from numbers(kind.cls)
            elif isinstance(kind, (msgspec.inspect.IntType, msgspec.inspect.FloatType)):
                yield f"{struct.__name__}.{field.encode_name}", hints[field.name], kind


def inside(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """A type, and every type that it is made of."""
    yield kind
    parts = [getattr(kind, name, None) for name in ("item_type", "value_type", "key_type")]
    for part in (*parts, *getattr(kind, "item_types", ()), *getattr(kind, "types", ())):
        if part is not None:
            yield from inside(part)


DECODED = {  # where structures are read from outside, and which test knows the ranges of their numbers
    "rtsysid.config": "here",
    "rtsysid.spec": "here",
    "rtsysid.live.settings": "here",
    "rtsysid.live.bundle_watch": "from its own parent",
    "rtsysid.live.updates": "from its own child",
    "rtsysid.model.about": "texts alone",
    "rtsysid.model.trust": "texts alone",
    "firmware_bridge.schema": "here",
    "firmware_bridge.board": "here",
    "rtsysid.model.untrusted": "for its callers, which are listed",
    "rtsysid.model.history": "a count and losses, which nothing but a page shows",
    "rtsysid.model.manifest": "tests/model/test_untrusted_bundle.py",
    "rtsysid.live.calibration": "tests/model/test_untrusted_bundle.py",
    "rtsysid.train.run": "tests/train/test_untrusted_run.py",
    "rtsysid.retrieval.index": "tests/retrieval/test_untrusted_index.py",
    "rtsysid.recordings.ros.container": "texts alone",
    "rtsysid.recordings.formats.npz": "texts alone",
    "rtsysid.schedule": "of the package itself",
    "rtsysid.benchmarks.sources": "of the package itself",
    "rtsysid.recordings.draft.known": "of the package itself",
    "rtsysid.recordings.formats.lerobot": "tests/recordings/test_lerobot.py",
    "rtsysid.guards.ranges": "the ranges themselves",
    "rtsysid.benchmarks.robot_files": "here",
    "rtsysid.sources.channel_map": "of a configuration's [data.sources]",
    "rtsysid.sources.json_lines": "tests/sources/test_hostile_bytes.py",
    "rtsysid.sources.playback": "tests/sources/test_hostile_bytes.py",
    "rtsysid.sources.url": "tests/sources/test_hostile_bytes.py",
    "rtsysid.evaluation.expectation": "here",
    "rtsysid.train.generative.on_point": "of run.json, which tests/train/test_untrusted_run.py covers",
    "rtsysid.experiments.generative": "of run.json, which tests/train/test_untrusted_run.py covers",
    "rtsysid.train.auto.networks": "of run.json, which tests/train/test_untrusted_run.py covers",
    "rtsysid.experiments.sweep.space": "tests/experiments/test_sweep_space.py",
    "rtsysid.experiments.sweep.study": "tests/experiments/test_sweep_space.py",
    "rtsysid.experiments.sweep.folder": "tests/experiments/test_sweep_space.py",
}
# configurations, bundles, recorded sessions, boards, benchmarks of robots
READ = (Config, ModelSpec, Settings, Schema, Expectation, TrainedModel)
KEYS = {name: (hint, kind) for struct in READ for name, hint, kind in numbers(struct)}


def test_every_place_that_reads_structures_is_known() -> None:
    """A new module that makes structures of plain values is listed above, and its numbers are tested."""
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("rtsysid", "export", "firmware_bridge")
        for path in (ROOT / package).rglob("*.py")
        if re.search(
            r"(msgspec\.convert|structure_of|msgspec\.json\.decode|msgspec\.json\.Decoder)\(", path.read_text()
        )
    }
    assert found == set(DECODED)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_with_a_number_has_a_range(key: str) -> None:
    """A key is within two ends, so that neither NaN nor infinity nor a slip of the keyboard passes."""
    hint, kind = KEYS[key]
    assert kind.ge is not None or kind.gt is not None
    assert kind.le is not None or kind.lt is not None
    if hint in (int, float) or msgspec.inspect.type_info(hint) == kind:
        for number in NUMBERS:
            try:
                found = msgspec.convert(number, hint)
            except msgspec.ValidationError:
                continue
            assert math.isfinite(found)


def stated(kind: Any) -> str:
    """The range of a number as docs/configuration.md writes it."""
    low, high = (f"above {kind.gt:g}" if kind.ge is None else f"{kind.ge:g}"), kind.lt if kind.le is None else kind.le
    ends = {2**63 - 1: "2^63 - 1"}.get(high, f"{high:,.0f}" if 1e3 <= high <= 1e7 else f"{high:g}")
    return f"{low} to {'below ' if kind.le is None else ''}{ends}"


def test_every_range_is_documented() -> None:
    """The section on ranges in docs/configuration.md names each key with a number, and its range."""
    document = (ROOT / "docs" / "configuration.md").read_text().partition("\n## Ranges\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", document, re.MULTILINE)
    found = {(key, range_) for keys, range_ in rows for key in re.findall(r"`(\w+)`", keys)}
    wanted = {(name.partition(".")[2], stated(kind)) for name, _, kind in numbers(Config)}
    assert found == wanted


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(("table", "key"), [("data", "rate_hz"), ("train", "effort"), ("train", "batch")])
def test_a_configuration_with_such_a_number_is_one_line(table: str, key: str, number: Any) -> None:
    """The line names the key."""
    built: dict[str, Any] = {"data": {"rate_hz": 1, "inputs": ["u"], "outputs": ["y"]}, "train": {}}
    built[table][key] = number
    with pytest.raises(ConfigError, match=rf"{table}\.{key}"):
        config_from_builtins(built)


def test_the_seed_goes_to_the_last_one_of_torch() -> None:
    """0 and 2^63 - 1 are seeds, their neighbours are not."""
    hint = KEYS["Training.seed"][0]
    assert [msgspec.convert(each, hint) for each in (0, 2**63 - 1)] == [0, 2**63 - 1]
    for number in (-1, 2**63):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(number, hint)
