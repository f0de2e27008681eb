"""Test runs of several files: pairs by name, clocks that are given or estimated, and files that are missing."""

import re

import numpy as np
import pytest
from support.crazyflie import crazyflie_events

from rtsysid.config import Data, parse_config
from rtsysid.errors import TraceError
from rtsysid.recordings.home import home
from rtsysid.recordings.reading import read_recordings, read_resolved
from rtsysid.recordings.runs import run_files
from rtsysid.recordings.trace import Trace

PAIRED = """
[data]
rate_hz = 100
inputs = ["u"]
outputs = ["y"]
[data.sources]
u = { file = "*_command.csv", field = "u" }
y = { file = "*_sensor.csv", field = "y" }
"""


def write(path, names, columns) -> None:
    rows = "\n".join(",".join(f"{each:.9g}" for each in row) for row in np.column_stack(columns).tolist())
    path.write_text(",".join(names) + "\n" + rows + "\n")


def paired(folder, runs=("a", "b")) -> Data:
    t = np.arange(500) * 0.01
    for name in runs:
        write(folder / f"{name}_command.csv", ["t", "u"], [t, np.sin(t)])
        write(folder / f"{name}_sensor.csv", ["t", "y"], [t, np.cos(t)])
    return parse_config(PAIRED).data


def test_files_are_paired_by_what_the_patterns_leave_open(tmp_path):
    """Two runs of two files become two episodes, each with the channels of both files, and four sources."""
    trace = read_recordings([tmp_path], paired(tmp_path))
    assert [each.name for each in trace.episodes] == ["a", "b"]
    assert len(trace.sources) == 4
    values = trace.episodes[0].values
    np.testing.assert_allclose(np.hypot(values[:, 0], values[:, 1]), 1, atol=1e-5)


def test_one_run_needs_no_common_name(tmp_path):
    """Where each pattern matches one file, these files are one run."""
    data = paired(tmp_path, ("a",))
    (tmp_path / "a_sensor.csv").rename(tmp_path / "other_sensor.csv")
    assert len(read_recordings([tmp_path], data).episodes) == 1


def test_a_run_that_lacks_a_file_is_one_line(tmp_path):
    """The error names the run, its file, and the pattern of the file that is missing."""
    data = paired(tmp_path)
    (tmp_path / "b_sensor.csv").unlink()
    with pytest.raises(TraceError, match=r"run 'b': b_command\.csv, but no file '\*_sensor\.csv'"):
        run_files([tmp_path], data)
    for each in tmp_path.iterdir():
        each.rename(each.with_name("x" + re.sub("_(command|sensor)", r"-\1", each.name)))
    with pytest.raises(TraceError, match=r"no file matches \*_command\.csv, \*_sensor\.csv"):
        run_files([tmp_path], data)


def test_a_given_offset_is_added(tmp_path):
    """Seconds of `clock_offsets` move the times of a file; without them no tick has both values."""
    data = paired(tmp_path, ("a",))
    path = tmp_path / "a_sensor.csv"
    t = np.arange(500) * 0.01
    write(path, ["t", "y"], [t + 100, np.cos(t)])
    moved = parse_config(PAIRED + '[data.clock_offsets]\n"*_sensor.csv" = -100\n').data
    (episode,) = read_recordings([tmp_path], moved).episodes
    np.testing.assert_allclose(np.hypot(*episode.values.T), 1, atol=1e-5)
    apart = read_recordings([tmp_path], data)
    assert all(np.isnan(each.values[30:]).any(1).all() for each in apart.episodes)


@pytest.mark.parametrize(("flight", "shift"), [("square_20251017_run1", 5.0), ("chirp_20251017_run2", -3.21)])
def test_an_estimated_offset_has_an_interval_that_holds_the_truth(tmp_path, flight, shift):
    """A real flight split into rotor speeds and motion capture, with one clock shifted, is joined again."""
    source = home() / "nanodrone" / "train" / f"{flight}.csv.gz"
    if not source.exists():
        pytest.skip("no recording nanodrone")
    recorded = Trace.read(source)
    names, (episode,) = [channel.name for channel in recorded.channels], recorded.episodes
    motors, motion = [f"m{k}_rads" for k in (1, 2, 3, 4)], ["vx", "vy", "vz", "wx", "wy", "wz"]
    for end, chosen, t in (("motor", motors, episode.t), ("mocap", motion, episode.t + shift)):
        write(tmp_path / f"f_{end}.csv", ["t", *chosen], [t, episode.values[:, [names.index(n) for n in chosen]]])
    lines = [f'{n} = {{ file = "*_motor.csv", field = "{n}" }}' for n in motors]
    lines += [f'{n} = {{ file = "*_mocap.csv", field = "{n}" }}' for n in motion]
    head = f"[data]\nrate_hz = 100\ninputs = {motors}\noutputs = {motion}\n"
    head += '[data.clock_offsets]\n"*_mocap.csv" = "estimate"\n'
    data, trace = read_resolved([tmp_path], parse_config(head + "[data.sources]\n" + "\n".join(lines)).data)
    (remark,) = trace.notes[0].remarks
    seconds, low, high = map(float, re.findall(r"[+-][\d.]+(?= s| and)", remark))
    assert low <= -shift <= high
    assert high - low < 0.2
    assert abs(seconds + shift) < 0.05
    assert len(trace) > 0.95 * len(recorded)
    assert data.clock_offsets == {"*_mocap.csv": "estimate"}


def test_onboard_files_of_two_subsystems_are_one_run(tmp_path):
    """Motor and controller files of a Crazyflie, by name, with their offset estimated and stated."""
    folder = home() / "crazypad"
    if not folder.exists():
        pytest.skip("no recording crazypad")
    for kind in ("motor", "controller"):
        for log in ("E8_log00", "E9_log00"):
            names, rows = crazyflie_events(folder / f"{kind}_data_normal_{log}")
            write(tmp_path / f"{log}_{kind}.csv", names, [rows])
    text = """
[data]
rate_hz = 100
inputs = ["m1", "m2"]
outputs = ["z [m]", "roll [deg]"]
[data.clock_offsets]
"*_controller.csv" = "estimate"
[data.sources]
m1 = { file = "*_motor.csv", field = "motor.m1" }
m2 = { file = "*_motor.csv", field = "motor.m2" }
z = { file = "*_motor.csv", field = "stateEstimate.z" }
roll = { file = "*_controller.csv", field = "controller.roll" }
"""
    trace = read_recordings([tmp_path], parse_config(text).data)
    assert [each.recording for each in trace.episodes] == ["E8_log00", "E9_log00"]
    assert all(len(each) > 2000 for each in trace.episodes)
    assert all("clock of E" in note.remarks[0] for note in trace.notes)
