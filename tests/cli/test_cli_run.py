"""`rtsysid run` as a service runs it: files by time, updates of a link, one model alone, and little memory."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live_parts import until
from support.robots import TINY, plant
from support.shell import command, ended, process, refused, rtsysid

from export.bundle import export
from firmware_bridge.device import SimulatedDevice
from firmware_bridge.schema import Schema
from rtsysid.config import parse_config
from rtsysid.model import linked
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.bag import Bag
from rtsysid.recordings.trace import Trace
from rtsysid.train.fit import begin


@pytest.fixture
def board(bundle_folder: Path) -> Iterator[SimulatedDevice]:
    """A board for the tiny bundle that plays for ever."""
    spec = Bundle.open(bundle_folder).spec
    rows = plant(1, 500, seed=5).episodes[0].values
    with SimulatedDevice(Schema.of(spec.channels, spec.rate_hz), rows, repeat=True) as device:
        yield device


@pytest.fixture
def link(bundle_folder: Path, tmp_path: Path) -> Path:
    """A link to a copy of the bundle."""
    shutil.copytree(bundle_folder, tmp_path / "first")
    linked.point(tmp_path / "live", tmp_path / "first")
    return tmp_path / "live"


def answering(board: SimulatedDevice) -> None:
    until(lambda: board.status().split()[0] == "2" and len(board.status().split()) > 2, "a prediction")


def test_a_folder_gets_a_file_for_each_time(bundle_folder: Path, board: SimulatedDevice, tmp_path: Path) -> None:
    """--record DIR begins files by size; `replay` reads them as one session, with equal predictions."""
    arguments = ("--record", tmp_path / "flights", "--rotate-mb", 0.02, "--seconds", 5, "--budget-ms", 10_000)
    report = json.loads(rtsysid("run", bundle_folder, board.port, *arguments, "--json").stdout)
    files = sorted((tmp_path / "flights").iterdir())
    assert report["files"] == len(files) > 1
    assert report["not_recorded"] == 0
    assert sum(len(list(Bag(path).read("/samples"))) for path in files) == report["samples"] > 0
    again = json.loads(command("replay", bundle_folder, files[0], "--json").stdout)
    assert again["equal"]
    assert again["compared"] == report["samples"]
    about = Bag(files[-1]).metadata()
    assert about["rtsysid.bundle"]["model_id"] == Bundle.open(bundle_folder).model_id
    assert about["rtsysid.part"] == {"number": str(len(files))}


def test_the_window_fills_while_the_clocks_converge(
    bundle_folder: Path, board: SimulatedDevice, tmp_path: Path
) -> None:
    """Samples from before the clocks of board and host agree are fed and not answered: the first answer that the board
    gets is that of a settled model. The recording replays to equal predictions."""
    arguments = ("--record", tmp_path / "f.mcap", "--seconds", 5, "--budget-ms", 10_000, "--json")
    report = json.loads(rtsysid("run", bundle_folder, board.port, *arguments).stdout)
    settling = Bundle.open(bundle_folder).spec.settling_samples
    rows = [values for _, values in Bag(tmp_path / "f.mcap").read("/predictions")]
    sent = [bool(row["sent"]) for row in rows]
    assert sent.index(True) >= report["undated"] >= settling
    assert [row["status"] for row in rows[: settling - 1]] == ["warm-up"] * (settling - 1)
    assert not any(sent[: report["undated"]])
    assert rows[sent.index(True)]["status"] == "ok"
    assert "warm-up" not in report["statuses"]
    again = json.loads(command("replay", bundle_folder, tmp_path / "f.mcap", "--json").stdout)
    assert (again["equal"], again["compared"]) == (True, len(rows))


def test_an_update_of_a_link_takes_over(link: Path, board: SimulatedDevice, tmp_path: Path) -> None:
    """--watch takes the bundle that `rollback --to` points the link at; it is said, counted and recorded."""
    new = Bundle.open(link).rewritten(tmp_path / "second", {"card.md": b"new\n"})
    arguments = ("--watch", "--trial", 0.2, "--record", tmp_path / "f.mcap", "--no-mlock", "--json")
    with process("run", link, board.port, *arguments) as running:
        answering(board)
        command("rollback", link, "--to", new.folder)
        # The note next to the link, which `rollback --to` wrote, is written again by the session that takes over.
        (tmp_path / "live.before").unlink()
        until(lambda: linked.previous(link) == tmp_path / "first", "the update", 300.0)  # another process starts first
        running.send_signal(signal.SIGTERM)
        report, said = ended(running)
    assert report["updates"] == {"taken": 1, "refused": 0, "taken back": 0}
    assert report["bundle"] == new.id
    assert "has taken over" in said
    assert "mlockall" not in said
    notes = [values for _, values in Bag(tmp_path / "f.mcap").read("/updates")]
    assert [note["outcome"] for note in notes] == ["trial", "taken"]
    assert {note["bundle"] for note in notes} == {new.id}


@pytest.fixture
def other_model(tmp_path: Path, tiny_trace: Trace) -> Bundle:
    """Another model of the same channels, in a folder that is not next to the link."""
    text = TINY.replace("epochs = 3", "epochs = 1")
    for _ in begin(parse_config(text), tiny_trace, tmp_path / "away" / "run", text).epochs():
        pass
    return export(tmp_path / "away" / "run", tmp_path / "away" / "other")[0]


def test_a_session_with_an_update_replays_over_it(
    link: Path, other_model: Bundle, board: SimulatedDevice, tmp_path: Path
) -> None:
    """A recording in which another model took over replays to equal predictions to its end, with both bundles. Without
    the new one, one line names it, and what was compared up to there."""
    flight, first = tmp_path / "f.mcap", tmp_path / "first"
    arguments = ("--watch", "--trial", 0.2, "--margin", 1000, "--record", flight, "--budget-ms", 10_000, "--json")
    with process("run", link, board.port, *arguments) as running:
        answering(board)
        command("rollback", link, "--to", other_model.folder)
        (tmp_path / "live.before").unlink()
        until(lambda: linked.previous(link) == tmp_path / "first", "the update", 300.0)
        running.send_signal(signal.SIGTERM)
        report, _ = ended(running)
    assert report["updates"]["taken"] == 1
    whole = json.loads(command("replay", first, flight, "--then", other_model.folder, "--json").stdout)
    assert (whole["equal"], whole["compared"], whole["not_compared"]) == (True, report["samples"], 0)
    assert whole["took_over"] == [other_model.id]
    assert json.loads(command("replay", link, flight, "--json").stdout) == whole  # the link leads to the new one now
    link.unlink()  # nothing next to the first bundle leads to the new one any more
    done = command("replay", first, flight, "--json", check=2)
    partial = json.loads(done.stdout)
    assert partial["compared"] + partial["not_compared"] == report["samples"]
    assert (partial["equal"], partial["first_tick"]) == (False, None)
    assert 0 < partial["not_compared"] < report["samples"]
    line = done.stderr.splitlines()[-1]
    assert other_model.id in line
    assert f"{partial['compared']} of {report['samples']} predictions were compared, and are equal" in line
    copy = Bundle.open(first).rewritten(tmp_path / "copy", {"card.md": b"another\n"}).folder
    assert "did not run in f.mcap" in refused("replay", first, flight, "--then", copy, code=2)


def test_a_watched_link_to_a_broken_bundle_starts_the_one_before(
    link: Path, board: SimulatedDevice, tmp_path: Path
) -> None:
    """A service that starts with a broken bundle runs the one before, and says so; without --watch it is refused."""
    new = Bundle.open(link).rewritten(tmp_path / "second", {"card.md": b"new\n"})
    command("rollback", link, "--to", new.folder)
    (new.folder / "golden.npz").write_bytes(b"PK")
    assert "golden.npz was changed" in refused("run", link, board.port, code=2)
    done = rtsysid("run", link, board.port, "--watch", "--seconds", 4, "--json")
    assert "the bundle before runs" in done.stderr
    assert json.loads(done.stdout)["bundle"] == Bundle.open(tmp_path / "first").id


def test_one_model_is_expected(bundle_folder: Path, board: SimulatedDevice) -> None:
    """--expect runs that model and refuses any other before the port is opened."""
    model = Bundle.open(bundle_folder).model_id
    report = json.loads(rtsysid("run", bundle_folder, board.port, "--expect", model, "--seconds", 3, "--json").stdout)
    assert report["samples"] > 0
    line = refused("run", bundle_folder, "/nonexistent", "--expect", "0" * 12, code=2)
    assert f"its model is {model}" in line
