"""Nothing in a bundle is believed: every field and every array is checked, and so is every name of a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from support.hostile import header, npy, places, put, rehashed, sealed, with_fingerprint, zipped
from support.hostile import members as members_of
from support.robots import AGED, make_driven_spec
from support.shell import refused_here

from rtsysid.config import Config, Model, Training, parse_config
from rtsysid.errors import BundleError
from rtsysid.model.bundle import Bundle
from rtsysid.model.contents import BUNDLE_ARRAYS, QUANTILES, weight_shapes
from rtsysid.model.intervals import SHARES
from rtsysid.model.manifest import FORMAT, Manifest, read_manifest
from rtsysid.model.npz import ArrayType, AtMost, read_npz
from rtsysid.model.tolerance import LARGEST, TOLERANCE, tolerances
from rtsysid.model.untrusted import Refusal, parse_json, read_regular
from rtsysid.spec import to_builtins

FULL = """
[data]
rate_hz = 50
inputs = ["u [V]"]
outputs = ["y [m]", "v [m/s]"]
validation = ["*_run4"]
groups = { motion = ["y"] }
max_age = 0.5
lateness = 0.02
clock_offsets = { "*_mocap.csv" = 0.5 }
[data.sources.u]
topic = "/cmd"
field = "u"
fields = ["a", "b"]
file = "*_mocap.csv"
stamp = "header.stamp"
shift_s = 0.1
unit = "mV"
scale = 2.0
offset = 1.5
poles = 4
order = "wxyz"
inverse = true
frames = "ned-frd"
period = 6.5
derive = "rate"
max_age = 0.3
[model]
taps = 4
encoder = [3]
encoder_taps = 2
head_sees_code = true
hidden = 4
relative = ["y"]
linear_path = true
warmup = 3
near_ticks = 2
age_bands = [2, 5]
integrate = [["y", "v"]]
friction = [["v", 0.5]]
[model.rigid_body]
attitude = ["a", "b", "c", "d"]
rate = ["p", "q", "r"]
velocity = ["vx", "vy", "vz"]
position = ["x", "y", "z"]
[model.rigid_body.rotors]
speeds = ["u"]
x = [0.1]
y = [0.1]
spin = [1]
thrust = 1.0
drag = 1.0
mass = 1.0
inertia = [1.0, 1.0, 1.0]
[train]
batch = 8
stride = 2
symmetry = [{ exchange = [["y", "v"]], negate = ["u"] }]
sensor_noise = { noise = { y = 0.1 }, repeat = 0.1 }
[[stage]]
name = "joint"
train = ["cell"]
loss = [{ kind = "reconstruction", corruption = { noise = 0.1 } }]
teacher_forcing = { start = 0.5 }
episode_weighting = 0.5
"""
NOT_A = {
    int: ["text", None, 0.5, [], {}, True],
    float: ["text", None, [], {}, False],
    str: [5, None, [], {}, True],
    bool: ["yes", None, 5, []],
    list: ["text", 5, {}, True],
    dict: ["text", 5, [], True],
}
NULLABLE = {
    ("stage", "episode_weighting"), ("training", "validation"), ("spec", "rigid_body"), ("model", "rigid_body"),
    ("rigid_body", "rotors"), ("int8", "step"), ("int8", "forecast"), ("data", "max_age"), ("data", "lateness"),
    ("u", "max_age"),
    *(("model", field.name) for field in msgspec.structs.fields(Model) if field.default is None),
    *(("train", field.name) for field in msgspec.structs.fields(Training) if field.default is None),
}  # fmt: skip


def full_manifest() -> dict[str, Any]:
    """A manifest in which every field of every structure is set."""
    spec = make_driven_spec(friction=(), relative=(), **AGED)
    rounding = dict.fromkeys(TOLERANCE, 1e-7)
    error = {"step": 0.1, "forecast": 0.2}
    made = {
        "format": FORMAT, "spec": to_builtins(spec), "fingerprint": spec.fingerprint, "schema_hash": spec.schema_hash,
        "macs": spec.macs, "rounding": rounding, "tolerance": tolerances(rounding),
        "training": {
            "config": msgspec.to_builtins(parse_config(FULL)), "sources": [["a.csv", "0" * 64]], "epochs": 3,
            "validation": 0.5,
        },
        "versions": {"numpy": "2"},
        "c": {"int8": {"weight_bytes": 1, "state_bytes": 2, **error}},
        "about": {"name": "arm", "version": "1.2", "note": "of the left arm"},
        "files": dict.fromkeys(("weights.npz", "golden.npz", "baseline.npz"), "0" * 64),
    }  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(made))
    return plain


def read(plain: Any, folder: Path) -> Manifest:
    (folder / "manifest.json").write_text(plain if isinstance(plain, str) else sealed(plain))
    return read_manifest(folder)


def fields_of(kind: Any) -> Iterator[tuple[str, str]]:
    """Every field of a structure and of the structures inside, by the name of its structure."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield kind.__name__, field.encode_name
            yield from fields_of(field.type)
    for inner in get_args(kind):
        yield from fields_of(inner)


def test_every_field_of_a_manifest_is_checked(tmp_path: Path) -> None:
    """Every place of a manifest in which all fields are set refuses every other type, and a number that is not one."""
    full = full_manifest()
    read(full, tmp_path)
    names = {name for path in places(full) for name in path}
    assert {field for _, field in fields_of(Manifest)} - {"digest"} <= names
    for path in places(full):
        value = full
        for key in path:
            value = value[key]
        for wrong in NOT_A.get(type(value), [[], {}, "text"]):
            named = tuple(key for key in path if isinstance(key, str))
            if wrong is None and (named[-2:] in NULLABLE or value is None):
                continue
            changed = json.loads(json.dumps(full))
            put(changed, path, wrong)
            if not same_type(path, wrong):
                with pytest.raises(BundleError):
                    read(changed, tmp_path)


def same_type(path: tuple[Any, ...], wrong: Any) -> bool:
    """Whether a place takes a value of this type after all: lists of names, and the outputs that are fed back."""
    if path[-1] == "scale":  # a number, or arithmetic
        return isinstance(wrong, str)
    return (path[-1] == "feedback" and isinstance(wrong, bool | list)) or path[-2:-1] == ("feedback",)


@pytest.mark.parametrize("path", [path for path in places(full_manifest()) if isinstance(path[-1], str)], ids=str)
def test_every_key_is_wanted_or_refused(path: tuple[Any, ...], tmp_path: Path) -> None:
    """Next to every key an unknown one is refused; free tables of names are the exceptions."""
    if path[:-1] and path[-2] in ("groups", "noise", "versions", "files", "clock_offsets"):
        return
    changed = full_manifest()
    put(changed, (*path[:-1], "unheard of"), 1)
    with pytest.raises(BundleError):
        read(changed, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "nul", '{"format": 3, "format": 3}', '{"macs": NaN}', '{"macs": 1e999}', "[" * 100_000,
        '{"a":' * 100_000, '{"macs": 1' + "0" * 5000 + "}", '{"a": "\\ud800"}', "\udcff", '{"a": 18446744073709551616}',
    ],
    ids=range(12),
)  # fmt: skip
def test_a_manifest_that_is_no_strict_json_is_refused(text: str, tmp_path: Path) -> None:
    """Keys that occur twice, numbers that are none, nesting without end, half a character: one line each."""
    (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BundleError, match=r"manifest\.json (is not readable|was changed)"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"taps": 2**40}, "<= 65535"),
        ({"hidden": 60_000}, "model_bytes"),
        ({"encoder": [4] * 100}, "give 64 or less"),
        ({"degree": 10**6}, "degree"),
        ({"warmup": 10**12}, "warmup"),
        ({"rate_hz": 0}, "rate_hz"),
        ({"channels": [{"name": f"y{k}"} for k in range(5000)]}, "limit channels"),
        ({"scaling": {}}, "no scaling"),
    ],
    ids=str,
)
def test_an_absurd_size_is_refused_before_anything_is_made(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """A specification of more than a model may have is one line, though its hashes fit."""
    plain = full_manifest()
    spec = {**plain["spec"], "rigid_body": None, **change}
    if "channels" in change:
        spec["scaling"] = {}
    changed = {**plain, "spec": spec}
    with_fingerprint(changed)
    with pytest.raises(BundleError, match=reason):
        read(changed, tmp_path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../weights.npz", "a/../b.npz", "model-../x-linux.so", "run.sh", ""])
def test_a_file_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    """The files of a bundle have the names that a bundle has, and no path among them."""
    plain = full_manifest()
    plain["files"][name] = "0" * 64
    with pytest.raises(BundleError, match="no file of a bundle"):
        read(plain, tmp_path)


def test_a_file_that_no_manifest_lists_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    """A file without a hash does not belong there; a hidden file is never opened and may stay."""
    folder = rehashed(bundle_folder, tmp_path / "b", lambda folder, content: None)
    (folder / ".hidden").write_text("mine")
    Bundle.open(folder)
    (folder / "w.bin").write_bytes(b"weights")
    with pytest.raises(BundleError, match=r"'w\.bin' is not listed"):
        Bundle.open(folder)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "sparse"])
def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path, kind: str) -> None:
    """A link, a FIFO that nobody writes to, a folder and a file of 10 TB are each one line, at once."""
    path = tmp_path / "weights.npz"
    if kind == "link":
        (tmp_path / "other").write_bytes(b"x")
        path.symlink_to(tmp_path / "other")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 10 * 2**40)
    with pytest.raises(BundleError, match=r"not a regular file|are allowed; if you trust it"):
        read_regular(path, Refusal(BundleError, "bundle", "export again"))


@pytest.mark.parametrize("name", TOLERANCE)
def test_a_bundle_does_not_choose_its_tolerance(tmp_path: Path, name: str) -> None:
    """A bound that does not follow from the rounding is refused, and so is one above the table."""
    plain = full_manifest()
    for changed in (plain["tolerance"][name] * 2, 1e9):
        with pytest.raises(BundleError, match="does not follow"):
            read({**plain, "tolerance": plain["tolerance"] | {name: changed}}, tmp_path)
    rounding = plain["rounding"] | {name: LARGEST[name]}
    with pytest.raises(BundleError, match="beyond the table"):
        read({**plain, "rounding": rounding, "tolerance": tolerances(rounding)}, tmp_path)


def wrong_arrays(name: str, wanted: ArrayType, array: np.ndarray) -> Iterator[tuple[str, bytes | None]]:
    """What an array of a bundle may not be."""
    yield "missing", None
    yield "deeper", npy(array[None])
    yield "other type", npy(array.astype("<f2" if array.size else "<U4"))
    yield "objects", npy(np.full(array.shape, None, object))
    if array.size:
        yield "big endian", npy(array.astype(array.dtype.newbyteorder(">")))
    yield "claims 10 TB", header(wanted.kind, (10**12, *array.shape[1:]))
    yield "negative", header(wanted.kind, (-1, *array.shape[1:]))
    yield "cut off", npy(array)[:-1] if array.size else b""
    yield "longer than it says", npy(array) + b"\0"
    yield "no npy", b"hello"
    if array.ndim and not isinstance(wanted.shape[0], AtMost):
        yield "more rows", npy(np.concatenate((array, array[:1])))
    if wanted.kind[1] == "f" and wanted.finite and array.size:
        for value in (np.nan, np.inf):
            changed = array.copy()
            changed.flat[-1] = value
            yield str(value), npy(changed)


@pytest.mark.parametrize("name", BUNDLE_ARRAYS)
def test_every_array_of_a_bundle_is_checked(calibrated_folder: Path, name: str) -> None:
    """Every array of every npz file: missing, of another type, shape or length, claiming more, not finite: refused."""
    bundle = Bundle.open(calibrated_folder)
    types, kept = BUNDLE_ARRAYS[name](bundle.spec), members_of(bundle.content(name))
    types = {key: wanted for key, wanted in types.items() if not wanted.optional or f"{key}.npy" in kept}
    assert {f"{key}.npy" for key in types} == set(kept)
    honest, refusal = bundle.arrays(name), Refusal(BundleError, "bundle", "export again")
    for key, wanted in types.items():
        for what, member in wrong_arrays(name, wanted, honest[key]):
            changed = {other: content for other, content in kept.items() if other != f"{key}.npy" or member is not None}
            if member is not None:
                changed[f"{key}.npy"] = member
            with pytest.raises(BundleError, match=name):
                pytest.fail(f"{key} {what}: {read_npz(zipped(changed), name, types, refusal)}")
    for changed in (zipped({**kept, "extra.npy": npy(np.zeros(3))}), zipped(kept, 8), zipped({}), b"", b"PK\5\6"):
        with pytest.raises(BundleError, match=name):
            read_npz(changed, name, types, refusal)


def test_a_manifest_is_one_object() -> None:
    """JSON that is no object is refused by its name."""
    with pytest.raises(BundleError, match="is not readable"):
        parse_json(b"[1]", "run.json", Refusal(BundleError, "x", "y"))


def test_the_tables_agree() -> None:
    """The number of quantiles is that of the intervals, and a configuration has the fields that the test sets."""
    assert len(SHARES) == QUANTILES
    assert weight_shapes(make_driven_spec())["head.weight"] == (7, 6)
    assert isinstance(parse_config(FULL), Config)


@pytest.mark.parametrize("name", ["calibration.json", "history.json", "intervals.npz", "baseline.npz"])
def test_verify_reads_what_no_backend_needs(calibrated_folder: Path, tmp_path: Path, name: str) -> None:
    """A bundle that another command would refuse for this file is not called verified."""
    spoiled = rehashed(calibrated_folder, tmp_path / "b", lambda folder, _: (folder / name).write_text("[]"))
    assert name in refused_here("verify", spoiled, "--backend", "numpy", code=2)
