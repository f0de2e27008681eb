"""Keep the folder of a sweep: what it searches, and where its trials are.

=============== =========================================================================
rtsysid.json    the mark of the folder
sweep.json      configuration, space, recordings and address of the storage, no password
journal.jsonl   the trials, where the storage is this folder
locks           one byte for each running trial, locked by its process
trials/N        the run of trial N while it is trained
sweep.html      the page of `rtsysid sweep show`
=============== =========================================================================
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import optuna
from sqlalchemy.engine import URL

from rtsysid.errors import ConfigError
from rtsysid.experiments.sweep.storage import opened, parse_url, public
from rtsysid.experiments.sweep.study import Plan, joined_plan, open_study
from rtsysid.model.untrusted import Refusal, parse_json, read_regular, structure_of
from rtsysid.storage import enter, rewriting
from rtsysid.storage.products import MARK, SWEEP

FILE = "sweep.json"


def begin_sweep(folder: Path, plan: Plan, address: str | None = None) -> Plan:
    """Make the folder of a sweep, where it does not exist, and return its plan; several processes may do so at once.

    On a server the plan is that of the machine which was first. Raises StorageError where the folder is not a sweep,
    ConfigError where it is another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(folder):
        enter(folder, SWEEP)
        with studied(folder, plan, address) as study:
            plan = joined_plan(plan, study)
        if not (folder / FILE).exists():
            with rewriting(folder / FILE) as path:
                path.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=1))
    return known_plan(folder, plan.asked, plan.storage) or plan


def known_plan(folder: Path, asked: dict[str, str], storage: str) -> Plan | None:
    """Return the plan of a sweep that was begun; None where there is none.

    Raises ConfigError where it was begun with something else.
    """
    if not (folder / FILE).exists():
        return None
    plan = read_plan(folder)
    other = [name for name, digest in asked.items() if plan.asked.get(name) != digest]
    other += ["storage"] if plan.storage != storage else []
    if other:
        remedy = "name another folder, or give what it was begun with"
        raise ConfigError(f"sweep {folder}", f"it was begun with another {' and '.join(other)}", remedy)
    return plan


def read_plan(folder: Path) -> Plan:
    """Read what a sweep searches. Raises ConfigError where the folder is not a sweep."""
    refusal = Refusal(ConfigError, f"sweep {folder}", "begin one: rtsysid sweep run CONFIG --data PATH -o SWEEP")
    if not (folder / MARK).exists() or not (folder / FILE).exists():
        raise refusal("it is not a sweep")
    plain = parse_json(read_regular(folder / FILE, refusal, "json_bytes"), FILE, refusal)
    return structure_of(plain, Plan, FILE, refusal)


@contextmanager
def studied(folder: Path, plan: Plan, address: str | None = None, *, pruning: bool = True) -> Iterator[optuna.Study]:
    """Open the study of a sweep; `address` replaces the stored one, which has no password.

    Without `pruning` no trial is stopped early.

    Raises StorageError where the storage does not answer, also later, ConfigError where `address` is another storage.
    """
    url = _url(folder, plan, address)
    with opened(folder, url) as storage:
        yield open_study(plan, storage, pruning)


def _url(folder: Path, plan: Plan, address: str | None) -> URL | None:
    text = (plan.storage or None) if address is None else address
    url = None if text is None else parse_url(text)
    if url is not None and public(url) != plan.storage:
        raise ConfigError(f"sweep {folder}", "its trials are in another storage", "leave --storage out, or correct it")
    return url


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Lock the folder itself while it is filled."""
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
