"""A sweep on several machines: a real PostgreSQL server, and workers that share it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.postgres import postgres_server
from support.shell import command, process, refused_here
from support.sweeps import HANGS_S, shown, small_sweep, trial_counts

from rtsysid.errors import ConfigError
from rtsysid.experiments.sweep.folder import read_plan, studied
from rtsysid.experiments.sweep.storage import parse_url, public


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as address:
        yield address


def test_two_workers_share_a_server_and_a_folder(server: str, tmp_path: Path) -> None:
    """Two processes with the same command finish the trials together, none twice; a second folder joins the sweep."""
    run = [*small_sweep(tmp_path), "--trials", 5, "--no-pruning", "--storage", server]
    with process(*run) as other:
        here = command(*run)
        said = here.stderr, *other.communicate(timeout=HANGS_S)
        assert other.returncode == 0, said
    lines = shown(tmp_path)
    assert len(lines) == 5
    ended = [line.split()[1] for text in said for line in text.splitlines() if " finished, error" in line]
    assert sorted(ended) == sorted(line.split()[0] for line in lines)
    command(*[each if each != tmp_path / "sweep" else tmp_path / "elsewhere" for each in run])
    assert command("sweep", "show", tmp_path / "elsewhere").stdout.splitlines() == lines
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    assert "secret" not in here.stdout + "".join(said)


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_worker_that_dies_loses_its_trial_only(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the heartbeat of a trial stops, it fails; the finished ones stay, and the sweep is completed without it."""
    run = [*small_sweep(tmp_path, epochs=3), "--no-pruning", "--storage", server, "--trials"]
    command(*run, 1)
    before = shown(tmp_path)
    with studied(tmp_path / "sweep", read_plan(tmp_path / "sweep")) as study:
        study._storage.record_heartbeat(study.ask()._trial_id)  # type: ignore[attr-defined]
    assert trial_counts(tmp_path)["running"] == 1
    monkeypatch.setattr("rtsysid.experiments.sweep.storage.SILENT_S", 1)
    command(*run, 2)
    after = trial_counts(tmp_path)
    assert (after["finished"], after["running"]) == (2, 0)
    assert set(before) < set(shown(tmp_path))


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    """A closed port and a socket that is none end with exit code 5, without the password, and nothing is written."""
    run = small_sweep(tmp_path)
    for address in ("postgresql://u:secret@127.0.0.1:1/d", f"postgresql://u:secret@/d?host={tmp_path}"):
        line = refused_here(*run, "--storage", address, code=5)
        assert "start the server, or correct --storage" in line
        assert "secret" not in line
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    "address", ["", "secret", "redis://secret@h/0", "postgresql+psycopg2://u:secret@h/d", "://secret"]
)
def test_an_address_of_anything_else_is_refused(address: str) -> None:
    """Only PostgreSQL by psycopg is opened: other storages of Optuna may unpickle what they hold."""
    with pytest.raises(ConfigError, match="not the address of a PostgreSQL server") as caught:
        parse_url(address)
    assert "secret" not in str(caught.value)


def test_a_public_address_has_no_password() -> None:
    """Neither before the host nor among the parameters."""
    url = parse_url("postgresql://u:secret@h:5432/d?password=secret&sslmode=require")
    assert public(url) == "postgresql+psycopg://u@h:5432/d?sslmode=require"
