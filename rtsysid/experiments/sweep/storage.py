"""Open the storage of a sweep: a journal in its folder, or a PostgreSQL server that several machines share.

Both keep JSON and numbers; nothing is unpickled from them. A worker that dies leaves its trial running: on one machine
the lock of the trial tells, which ends with the process; on a server its heartbeat stops.
"""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL, make_url

from rtsysid.errors import ConfigError, StorageError

DRIVERS = {"postgresql": "postgresql+psycopg", "postgresql+psycopg": "postgresql+psycopg"}
CONNECT_S = 10
HEARTBEAT_S, SILENT_S = 10, 60  # on a server: a trial whose worker is silent for so long is lost
YOUNG_S = 5  # a trial is locked an instant after it begins
_SETUP = 0x72747379  # number of the lock under which workers create the tables, one at a time


def parse_url(text: str) -> URL:
    """Parse the address of a PostgreSQL server. Raises ConfigError without the address, which has a password."""
    try:
        url = make_url(text)
        driver = DRIVERS[url.drivername]
    except (sqlalchemy.exc.ArgumentError, KeyError, ValueError):
        remedy = "write postgresql://USER@HOST/DATABASE; the password may come from PGPASSWORD or ~/.pgpass"
        raise ConfigError("--storage", "not the address of a PostgreSQL server", remedy) from None
    return url.set(drivername=driver)


def public(url: URL) -> str:
    """Return an address without its password."""
    query = {key: each for key, each in url.query.items() if "pass" not in key}
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query).render_as_string()


@contextmanager
def opened(folder: Path, url: URL | None) -> Iterator[BaseStorage]:
    """Open the server at `url`, or else the journal in the folder, and close it at the end.

    Raises StorageError where the server does not answer, also later.
    """
    if url is None:
        journal = LockedJournal(folder)
        try:
            yield journal
        finally:
            journal.close()
        return
    with reachable(url):
        server = _server(url)
        try:
            yield server
        finally:
            server.remove_session()
            server.engine.dispose()


def _server(url: URL) -> RDBStorage:
    """Connect, and create the tables where they are missing: one process at a time, since two would collide."""
    connect = {"connect_args": {"connect_timeout": CONNECT_S}, "pool_pre_ping": True}
    engine = sqlalchemy.create_engine(url, **connect)
    with warnings.catch_warnings(), engine.connect() as connection:
        warnings.simplefilter("ignore", ExperimentalWarning)
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SETUP})
        address = url.render_as_string(hide_password=False)
        storage = RDBStorage(address, connect, heartbeat_interval=HEARTBEAT_S, grace_period=SILENT_S)
    engine.dispose()
    return storage


def require_server(text: str) -> None:
    """Connect once. Raises ConfigError for an address that is none, StorageError where the server does not answer."""
    url = parse_url(text)
    with reachable(url):
        engine = sqlalchemy.create_engine(url, connect_args={"connect_timeout": CONNECT_S})
        engine.connect().close()
        engine.dispose()


@contextmanager
def reachable(url: URL) -> Iterator[None]:
    """Convert the error of a server that does not answer to a StorageError of one line."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
        found = str(cause).strip().split("\n")[0] or type(cause).__name__
        raise StorageError(f"storage {public(url)}", found, "start the server, or correct --storage") from None


class LockedJournal(JournalStorage, BaseHeartbeat):
    """Keep the journal of a sweep in its folder. A running trial is locked by its process.

    The lock of trial n is the byte n of the file `locks`, so that one worker does not stop another.
    """

    def __init__(self, folder: Path) -> None:
        journal, self._locks = folder / "journal.jsonl", os.open(folder / "locks", os.O_RDWR | os.O_CREAT, 0o600)
        lock = _ProcessLock(journal)
        lock.acquire()
        lock.release()
        super().__init__(JournalFileBackend(str(journal), lock))

    def close(self) -> None:
        """Give the locks back."""
        os.close(self._locks)

    def record_heartbeat(self, trial_id: int) -> None:
        """Lock a trial until this process ends."""
        fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, trial_id)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """List the running trials whose process has ended."""
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        return [trial._trial_id for trial in running if _began_before(trial) and self._is_free(trial._trial_id)]

    def _is_free(self, trial_id: int) -> bool:
        try:
            self.record_heartbeat(trial_id)
        except OSError:
            return False
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, trial_id)
        return True

    def get_heartbeat_interval(self) -> int:
        """Return the seconds between two calls of `record_heartbeat`: the first call is enough."""
        return 3600

    def get_heartbeat_stale_trial_callback(self) -> Callable[[optuna.Study, FrozenTrial], None] | None:
        """Return nothing: a lost trial is not repeated."""
        return None


def _began_before(trial: FrozenTrial) -> bool:
    return trial.datetime_start is None or datetime.now() - trial.datetime_start > timedelta(seconds=YOUNG_S)


class _ProcessLock(BaseJournalFileLock):
    """Lock the journal for one entry. Optuna's own locks outlive a killed process by half a minute.

    A process killed while it writes leaves part of a line, which is cut off before the next one is written.
    """

    def __init__(self, journal: Path) -> None:
        self._journal, self._file = journal, -1

    def acquire(self) -> bool:
        """Wait for the lock."""
        file = os.open(self._journal, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            os.ftruncate(file, os.pread(file, size, 0).rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._file)
