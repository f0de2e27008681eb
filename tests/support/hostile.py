"""Files that are not what they claim: changes to a bundle, a run or an index, hashed again as if they were honest."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rtsysid.errors import SpecError
from rtsysid.model import trust
from rtsysid.model.bundle import write_manifest
from rtsysid.spec import digest, from_builtins

Change = Callable[[Path, dict[str, Any]], object]
WRONG: list[Any] = [None, True, 0, -1, 2**40, 10**30, 0.5, 1e300, -1e-300, "", "..", "x" * 400, [], [[]], {}, {"a": 1}]


def rehashed(bundle: Path, folder: Path, change: Change, *, signed: bool = False) -> Path:
    """A copy of a bundle after `change(folder, content)`, with a manifest that fits what was changed.

    Its signature is that of the bundle before, or with `signed` a valid one of this user: trust is no proof of sense.
    """
    shutil.copytree(bundle, folder)
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    for key in ("format", "files", "digest"):
        content.pop(key)
    change(folder, content)
    with_fingerprint(content)
    try:
        digest = write_manifest(folder, content)
        if signed:
            trust.sign(folder, digest)
    except OverflowError:  # an integer of 65 bits cannot be hashed
        (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def with_fingerprint(content: dict[str, Any]) -> None:
    """Adapt the fields that follow from the specification, where there is one, as an attacker would."""
    try:
        spec = from_builtins(content["spec"])
        content |= {"fingerprint": spec.fingerprint, "schema_hash": spec.schema_hash, "macs": spec.macs}
    except (SpecError, KeyError, TypeError):
        pass


def sealed(plain: dict[str, Any]) -> str:
    """The text of a manifest with its digest."""
    fields = {key: value for key, value in plain.items() if key != "digest"}
    return json.dumps({**fields, "digest": digest(fields)})


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def header(kind: str, shape: object) -> bytes:
    """An npy file that claims an array and holds nothing of it."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in plain values: keys and numbers that lead to it."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def mutate_plain(rng: random.Random, plain: dict[str, Any]) -> None:
    """Change one place of plain values: another value, another number, a key more or less."""
    path = rng.choice(list(places(plain)))
    parent = plain
    for key in path[:-1]:
        parent = parent[key]
    kind, old = rng.randrange(4), parent[path[-1]]
    if kind == 0 and isinstance(parent, dict):
        del parent[path[-1]]
    elif kind == 1 and isinstance(parent, dict):
        parent[rng.choice(["", "extra", "__proto__"])] = rng.choice(WRONG)
    elif kind == 2 and isinstance(old, int | float) and not isinstance(old, bool):
        parent[path[-1]] = old * rng.choice([-1, 0, 2, 1000, 10**9]) + rng.choice([0, 1])
    else:
        parent[path[-1]] = rng.choice(WRONG)


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Flip bits, cut, repeat or insert a piece."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        size = min(rng.choice([1, 1, 4, 64]), len(found) - at)
        kind = rng.randrange(4)
        if kind == 0 and size:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[at : at + size]
        elif kind == 2:
            found[at:at] = found[at : at + size]
        else:
            found[at:at] = rng.choice([b"\0", b"\xff", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\x7a\x00"])
    return bytes(found)


def mutate_npz(rng: random.Random, content: bytes) -> bytes:
    """Change one array: its type, shape, values or header, or the archive around it."""
    kept = members(content)
    name = rng.choice(sorted(kept))
    array = np.load(io.BytesIO(kept[name]), allow_pickle=False)
    kind = rng.randrange(8)
    if kind == 0:
        kept[name] = npy(rng.choice([array[None], array.ravel(), array[None][..., :0], array.T]))
    elif kind == 1:
        kept[name] = npy(array.astype(rng.choice(["<f8", "<f4", "<i8", "<i4", ">f4", "<c8", "|O", "<U4", "|b1"])))
    elif kind == 2 and array.size:
        changed = array.copy()
        changed.flat[rng.randrange(array.size)] = rng.choice([0, -1, 1e30, 7]) if array.dtype.kind == "f" else -(2**62)
        kept[name] = npy(changed)
    elif kind == 3 and array.dtype.kind == "f" and array.size:
        changed = array.copy()
        changed.flat[rng.randrange(array.size)] = rng.choice([np.nan, np.inf])
        kept[name] = npy(changed)
    elif kind == 4:
        kept[name] = header(array.dtype.str, rng.choice([(10**12,), (-5,), (2**40, 2**40), array.shape]))
    elif kind == 5:
        kept.pop(name)
    elif kind == 6:
        return zipped(kept, zipfile.ZIP_DEFLATED)
    else:
        return mutate_bytes(rng, content)
    return zipped(kept)
