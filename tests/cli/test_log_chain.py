"""Real logs from the first command to the last, without editing a file: one of each program."""

import json

import pytest
from support.shell import command

from rtsysid.recordings.home import home

LOGS = {
    "PX4": "auterion_esc_status_log.ulg",
    "Betaflight": "betaflight/btfl_005.bbl",
    "ROS 1": "ros1/zaki_may9_before1.bag",
}


@pytest.mark.slow
@pytest.mark.parametrize("program", LOGS)
def test_a_log_goes_all_the_way(program, tmp_path):
    """info, init, check, train, export, evaluate and replay work in a row on a log as its program wrote it."""
    log = home() / "logs" / LOGS[program]
    if not log.exists():
        pytest.skip(f"no recording {LOGS[program]}")
    config, run, bundle = tmp_path / "robot.toml", tmp_path / "run", tmp_path / "bundle"
    command("info", log)
    command("init", log, "-o", config, "--yes")
    command("check", log, config)
    command("train", config, "--data", log, "-o", run, "--linear")
    command("export", run, "-o", bundle, "--target", "onnx")
    assert "linear ARX" in command("evaluate", bundle, log, "--stride", 50).stdout
    replayed = json.loads(command("replay", bundle, log, "--json").stdout)
    assert replayed["rejected"] < 0.1 * replayed["samples"] < replayed["predictions"]
