"""The live commands with sources next to the serial link: run, record, info, replay, and errors in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.robots import plant
from support.shell import command, refused_here

from rtsysid.recordings.trace import Trace

ROBOT = '''
import math


def rows():
    """A robot at 50 Hz that is silent for a while."""
    for k in range(200):
        if not 90 <= k < 110:
            yield {"t": 3 + k / 50, "u": math.sin(k / 9), "y": math.sin(k / 18), "v": math.cos(k / 18)}


def topics():
    for k in range(300):
        yield {"topic": "motor", "t": 3 + k / 100, "volts": k % 7}
        yield {"topic": "imu", "t": 3 + k / 100 + 0.001, "state": {"y": 0.01 * k, "v": [1.0, 2.0]}}


def broken():
    yield {"t": 1.0, "u": 0, "y": 0, "v": 0}
    raise RuntimeError("no sensor")


def strange():
    yield "a line"


def other():
    yield {"t": 1.0, "u": 0, "y": 0}


def timeless():
    yield {"u": 0, "y": 0, "v": 0}


def needs(port):
    yield {"t": 1.0}


def number():
    return 3


class Robot:
    def __init__(self, url):
        pass


def twice():
    for each in rows():
        yield each
        yield each


def blind():
    for k, each in enumerate(rows()):
        yield {**each, "y": None if k < 5 else each["y"], "v": math.nan if k == 50 else each["v"]}
'''
OWN = '''
import numpy as np

from rtsysid.device_clock import host_s
from rtsysid.source import SourceHealth
from rtsysid.spec import Arrival, Sample


class Robot:
    """A source of its own, as docs/sources.md describes one: it loses 20 samples, and takes the answers."""

    thread_ids, sent, made = (), 0, 0

    def __init__(self, url, **options): ...
    def __enter__(self): return self
    def __exit__(self, *_): ...
    def describe(self, timeout_s=5.0): return {"robot": "mine"}
    def close(self): ...
    def events(self): return []
    def predict(self, seq, status, age_s, horizon_s, y): self.sent += 1

    def batches(self, timeout_s):
        for k in (k for k in range(200) if not 90 <= k < 110):
            self.made += 1
            values = np.array([np.sin(k / 9), np.sin(k / 18), np.cos(k / 18)], np.float32)
            yield [Arrival(Sample(k / 50, values), k * 20_000, host_s(), host_s(), k, 1)]

    def health(self):
        assert self.sent == self.made
        return SourceHealth(state="here", samples=self.made, gaps=20, dropped=0, corrupt=0, losses=0, reboots=0)
'''
MAP = """
rate_hz = 50
inputs = ["u [V]"]
outputs = ["y [m]", "v [m/s]"]
[sources]
u = { topic = "motor", field = "volts" }
y = { topic = "imu", field = "state.y" }
v = { topic = "imu", field = "state.v[0]" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of a robot, and a map, where the commands run."""
    (tmp_path / "robot.py").write_text(ROBOT)
    (tmp_path / "map.toml").write_text(MAP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "robot", raising=False)
    return tmp_path


def test_a_function_runs_records_and_replays(bundle_folder: Path, folder: Path) -> None:
    """A function is answered to its end, its gap is counted, and the session replays to equal predictions."""
    done = command("run", bundle_folder, "python:robot:rows", "--record", "f.mcap", "--budget-ms", 1e6, "--json")
    report = json.loads(done.stdout)
    assert report["samples"] == report["link"]["samples"] == 180
    assert (report["link"]["gaps"], report["link"]["dropped"], report["not_recorded"]) == (20, 0, 0)
    assert report["session"]["health"]["resets"] == 1
    assert "the source has ended" in done.stderr
    again = json.loads(command("replay", bundle_folder, "f.mcap", "--json").stdout)
    assert (again["equal"], again["compared"]) == (True, 180)


def test_several_topics_run_by_a_map_and_replay(bundle_folder: Path, folder: Path) -> None:
    """With a map, topics become even rows, live and again from the recording."""
    arguments = ("run", bundle_folder, "python:robot:topics", "--map", "map.toml", "--record", "f.mcap", "--json")
    report = json.loads(command(*arguments, "--budget-ms", 1e6).stdout)
    assert report["samples"] >= 140
    assert report["link"]["gaps"] == 0
    again = json.loads(command("replay", bundle_folder, "f.mcap", "--json").stdout)
    assert (again["equal"], again["compared"]) == (True, report["samples"])
    channels = json.loads(command("info", "f.mcap", "--json").stdout)["channels"]
    assert [(each["name"], each["unit"]) for each in channels] == [("u", "V"), ("y", "m"), ("v", "m/s")]


def test_a_class_of_the_user_is_answered_and_replays(bundle_folder: Path, folder: Path) -> None:
    """A class with the methods of a source gets every prediction; its recording, without bytes, replays equal."""
    (folder / "own.py").write_text(OWN)
    done = command("run", bundle_folder, "python:own:Robot", "--record", "f.mcap", "--budget-ms", 1e6, "--json")
    report = json.loads(done.stdout)
    assert (report["samples"], report["session"]["health"]["resets"]) == (180, 1)
    again = json.loads(command("replay", bundle_folder, "f.mcap", "--json").stdout)
    assert (again["equal"], again["compared"], again["missing"]) == (True, 180, 0)


def test_what_came_twice_is_in_the_summary(bundle_folder: Path, folder: Path) -> None:
    """Messages that came twice are used once, and the summary that a person reads counts them."""
    done = command("run", bundle_folder, "python:robot:twice", "--budget-ms", 1e6)
    counts = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines())
    assert (counts["samples"], counts["duplicates"]) == ("180", "180")


def test_unknown_values_are_samples(bundle_folder: Path, folder: Path) -> None:
    """A robot may begin with a value that is not known, and lose one later: these samples count, and are rejected."""
    arguments = ("run", bundle_folder, "python:robot:blind", "--record", "f.mcap", "--budget-ms", 1e6, "--json")
    report = json.loads(command(*arguments).stdout)
    assert (report["samples"], report["link"]["gaps"], report["link"]["corrupt"]) == (180, 20, 0)
    assert report["session"]["health"]["rejected"] == 6
    assert json.loads(command("replay", bundle_folder, "f.mcap", "--json").stdout)["equal"]


def test_a_recording_is_a_source(bundle_folder: Path, recording: Path, folder: Path) -> None:
    """A log plays as a live source, as fast as it may, and every row of it is answered."""
    address = f"log:{recording}?speed=max"
    report = json.loads(command("run", bundle_folder, address, "--budget-ms", 1e6, "--json").stdout)
    assert (report["samples"], report["link"]["gaps"]) == (200, 0)
    assert "source" in json.loads(command("info", address, "--json").stdout)


def test_what_was_recorded_without_a_model_is_read_for_training(folder: Path) -> None:
    """record takes the channels of the one topic, those of a map, or each of several topics as it comes."""
    plain = json.loads(command("record", "python:robot:rows", "-o", "rows.mcap", "--json").stdout)
    trace = Trace.read(folder / "rows.mcap")
    assert plain["samples"] == len(trace) == 180
    assert [each.name for each in trace.channels] == ["u", "y", "v"]
    command("record", "python:robot:topics", "-o", "mapped.mcap", "--map", "map.toml")
    assert np.allclose(np.diff(Trace.read(folder / "mapped.mcap").episodes[0].t), 0.02)
    command("record", "python:robot:topics", "-o", "topics.mcap")
    topics = json.loads(command("info", "topics.mcap", "--json").stdout)["topics"]
    found = {each["name"]: (each["messages"], [field["name"] for field in each["fields"]]) for each in topics}
    assert found["/motor"] == (300, ["volts"])
    assert found["/imu"] == (300, ["state_y", "state_v_0", "state_v_1"])


def test_info_lists_topics_and_rates(folder: Path) -> None:
    """info of a source says which topics come, how often, and with which fields."""
    found = json.loads(command("info", "python:robot:topics", "--json").stdout)
    assert found["topics"] == {"motor": "100 Hz: volts", "imu": "100 Hz: state.y, state.v[0], state.v[1]"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("python:robot:broken", "the function failed: RuntimeError('no sensor')"),
        ("python:robot:strange", "it yielded 'a line'"),
        ("python:robot:other", "lacks v; it has u, y"),
        ("python:robot:nothing", "no attribute"),
        ("python:nowhere:rows", "No module named"),
        ("python:torn:rows", "importing torn failed: SyntaxError"),
        ("python:robot:timeless", "KeyError('t')"),
        ("python:robot:needs", "name one without arguments that yields"),
        ("python:robot:number", "name one without arguments that yields"),
        ("python:robot:Robot", "make it as Class(url, **options)"),
        ("python:robot:rows?speed=2", "options of this source: none"),
        ("upd://:9000", "did you mean udp:?"),
        ("ros2:?connect=router", "connect=router is no endpoint; write tcp/HOST:PORT"),
        ("python:robot", "write python:MODULE:FUNCTION"),
        ("udp://127.0.0.1", "write udp://HOST:PORT"),
        ("udp://:9000?time", "is not option=value"),
        ("udp://:9000?tim=t", "options of this source: time, to"),
        ("ws://127.0.0.1:1", "check the address"),
        ("can:vcan0", "missing required field"),
        ("can:x?interface=virtual&dbc=no.dbc", "check its path"),
        ("mavlink:/dev/no-such-port", "No such file"),
        ("mavlink:udp://:0?dialect=no%20ne", "name one of pymavlink"),
        ("ros2:?distro=no", "name one of"),
        ("log:no.csv", "no.csv"),
        ("log:robot.py?speed=0", "give a factor above 0, or max"),
    ],
)
def test_a_wrong_source_is_one_line(bundle_folder: Path, folder: Path, address: str, said: str) -> None:
    """Whatever is wrong with an address or its source, one line says what, what was found, and what to do; a recording
    that would have been replaced stays."""
    code = 1 if address in ("log:no.csv",) else 3
    (folder / "torn.py").write_text("def rows(:\n")
    (folder / "kept.mcap").write_bytes(b"an earlier flight")
    arguments = (address, "--record", "kept.mcap", "--overwrite")
    assert said in refused_here("run", bundle_folder, *arguments, code=code)
    assert (folder / "kept.mcap").read_bytes() == b"an earlier flight"


def test_a_package_that_is_not_there_is_one_line(
    bundle_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source or a view whose package is not installed says how to install it."""
    for module, arguments in (
        ("pymavlink.dialects.v20.ardupilotmega", ("mavlink:udp://127.0.0.1:0",)),
        ("websockets.sync.client", ("ws://127.0.0.1:9",)),
        ("can", ("can:x?interface=virtual&dbc=robot.dbc",)),
        ("rosbags.typesys", ("ros2:",)),
        ("foxglove", ("python:robot:rows", "--view", "0")),
    ):
        (folder / "robot.dbc").write_text('VERSION ""\n')
        monkeypatch.setitem(sys.modules, module, None)
        assert 'pip install "rtsysid[live]"' in refused_here("run", bundle_folder, *arguments, code=3)


@pytest.mark.parametrize("text", ["[sources]\nu = 3", "x", "[sources]\nu = { topic = 'motor', field = 'volts' }"])
def test_a_wrong_map_is_one_line(bundle_folder: Path, folder: Path, text: str) -> None:
    """A map that cannot be read, or leaves out a channel, is refused before the source is opened."""
    (folder / "map.toml").write_text(text)
    refused_here("run", bundle_folder, "python:robot:topics", "--map", "map.toml", code=1)


def test_the_views_of_a_session_are_told_and_end_with_it(bundle_folder: Path, folder: Path) -> None:
    """--view and --web say where they listen, on this machine alone, and the session ends as without them."""
    arguments: tuple[Any, ...] = ("run", bundle_folder, "python:robot:rows", "--view", "0", "--web", "0", "--json")
    done = command(*arguments, "--budget-ms", 1e6)
    assert json.loads(done.stdout)["samples"] == 180
    assert "view: ws://127.0.0.1:" in done.stderr
    assert "view: http://127.0.0.1:" in done.stderr
    assert len(plant().channels) == 3
