"""The command line: one line per fault, an exit code by class, and nothing lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.robots import TINY, plant
from support.shell import ROOT, command, refused, refused_here, rtsysid, small_disk

from rtsysid.cli import cli
from rtsysid.config import read_config
from rtsysid.experiments.compare import variants_of
from rtsysid.recordings.trace import Trace
from rtsysid.spec import ModelSpec


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder of four small recordings and their configuration."""
    for episode in plant().episodes:
        Trace(plant().channels, (episode,)).write(tmp_path / "logs" / f"{episode.name}.csv")
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path / "logs"


@pytest.mark.slow
def test_the_whole_path_by_its_verbs(logs: Path, tmp_path: Path, recording: Path) -> None:
    """train and export; then, each as a process: verify, evaluate, replay and a comparison with its own predictions."""
    command("train", tmp_path / "tiny.toml", "--data", logs, "-o", tmp_path / "run")
    command("export", tmp_path / "run", "-o", tmp_path / "bundle")
    verified = json.loads(rtsysid("verify", tmp_path / "bundle", "--json").stdout)
    assert all(row["passed"] for row in verified["backends"])
    found = json.loads(rtsysid("evaluate", tmp_path / "bundle", recording, "--horizon", 10, "--json").stdout)
    assert set(found["errors"]) == {"model", "linear ARX", "hold"}
    out = tmp_path / "predictions.csv"
    assert json.loads(rtsysid("replay", tmp_path / "bundle", recording, "-o", out, "--json").stdout)["written"] == 200
    again = json.loads(rtsysid("replay", tmp_path / "bundle", recording, "--against", out, "--json").stdout)
    assert again["equal"] is True
    assert again["compared"] == 200
    assert json.loads(rtsysid("info", tmp_path / "bundle", "--json").stdout)["id"] == verified["id"]


def test_an_evaluation_keeps_its_shape(bundle_folder: Path, recording: Path) -> None:
    """Programs read what `evaluate --json` prints: errors by predictor and group, one number for each tick ahead."""
    printed = json.loads(command("evaluate", bundle_folder, recording, "--horizon", 10, "--json").stdout)
    assert set(printed) == {"horizon", "rate_hz", "forecasts", "units", "errors", "notes"}
    assert set(printed["errors"]) == {"model", "linear ARX", "hold"}
    for curves in printed["errors"].values():
        assert {group: len(curve) for group, curve in curves.items()} == {"motion": 10, "v": 10}
    assert printed["units"] == {"motion": "m", "v": "m/s"}
    assert all(isinstance(error, float) for error in printed["errors"]["model"]["motion"])


@pytest.mark.slow
def test_compare_prints_the_four_variants_side_by_side(logs: Path, tmp_path: Path) -> None:
    """One configuration becomes the talk's table: every variant trained, exported, and measured on the same rows, with
    its size, cost and memory in numbers."""
    model = TINY[: TINY.index("[train]")]
    (tmp_path / "short.toml").write_text(model + '[train]\npreset = "greedy"\neffort = 0.05\nbatch = 64\n')
    done = command("compare", tmp_path / "short.toml", "--data", logs, "-o", tmp_path / "out", "--horizon", 20)
    for variant in ("lstm", "lstm-tdl", "lstm-tdl-aeu", "lstm-tdl-deep-aeu"):
        assert f"\n{variant} " in done.stdout
        assert (tmp_path / "out" / f"{variant}-seed0" / "bundle" / "manifest.json").exists()
    header, *lines = [line.split() for line in done.stdout.splitlines() if not line.startswith("-")]
    assert header[-6:] == ["parameters", "MACs", "step", "us", "RAM", "bytes"]
    assert all(int(line[-4]) > 0 and int(line[-1]) > 0 for line in lines)


def test_a_comparison_without_recordings_names_the_benchmarks_that_bring_their_own() -> None:
    """Exit code 1 and one line."""
    done = command("compare", "quadrotor", "-o", "never", check=1)
    assert done.stderr.startswith("rtsysid: compare: quadrotor without recordings; give --data, or compare nanodrone")
    assert done.stderr.count("\n") == 1


def test_variants_are_compared_at_equal_size() -> None:
    """The four variants of the nano-drone's configuration differ by less than 2 % in parameters."""
    config = read_config("nanodrone")
    sizes = []
    for _, variant in variants_of(config):
        sizes.append(ModelSpec(channels=config.data.channels, rate_hz=100, **variant.model.fields).parameters)
    assert max(sizes) < 1.02 * min(sizes)


def test_a_replay_that_differs_says_so(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """Predictions recorded from another input do not pass for equal: exit code 2."""
    other = plant(1, 200, seed=6)
    other.write(tmp_path / "other.csv")
    command("replay", bundle_folder, tmp_path / "other.csv", "-o", tmp_path / "p.csv")
    done = command("replay", bundle_folder, recording, "--against", tmp_path / "p.csv", "--json", check=2)
    assert json.loads(done.stdout)["equal"] is False


def write_csv(path: Path, rows: list[list[object]], header: str = "t,u [V],y [m],v [m/s]") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def even(rows: int = 300) -> list[list[object]]:
    wave = np.sin(np.arange(rows) / 5)
    return [[k / 50, wave[k], wave[k - 1], wave[k - 2]] for k in range(rows)]


def test_even_rows_need_no_time_column(bundle_folder: Path, tmp_path: Path) -> None:
    """With the time column named "" rows stand at the model's rate: the same predictions, and the same training."""
    timed = write_csv(tmp_path / "timed.csv", even())
    bare = write_csv(tmp_path / "bare.csv", [row[1:] for row in even()], "u [V],y [m],v [m/s]")
    command("replay", bundle_folder, timed, "-o", tmp_path / "p.csv")
    done = command("replay", bundle_folder, bare, "--time", "", "--against", tmp_path / "p.csv", "--json")
    assert json.loads(done.stdout)["equal"] is True
    assert 'none ("")' in refused_here("replay", bundle_folder, bare, code=1)
    weights = []
    for recording, time in ((timed, "t"), (bare, "")):
        config = tmp_path / f"{recording.stem}.toml"
        config.write_text(TINY.replace("[data]", f'[data]\ntime = "{time}"'))
        command("train", config, "--data", recording, "-o", tmp_path / recording.stem)
        weights.append((tmp_path / recording.stem / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


def nan_run() -> list[list[object]]:
    return [row if not 100 <= k < 120 else [row[0], row[1], "nan", row[3]] for k, row in enumerate(even())]


def two_rates() -> list[list[object]]:
    return [[k / 50 if k < 150 else 3 + (k - 150) / 25, *row[1:]] for k, row in enumerate(even())]


BAD_LOGS = {
    "missing column": (even(), "t,u [V],y [m],speed [m/s]", "missing column 'v'"),
    "wrong unit": (even(), "t,u [V],y [mm],v [m/s]", "unit of 'y'"),
    "NaN run": (nan_run(), None, "y"),
    "time runs backward": ([*even()[:200], *even()[100:]], None, "time"),
    "duplicate times": ([row for row in even() for _ in range(2)], None, "duplicate"),
    "two rates": (two_rates(), None, "Hz"),
    "another rate": (even()[::2], None, "25"),
    "no rows": ([], None, "no rows"),
    "too short": (even(8), None, "rows"),
}


@pytest.mark.parametrize("fault", BAD_LOGS)
def test_a_bad_recording_gets_one_line(fault: str, tmp_path: Path) -> None:
    """Each fault of a recording ends training with exit code 1, one line that names it, and no run folder."""
    rows, header, named = BAD_LOGS[fault]
    (tmp_path / "tiny.toml").write_text(TINY)
    log = write_csv(tmp_path / "bad.csv", rows, header or "t,u [V],y [m],v [m/s]")
    line = refused_here("train", tmp_path / "tiny.toml", "--data", log, "-o", tmp_path / "run", code=1)
    assert named.lower() in line.lower()
    assert not (tmp_path / "run").exists()


def test_empty_and_truncated_files(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """A file of no bytes and a gzip that was cut off are refused, not read in part."""
    (tmp_path / "empty.csv").touch()
    assert "empty" in refused("replay", bundle_folder, tmp_path / "empty.csv", code=1)
    Trace.read(recording).write(tmp_path / "whole.csv.gz")
    content = (tmp_path / "whole.csv.gz").read_bytes()
    (tmp_path / "cut.csv.gz").write_bytes(content[: len(content) // 2])
    refused("evaluate", bundle_folder, tmp_path / "cut.csv.gz", code=1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("epochs = 3", "epoch = 3"), "did you mean 'epochs'"),
        (("hidden = 6", "hidden = 0"), "hidden"),
        (('train = ["cell", "head"]', 'train = ["decoder"]'), "nothing to train"),
        (('train = ["cell", "head"]', 'train = ["lstn"]'), "lstn"),
        (("[data]", "[data"), "not TOML"),
    ],
)
def test_a_bad_configuration_gets_one_line(change: tuple[str, str], named: str, logs: Path, tmp_path: Path) -> None:
    """Unknown keys, impossible stages and broken TOML end with exit code 1 and a remedy."""
    (tmp_path / "bad.toml").write_text(TINY.replace(*change))
    assert named in refused_here("train", tmp_path / "bad.toml", "--data", logs, "-o", tmp_path / "run", code=1)


def test_a_changed_bundle_exits_with_2(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """A flipped byte stops replay and verify with the exit code of bundles."""
    copy = Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))
    content = bytearray((copy / "weights.npz").read_bytes())
    content[100] ^= 1
    (copy / "weights.npz").write_bytes(content)
    for verb in (("verify", copy), ("replay", copy, recording)):
        assert "weights.npz was changed" in refused(*verb, code=2)


def test_a_bundle_for_other_channels_exits_with_2(bundle_folder: Path, tmp_path: Path) -> None:
    """A recording without the bundle's channels is refused before anything runs."""
    log = write_csv(tmp_path / "other.csv", even(), "t,a,b,c")
    assert "missing column" in refused_here("evaluate", bundle_folder, log, code=1)


def test_a_full_disk_leaves_what_was_there(bundle_folder: Path, recording: Path, tmp_path: Path) -> None:
    """Where the disk fills while predictions are written, the earlier file stays, whole, and the exit code is 5."""
    with small_disk(tmp_path / "disk") as disk:
        (disk / "p.csv").write_text("before")
        plant(1, 5000, seed=1).write(tmp_path / "long.csv")
        line = refused("replay", bundle_folder, tmp_path / "long.csv", "-o", disk / "p.csv", "--overwrite", code=5)
        assert "No space left" in line
        assert (disk / "p.csv").read_text() == "before"
        assert [path.name for path in disk.iterdir()] == ["p.csv"]


def test_every_command_has_an_example_and_is_documented() -> None:
    """Help texts teach by example, and no command is missing from the documentation."""
    documentation = (ROOT / "README.md").read_text() + (ROOT / "docs" / "cli.md").read_text()
    for name in cli.commands:
        shown = CliRunner().invoke(cli, [name, "--help"]).output
        assert f"Example: rtsysid {name}" in shown
        assert f"rtsysid {name}" in documentation


def test_usage_errors_exit_with_1() -> None:
    """click's own exit code 2 would read as a bundle that failed."""
    assert rtsysid("replay", check=1).stderr
    assert rtsysid("no-such-verb", check=1).stderr


def test_a_package_that_hides_ours_is_named(tmp_path: Path) -> None:
    """Where `import export` finds somebody else's module, the command says so in one line and names the place."""
    (tmp_path / "export.py").write_text("")
    command = [sys.executable, "-m", "rtsysid", "export", "run", "-o", "bundle"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    found = f"found another package of this name at {tmp_path / 'export.py'}"
    assert done.stderr.splitlines()[1:] == [f"rtsysid: package export: {found}; run elsewhere, or rename it"]
