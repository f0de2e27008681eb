"""Test the commands that begin with a log: a draft that trains, and aligned rows."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from support.robots import plant
from support.shell import command, refused_here

from rtsysid.config import read_config
from rtsysid.recordings.home import home
from rtsysid.recordings.trace import Trace


@pytest.fixture
def log(tmp_path):
    """A table with a command and two sensors at 50 Hz."""
    t = np.arange(600) * 0.02
    u = np.sign(np.sin(t * 3))
    y = np.cumsum(u) * 0.02
    rows = "\n".join(f"{a:.6f},{b:.6g},{c:.6g},{c + b:.6g}" for a, b, c in zip(t, u, y, strict=True))
    path = tmp_path / "log.csv"
    path.write_text(f"t,cmd [V],x [m],v [m/s]\n{rows}\n")
    return path


def test_init_writes_a_configuration_that_is_read(log, tmp_path):
    """The draft names channels with units and marks what was guessed."""
    out = tmp_path / "robot.toml"
    command("init", log, "-o", out)
    assert "(guessed)" in out.read_text()
    data = read_config(out).data
    assert (data.rate_hz, data.inputs, data.outputs) == (50, ("cmd [V]",), ("x [m]", "v [m/s]"))


def test_init_keeps_a_file_that_is_not_its_own(log, tmp_path):
    """An existing file of another kind is refused with exit code 5."""
    out = tmp_path / "notes.txt"
    out.write_text("mine")
    refused_here("init", log, "-o", out, code=5)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("suffix", [".parquet", ".mcap", ".csv", ".npz"])
def test_convert_writes_the_aligned_rows(log, tmp_path, suffix):
    """Every format holds the same rows, by a configuration or by a draft."""
    config, out = tmp_path / "robot.toml", tmp_path / f"even{suffix}"
    command("init", log, "-o", config)
    command("convert", log, config, "-o", out)
    written, recorded = Trace.read(out), Trace.read(log)
    assert len(written) == 600
    np.testing.assert_allclose(written.episodes[0].values, recorded.episodes[0].values, rtol=1e-6)
    drafted = tmp_path / f"drafted{suffix}"
    command("convert", log, "-o", drafted)
    assert len(Trace.read(drafted)) == 600


def test_a_flight_log_is_converted_with_its_conventions(tmp_path):
    """A PX4 log becomes rows in the frames of the project: body rates about forward, left, up."""
    path = home() / "logs" / "auterion_quadrotor_local.ulg"
    if not path.exists():
        pytest.skip("no recording auterion_quadrotor_local.ulg")
    out = tmp_path / "even.parquet"
    command("convert", path, "-o", out)
    trace = Trace.read(out)
    names = [channel.name for channel in trace.channels]
    q = trace.episodes[0].values[:, [names.index(n) for n in ("qx", "qy", "qz", "qw")]].astype(float)
    q = q[np.isfinite(q).all(1)]
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1, atol=1e-5)
    upright = 1 - 2 * (q[:, 0] ** 2 + q[:, 1] ** 2)  # cosine of the tilt
    assert np.median(upright) > 0.9


def test_the_commands_in_a_drafted_file_can_be_typed(tmp_path: Path) -> None:
    """The head of the file names the commands that come next, with the log and the file itself, quoted for a shell."""
    (episode,) = plant(recordings=1).episodes
    log, out = tmp_path / "a log.csv", tmp_path / "my robot.toml"
    Trace(plant().channels, (episode,)).write(log)
    command("init", log, "-o", out, "--yes")
    lines = [shlex.split(line[1:]) for line in out.read_text().splitlines() if line.startswith("#   rtsysid")]
    assert lines == [
        ["rtsysid", "check", str(log), str(out)],
        ["rtsysid", "train", str(out), "--data", str(log), "-o", "run"],
    ]


def test_init_advises_the_delay_and_the_taps(tmp_path):
    """An input that acts seven rows late is named with its delay, and taps that reach it; the file is still read."""
    rng, rows = np.random.default_rng(0), 1200
    u, y = rng.normal(size=rows), np.zeros(rows)
    for k in range(8, rows):
        y[k] = 0.8 * y[k - 1] + u[k - 8]
    path, out = tmp_path / "late.csv", tmp_path / "robot.toml"
    table = np.column_stack((np.arange(rows) * 0.02, u, y))
    np.savetxt(path, table, "%.6f", ",", header="t,cmd [V],x [m]", comments="")
    command("init", path, "-o", out, "--yes")
    advised = out.read_text().partition("# Advised by linear models")[2]
    assert re.search(r"# cmd acts [67] ticks \(95 %: [67] to [67]\) after its row", advised)  # pairs of rows explain it
    assert "# taps = " in advised
    assert int(advised.partition("taps = ")[2].split()[0]) > 7
    assert read_config(out).model.taps is None
