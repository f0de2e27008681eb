"""Run the page docs/tutorial.md, command by command, on real logs."""

import re
import shlex
from pathlib import Path

import pytest
from support.shell import command

from rtsysid.recordings.home import home

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
LOGS = {
    "A flight of PX4": ("flight.ulg", "auterion_quadrotor_local.ulg"),
    "A bag of ROS 2": ("bag", "mav_jay_2017-04-10-10-12-44_db3"),
    "A CSV": ("", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("section", LOGS)
def test_every_command_of_the_page_works(section, tmp_path, monkeypatch):
    """The commands of a section run in order, and the last ones print errors of a model."""
    name, log = LOGS[section]
    if log and not (home() / "logs" / log).exists():
        pytest.skip(f"no recording {log}")
    monkeypatch.chdir(tmp_path)
    if log:
        (tmp_path / name).symlink_to(home() / "logs" / log)
    lines = re.findall(r"^\$ rtsysid (.+)$", PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert len(lines) >= 5
    printed = {line: command(*shlex.split(line)).stdout for line in lines}
    (evaluated,) = [text for line, text in printed.items() if line.startswith("evaluate")]
    assert "linear ARX" in evaluated
