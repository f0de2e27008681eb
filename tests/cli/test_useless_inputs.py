"""Success means that something was done: each command ends with an error where its result would be empty."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.commands import every_command
from support.robots import TINY, plant
from support.shell import command, refused_here
from support.sources import Brief, Silent

from rtsysid.cli import sources
from rtsysid.recordings.trace import Episode, Trace

Arguments = tuple[object, ...]
RATE = 50  # of the tiny bundle, in Hz


class Place:
    """The inputs that a useless command may get: the tiny bundle, and recordings that no model can use."""

    def __init__(self, folder: Path, bundle: Path, run: Path) -> None:
        self.folder, self.bundle, self.run = folder, bundle, run
        self.empty, self.out = folder / "empty", folder / "out"
        self.empty.mkdir()

    def recording(self, rows: int = 8, rate_hz: float = RATE, missing: slice = slice(0)) -> Path:
        """A recording of the plant with so many rows at a rate, and with NaN where values are missing."""
        values = plant(1, 600, seed=5).episodes[0].values[:rows].copy()
        values[missing] = np.nan
        path = self.folder / f"r{rows}-{rate_hz:g}-{missing.stop}.csv"
        Trace(plant().channels, (Episode("r", np.arange(rows) / rate_hz, values),)).write(path, overwrite=True)
        return path

    def file(self, content: bytes = b"") -> Path:
        """A file with this content."""
        path = self.folder / "file.mcap"
        path.write_bytes(content)
        return path

    def moment(self) -> Path:
        """An index of a single moment: that of a recording of 50 rows."""
        command("index", self.recording(RATE), "-o", self.folder / "index")
        return self.folder / "index"


@pytest.fixture
def place(tmp_path: Path, bundle_folder: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setitem(sources.SOURCES, "silent", (Silent.__module__, "Silent"))
    monkeypatch.setitem(sources.SOURCES, "brief", (Brief.__module__, "Brief"))
    monkeypatch.setattr(
        "rtsysid.live.realtime.make_punctual", lambda *_, **__: []
    )  # it would lock the memory of all tests
    return Place(tmp_path, bundle_folder, run_folder)


USELESS: dict[str, Callable[[Place], Arguments]] = {
    "simulate": lambda p: ("-o", p.out, "--flights", 0),
    "info": lambda p: (p.empty,),
    "init": lambda p: (p.file(), "-o", p.folder / "robot.toml"),
    "convert": lambda p: (p.file(), "-o", p.folder / "even.csv"),
    "check": lambda p: (p.empty,),
    "train": lambda p: ("quadrotor", "--data", p.empty, "-o", p.out),
    "export": lambda p: (p.empty, "-o", p.out),
    "compare": lambda p: ("quadrotor", "--data", p.empty, "-o", p.out, "--seeds", 0),
    "demo": lambda p: ("-o", p.out, "--horizon", 0),
    "verify": lambda p: (p.empty,),
    "evaluate": lambda p: (p.bundle, p.recording()),
    "linearise": lambda p: (p.bundle, p.recording(RATE), "--at", 1e6),
    "report": lambda p: (p.bundle, "--data", p.recording(), "-o", p.folder / "report.html"),
    "calibrate": lambda p: (p.bundle, p.recording(), "-o", p.out),
    "replay": lambda p: (p.bundle, p.recording()),
    "run": lambda p: (p.bundle, "silent://", "--backend", "numpy"),
    "record": lambda p: ("silent://", "-o", p.folder / "live.mcap"),
    "sim-device": lambda p: (p.recording(missing=slice(8)), "--like", p.bundle, "--seconds", 1),
    "recover": lambda p: (p.file(b"\x89MCAP0\r\n"), "-o", p.folder / "rescued.mcap"),
    "hil": lambda p: (p.bundle, p.recording(missing=slice(8)), "--device", "sim"),
    "index": lambda p: (p.recording(), "-o", p.out),
    "find": lambda p: (p.moment(), p.recording(RATE), "--at", 0.5),
    "benchmark": lambda p: ("no-such-benchmark",),
    "sweep run": lambda p: ("quadrotor", "--data", p.empty, "-o", p.out),
    "sweep show": lambda p: (p.empty,),
    "sweep export": lambda p: (p.empty, 0, "-o", p.folder / "better.toml"),
    "data list": lambda p: ("no-such-set",),
    "data get": lambda p: ("no-such-set",),
    "data example": lambda p: ("-o", p.file()),
    "doctor": lambda p: ("nothing",),
    "config show": lambda p: (p.empty,),
    "completion": lambda p: ("no-such-shell",),
    "firmware": lambda p: (p.empty, "-o", p.out),
    "rollback": lambda p: (p.empty,),
    "trust key": lambda p: ("nothing",),
    "trust list": lambda p: ("nothing",),
    "trust add": lambda p: ("no-key",),
    "trust remove": lambda p: ("no-key",),
    "trust sign": lambda p: (p.empty,),
}


def test_no_command_is_forgotten() -> None:
    """The table below names every command."""
    assert set(USELESS) == {name for name, _ in every_command()}


@pytest.mark.parametrize("json_", [(), ("--json",)])
@pytest.mark.parametrize("name", USELESS)
def test_a_useless_input_ends_with_an_error(name: str, json_: tuple[str, ...], place: Place) -> None:
    """One line, an exit code of the table that is neither 0 nor that of a fault, and on stdout JSON or nothing."""
    done = command(*name.split(), *USELESS[name](place), *json_, check=None)
    assert done.returncode in (1, 2, 3, 5), done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("rtsysid: ")] != []
    assert not place.out.exists() or not any(place.out.iterdir())
    if json_ and done.stdout:
        json.loads(done.stdout)


def test_a_recording_at_another_rate_is_refused(place: Place) -> None:
    """By every command that streams it to a model, as by evaluate, with both rates and a remedy."""
    other = place.recording(400, 4 * RATE)
    for verb in (
        ("evaluate", place.bundle, other),
        ("replay", place.bundle, other),
        ("hil", place.bundle, other, "--device", "sim"),
        ("sim-device", other, "--like", place.bundle, "--seconds", 1),
    ):
        line = refused_here(*verb, code=1)
        assert "the recording is at 200 Hz, the model at 50 Hz; give a recording at 50 Hz" in line
    assert "the times look like" in refused_here("replay", place.bundle, place.recording(400, RATE * 1e-6), code=1)


def test_a_replay_that_answers_nothing_writes_nothing(place: Place) -> None:
    """All values missing: exit code 1, why, and no file of predictions."""
    nothing = place.recording(100, missing=slice(100))
    line = refused_here("replay", place.bundle, nothing, "-o", place.folder / "p.csv", code=1)
    assert "none of 100 samples was answered: 100 rejected, 0 late, 0 in warm-up" in line
    assert not (place.folder / "p.csv").exists()


def test_predictions_that_are_nan_are_not_equal(place: Place) -> None:
    """A comparison counts the answers that it compared, and none of them is never equal."""
    path = place.folder / "p.csv"
    log = place.recording(100)
    command("replay", place.bundle, log, "-o", path)
    found = json.loads(command("replay", place.bundle, log, "--against", path, "--json").stdout)
    assert (found["equal"], found["compared"], found["finite"]) == (True, 100, 100 - 5 + 1)
    header, *lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([header, *(f"{line.split(',')[0]},nan,nan,{line.split(',')[3]}" for line in lines)]) + "\n"
    )
    found = json.loads(command("replay", place.bundle, log, "--against", path, "--json", check=2).stdout)
    assert (found["equal"], found["compared"], found["finite"]) == (False, 100, 0)


def test_a_replay_writes_and_compares_at_once(place: Place) -> None:
    """With -o and --against together both are done: the file is the same, and a difference is exit code 2."""
    first, second = place.folder / "first.csv", place.folder / "second.csv"
    log = place.recording(100)
    command("replay", place.bundle, log, "-o", first)
    found = json.loads(command("replay", place.bundle, log, "--against", first, "-o", second, "--json").stdout)
    assert (found["equal"], found["written"]) == (True, 100)
    assert second.read_bytes() == first.read_bytes()
    other = place.recording(90)
    done = command("replay", place.bundle, other, "--against", first, "-o", second, "--json", check=2)
    assert (json.loads(done.stdout)["unmatched"], len(second.read_text().splitlines())) == (10, 91)


def test_errors_without_a_finite_one_are_no_evaluation(place: Place) -> None:
    """Values at the end of float32 make every forecast infinite: that is said, and is not a result."""
    log = place.recording(200)
    header, *rows = log.read_text().splitlines()
    log.write_text("\n".join([header, *(f"{row.partition(',')[0]},1e38,1e38,1e38" for row in rows)]) + "\n")
    assert "finite" in refused_here("evaluate", place.bundle, log, code=1)


def test_a_bundle_of_another_robot_is_not_scored(place: Place) -> None:
    """A benchmark has its channels: a bundle with others is refused in one line."""
    assert "missing column" in refused_here("benchmark", "ced", "--bundle", place.bundle, code=2)


def test_a_missed_deadline_is_exit_code_4(place: Place) -> None:
    """Where each answer must come within a microsecond, none does; within a minute, all do."""
    log = place.recording(100)
    done = command("replay", place.bundle, log, "--deadline", 0.001, "--json", check=4)
    assert json.loads(done.stdout)["deadline_misses"] > 0
    assert "deadline of answers" in done.stderr
    command("replay", place.bundle, log, "--deadline", 60_000)


def test_a_finished_run_is_not_trained_again(place: Place) -> None:
    """The same command a second time says that there is nothing left to train: exit code 1, and the run as it was."""
    config = TINY.partition("[[stage]]")[0]
    stage = '[[stage]]\nname = "s"\ntrain = ["head"]\nloss = [{ kind = "one_step" }]\nepochs = 1\n'
    (place.folder / "c.toml").write_text(config + stage)
    for episode in plant().episodes:
        Trace(plant().channels, (episode,)).write(place.folder / "logs" / f"{episode.name}.csv")
    verb = ("train", place.folder / "c.toml", "--data", place.folder / "logs", "-o", place.folder / "run")
    command(*verb)
    before = (place.folder / "run" / "weights.safetensors").read_bytes()
    assert "already finished" in refused_here(*verb, code=1)
    assert (place.folder / "run" / "weights.safetensors").read_bytes() == before


def test_a_session_without_an_answer_is_an_error(place: Place) -> None:
    """Three samples are fewer than the model needs: the summary, exit code 3, and why."""
    done = command("run", place.bundle, "brief://", "--backend", "numpy", "--json", check=3)
    assert json.loads(done.stdout)["session"]["health"]["samples"] == 3
    assert "none of 3 samples was answered" in done.stderr


def test_a_simulated_board_says_what_it_leaves_out(place: Place) -> None:
    """It plays the longest part without NaN, and counts the other rows."""
    log = place.recording(100, missing=slice(30))
    found = json.loads(command("sim-device", log, "--like", place.bundle, "--seconds", 0.1, "--json").stdout)
    assert (found["rows"], found["left_out"], found["rate_hz"]) == (70, 30, RATE)
