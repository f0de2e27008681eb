"""Test the commands `index` and `find`."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from support.robots import plant
from support.shell import command, refused_here

from rtsysid.recordings.trace import Episode, Trace


class Texts(HTMLParser):
    """Collect the texts of a page, and count its plots and lines."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.plots = self.lines = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.plots += tag == "svg" and ("role", "img") in attrs
        self.lines += tag == "path"

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_the_commands_index_and_find(bundle_folder: Path, tmp_path: Path) -> None:
    """index and find with a bundle: table, JSON and page agree, and each fault is one line with its exit code."""
    logs, out = tmp_path / "logs", tmp_path / "index"
    for episode in plant(4, 300).episodes:
        Trace(plant().channels, (episode,)).write(logs / f"{episode.name}.csv")
    made = json.loads(command("index", logs, "-o", out, "--bundle", bundle_folder, "--json").stdout)
    assert (made["recordings"], made["moments"]) == (4, 4 * 251)
    assert json.loads(command("info", out, "--json").stdout) | {"notes": []} == made
    assert "no manifest.json" in refused_here("verify", out, code=2)
    asked_for = ("find", out, logs / "run1.csv", "--at", "3.02s", "--top", 3)
    found = json.loads(command(*asked_for, "--json", "--plot", tmp_path / "page.html").stdout)["found"]
    lines = command(*asked_for).stdout.splitlines()
    assert [line.split()[1] for line in lines[2:5]] == [f["recording"] for f in found]
    page = Texts((tmp_path / "page.html").read_text())
    assert (page.plots, page.lines) == (3, 3 * 4 + 4)  # the query and three moments in each, and the legend
    assert set(page.said) >= {"run1 at 3.02s", "u [V]", "y [m]", "v [m/s]", *(f["recording"] for f in found)}

    assert "0.5 to 5.48 s" in refused_here("find", out, logs / "run1.csv", "--at", "99s", code=1)
    assert "12 o'clock" in refused_here("find", out, logs / "run1.csv", "--at", "12 o'clock", code=1)
    assert "name a .html file" in refused_here(*asked_for, "--plot", tmp_path / "page.png", code=5)
    assert "not an index" in refused_here("find", logs, logs / "run1.csv", "--at", "1", code=1)
    plain = tmp_path / "plain"
    command("index", logs, "-o", plain)
    assert "no bundle" in refused_here("find", plain, logs / "run1.csv", "--at", "1", "--bundle", bundle_folder, code=2)
    other = plant(1, 300).episodes[0]
    Trace(plant().channels[:2], (Episode("o", other.t, other.values[:, :2]),)).write(tmp_path / "other.csv")
    assert "missing column 'v'" in refused_here("find", out, tmp_path / "other.csv", "--at", "3", code=1)
    assert "it is the input" in refused_here("index", logs, "-o", logs, code=5)
