"""Watch a bundle, and open and verify each new one in a process of its own, so that nothing disturbs the live loop.

The process looks at the folder a few times a second. A folder that has changed and rests is opened, checked against
what runs, and verified on its golden trace. Each finding is one line of JSON on its output. It ends with its input.
A library that crashes ends this process and not the loop.
"""

from __future__ import annotations

import hashlib
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from rtsysid.errors import BundleError, RtsysidError


class Wanted(msgspec.Struct, frozen=True):
    """What a new bundle has to be, and where it is looked for.

    ``seen``: the state of the folder that is known. ``backend``: the one that runs; a new bundle that would run on
    another is refused, since it would be loaded and computed at another speed. ``expect``: id of the model, or empty.
    ``cpus``: processors that the process may use; all of the machine where empty.
    """

    path: str
    seen: str
    digest: str
    schema_hash: str
    backend: str
    expect: str = ""
    poll_s: float = 0.2
    cpus: tuple[int, ...] = ()


class Verified(msgspec.Struct, frozen=True):
    """One line of the process: it begins to check (``digest`` and ``refused`` are empty), or a bundle, or why not."""

    seen: str
    folder: str = ""
    digest: str = ""
    refused: str = ""


def state_of(path: Path | str) -> str:
    """Return a text that changes when a bundle folder does, or the link that leads to it; empty where there is none."""
    real = os.path.realpath(path)
    try:
        with os.scandir(real) as entries:
            found = [(each.name, each.stat(follow_symlinks=False)) for each in entries if each.name[0] != "."]
    except OSError:
        return ""
    facts = [(name, about.st_ino, about.st_size, about.st_mtime_ns) for name, about in sorted(found)]
    return hashlib.sha256(repr((real, facts)).encode()).hexdigest()[:16]


def watch(wanted: Wanted) -> None:
    """Report every new bundle on stdout until stdin ends."""
    seen = settling = wanted.seen
    digest = wanted.digest
    while not select.select([sys.stdin], [], [], wanted.poll_s)[0]:
        state = state_of(wanted.path)
        rests, settling = state == settling, state
        if not state or state == seen or not rests:  # it is being written, perhaps
            continue
        seen = state
        _tell_parent(Verified(seen))
        found = verified(wanted, seen)
        if found.digest != digest:
            _tell_parent(found)
        digest = found.digest or digest


def verified(wanted: Wanted, seen: str) -> Verified:
    """Open the bundle that is there now, and verify it as it would run; a BundleError is its refusal."""
    folder = os.path.realpath(wanted.path)
    try:
        return Verified(seen, folder, _verify(Path(folder), wanted))
    except RtsysidError as error:
        return Verified(seen, folder, refused=str(error))


def _verify(folder: Path, wanted: Wanted) -> str:
    from rtsysid.model.bundle import Bundle
    from rtsysid.model.predictor import Predictor

    bundle = Bundle.open(folder)
    if bundle.manifest.digest == wanted.digest:
        return bundle.manifest.digest
    bundle.require_live()
    if wanted.expect:
        bundle.require_model(wanted.expect)
    if bundle.spec.schema_hash != wanted.schema_hash:
        found = "its channels or its rate are others than those of the running bundle"
        raise BundleError(f"bundle {folder}", found, "stop the session, and start it with this bundle")
    if wanted.backend == "c" and not bundle.trusted:  # what was asked for once was asked for another bundle
        why = bundle.maker.reason.partition(";")[0]  # the rest says how to ask for it once
        raise BundleError(f"bundle {folder}", f"its C library is code, and {why}", _remedy(bundle.maker.key, folder))
    name: Any = wanted.backend
    Predictor.load(bundle, name)
    return bundle.manifest.digest


def _remedy(key: str, folder: Path) -> str:
    """Say how a maker becomes a trusted one: by the key of the signature, or by a new signature."""
    return f"rtsysid trust add {key}" if key else f"rtsysid trust sign {folder}, where you trust it"


def _tell_parent(finding: Verified) -> None:
    sys.stdout.write(msgspec.json.encode(finding).decode() + "\n")
    sys.stdout.flush()


def watch_for_ever() -> None:
    """Watch what the first argument describes, as JSON."""
    wanted = msgspec.json.decode(sys.argv[1], type=Wanted)
    with suppress(OSError, AttributeError):  # its parent may be bound to the one processor of the loop
        os.sched_setaffinity(0, wanted.cpus or range(os.cpu_count() or 1))
    with suppress(OSError):
        os.nice(10)
    with suppress(BrokenPipeError, KeyboardInterrupt):
        watch(wanted)


if __name__ == "__main__":
    watch_for_ever()
