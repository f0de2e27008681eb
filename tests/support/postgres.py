"""A PostgreSQL server of its own for tests, on a socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USERS = ("postgres", "nobody")  # root may not run a server: the first of these that exists does
PROGRAMS = "/usr/lib/postgresql/*/bin"  # Debian does not put the server on the path


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the address of a server that runs until the end; skip the test where none is installed."""
    initdb = _program("initdb")
    user = None if os.geteuid() else next(name for name in USERS if _exists(name))
    folder = Path(tempfile.mkdtemp(prefix="rtsysid-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        data, control = folder / "data", initdb.with_name("pg_ctl")
        _run(user, folder, initdb, "--pgdata", data, "--auth", "trust", "--username", "sweep", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        _run(user, folder, control, "--pgdata", data, "--wait", "--log", folder / "log", "-o", options, "start")
        try:
            yield f"postgresql://sweep:secret@/postgres?host={folder}"
        finally:
            _run(user, folder, control, "--pgdata", data, "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(user: str | None, folder: Path, *command: object) -> None:
    silent = subprocess.DEVNULL  # the server keeps what it inherits, and a pipe would never close
    done = subprocess.run(
        list(map(str, command)), user=user, cwd=folder, stdin=silent, stdout=silent, stderr=silent, check=False
    )
    assert done.returncode == 0, (command, [path.read_text() for path in folder.glob("log")])


def _program(name: str) -> Path:
    on_path = shutil.which(name)
    folders = sorted(Path("/").glob(f"{PROGRAMS[1:]}/{name}"))
    path = Path(on_path).resolve() if on_path else next(iter(folders), None)
    if path is None:
        pytest.skip(f"wants a PostgreSQL server: no {name} on the path or in {PROGRAMS} (apt-get install postgresql)")
    return path


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
