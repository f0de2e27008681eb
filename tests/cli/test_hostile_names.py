"""Names from files and boards go through every command as text: what a terminal shows does nothing else."""

from __future__ import annotations

import csv
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.robots import plant
from support.shell import command
from support.sources import Hostile

from rtsysid.cli import sources
from rtsysid.config import parse_config

U = "u\x1b[2J*/ \u202e??/"
Y = 'y\x07"\\<script>' + "y" * 255
V = "v\x9b31m é"
UNIT = "m\x1b]0;"
FILE = os.fsdecode(b"\xff\xfe \x1b[31m\n{}.csv")  # bytes that are not UTF-8, an escape sequence, and a line break
CONFIG = f"""
[data]
rate_hz = 50
inputs = [{json.dumps(U)}]
outputs = [{json.dumps(f"{Y} [{UNIT}]")}, {json.dumps(V)}]
[model]
taps = 5
encoder = [8, 3]
hidden = 6
linear_path = true
warmup = 4
[[stage]]
name = {json.dumps("s" + U)}
train = ["cell", "head"]
loss = [{{ kind = "one_step" }}]
epochs = 1
"""


def write(path: Path, rows: int, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    (episode,) = plant(1, rows, seed=seed).episodes
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["t", U, f"{Y} [{UNIT}]", V])
        writer.writerows([t, *row] for t, row in zip(episode.t, episode.values.tolist(), strict=True))
    return path


def shown(*arguments: object, check: int = 0, ways: Sequence[tuple[str, ...]] = ((), ("--json",))) -> str:
    """What a command prints, after checking that each line is visible text that a terminal can encode."""
    texts = []
    for json_ in ways:
        done = command(*arguments, *json_, check=check)
        for line in (done.stdout + done.stderr).split("\n"):
            line.encode()
            bad = [c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
            assert not bad, (arguments, line)
        if json_ and done.stdout:
            json.loads(done.stdout)
        texts.append(done.stdout + done.stderr)
    return texts[0]


@pytest.mark.slow
def test_names_are_text_in_every_command(tmp_path: Path) -> None:
    """Channels, units, stages and files with escape sequences, line breaks, bytes that are not UTF-8 and comment ends:
    through training, export, every judgement, search, the live path, and the generated C of a board."""
    logs, bundle, index = tmp_path / "logs", tmp_path / "bundle", tmp_path / "index"
    recordings = [write(logs / FILE.format(k), 300, k) for k in range(3)]
    unseen = write(tmp_path / FILE.format("unseen"), 300, 9)
    (tmp_path / "c.toml").write_text(CONFIG)
    assert parse_config(CONFIG).data.channels[0].name == U
    assert r"u\x1b[2J*/" in shown("info", recordings[0])
    command("train", tmp_path / "c.toml", "--data", logs, "-o", tmp_path / "run")
    shown("train", tmp_path / "c.toml", "--data", logs, "-o", tmp_path / "run", check=1)
    shown("info", tmp_path / "run")
    shown("export", tmp_path / "run", "-o", bundle, "--target", "c", ways=[()])
    shown("info", bundle)
    shown("verify", bundle, ways=[()])
    shown("evaluate", bundle, unseen, "--horizon", 10)
    shown("evaluate", bundle, tmp_path / FILE.format("none"), check=1)
    shown("calibrate", bundle, unseen, "-o", tmp_path / "calibrated", check=1)  # too short to calibrate
    shown("report", bundle, "--data", unseen, "-o", tmp_path / "r.html", ways=[()])
    shown("replay", bundle, unseen)
    command("replay", bundle, unseen, "-o", tmp_path / "p.csv")
    shown("replay", bundle, unseen, "--against", tmp_path / "p.csv")
    shown("index", logs, "-o", index)
    shown("info", index)
    found = shown("find", index, unseen, "--at", 3, "--plot", tmp_path / "f.html")
    assert r"\udcff" in found
    shown("sim-device", unseen, "--like", bundle, "--seconds", 0.1)
    shown("hil", bundle, unseen, "--device", "sim", "--rows", 60, ways=[("--json",)])
    for page in (tmp_path / "r.html", tmp_path / "f.html"):
        text = page.read_text("utf-8")
        assert not {"\x1b", "\u202e"} & set(text)
        assert "<script>y" not in text


def test_texts_of_a_board_are_text(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a board says of itself, and what happened to it, is shown and does nothing."""
    monkeypatch.setitem(sources.SOURCES, "hostile", (Hostile.__module__, "Hostile"))
    monkeypatch.setattr("rtsysid.live.realtime.make_punctual", lambda *_, **__: [])
    assert r"\x1b[2J" in shown("info", "hostile://")
    assert r"connected: \x1b[2J\n" in shown("run", bundle_folder, "hostile://", "--backend", "numpy")
