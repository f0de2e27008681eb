"""Mutated bundles, runs and indexes: each is refused with an error of ours, or works; nothing else happens.

`make test` runs five hundred mutations; RTSYSID_FUZZ_BUNDLES sets another number, as `make fuzz` does.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hostile import mutate_bytes, mutate_npz, mutate_plain, rehashed, sealed
from support.robots import plant

from export.bundle import trained_network
from rtsysid.errors import RtsysidError
from rtsysid.evaluation.baselines import LinearArx
from rtsysid.live.calibration import Calibration
from rtsysid.model.bundle import Bundle
from rtsysid.model.golden import golden_of
from rtsysid.model.intervals import Intervals
from rtsysid.model.predictor import Predictor
from rtsysid.retrieval.build import build
from rtsysid.retrieval.index import Index
from rtsysid.retrieval.search import find, query_at
from rtsysid.train.run import Run

COUNT = int(os.environ.get("RTSYSID_FUZZ_BUNDLES", "500"))
CPU_S, GROWTH_KB = 5.0, 300_000
OURS = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), "/proc/", "/sys/", "/dev/", "/usr/", "/etc/")
_watched: list[list[str]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watched and isinstance(arguments[0], str | bytes):
        _watched[-1].append(os.path.abspath(os.fsdecode(arguments[0])))


sys.addaudithook(_watch)


@contextmanager
def nothing_outside(folder: Path) -> Iterator[None]:
    """No file is opened but those of this folder, of Python, and of the user's keys."""
    opened: list[str] = []
    _watched.append(opened)
    try:
        yield
    finally:
        _watched.pop()
    allowed = (*OURS, str(folder), os.environ["XDG_DATA_HOME"])
    assert not [path for path in opened if not path.startswith(allowed)]


def survive(use: Callable[[], object]) -> bool:
    """Whether a use works. An error of ours is no fault; any other, or too much time or memory, is."""
    begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with np.errstate(all="ignore"):
            use()
        works, line = True, ""
    except RtsysidError as error:
        works, line = False, str(error)
    assert len(line.splitlines()) <= 1
    assert time.process_time() - begun < CPU_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_KB
    return works


def fuzz(folder: Path, make: Callable[[random.Random, Path], Callable[[], object]], count: int) -> int:
    """How many of so many mutations still work."""
    survived = 0
    for seed in range(count):
        target = folder / "m"
        use = make(random.Random(seed), target)
        with nothing_outside(folder):
            try:
                survived += survive(use)
            except BaseException as error:
                error.add_note(f"mutation {seed}")
                raise
        shutil.rmtree(target)
    return survived


def use_bundle(folder: Path, graphs: bool) -> None:
    """Everything that a bundle is good for, but its library: that one is code."""
    bundle = Bundle.open(folder)
    golden_of(bundle)
    Calibration.of(bundle)
    Intervals.of(bundle)
    LinearArx.of(bundle)
    Predictor.load(bundle, "onnx" if graphs else "numpy")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_mutated_bundles(calibrated_folder: Path, tmp_path: Path) -> None:
    """Mutated manifests, signatures, arrays, calibrations and graphs, half of them signed again: an error of ours, or a
    bundle whose golden trace passes."""

    def make(rng: random.Random, target: Path) -> Callable[[], object]:
        kind = rng.choice(["plain", "npz", "onnx", "json"])

        def change(folder: Path, content: dict[str, Any]) -> None:
            names = sorted(path.name for path in folder.iterdir() if path.name.endswith(f".{kind}"))
            if kind == "plain":
                return mutate_plain(rng, content)
            path = folder / rng.choice(names)
            if kind == "json":
                plain = json.loads(path.read_bytes())
                mutate_plain(rng, plain)
                path.write_text(json.dumps(plain))
            else:
                path.write_bytes((mutate_npz if kind == "npz" else mutate_bytes)(rng, path.read_bytes()))
            return None

        rehashed(calibrated_folder, target, change, signed=rng.random() < 0.5)
        return lambda: use_bundle(target, kind == "onnx")

    assert fuzz(tmp_path, make, COUNT) < COUNT


def test_mutated_runs(run_folder: Path, tmp_path: Path) -> None:
    """Mutated run.json, history, arrays and tensors: an error of ours, or a network."""

    def make(rng: random.Random, target: Path) -> Callable[[], object]:
        shutil.copytree(run_folder, target)
        path = target / rng.choice(sorted(each.name for each in target.iterdir() if each.suffix != ".toml"))
        if path.suffix == ".json":
            plain = json.loads(path.read_text())
            mutate_plain(rng, plain)
            path.write_text(json.dumps(plain))
        else:
            path.write_bytes((mutate_npz if path.suffix == ".npz" else mutate_bytes)(rng, path.read_bytes()))
        return lambda: use_run(Run(target))

    assert fuzz(tmp_path, make, COUNT // 5) < COUNT // 5


def use_run(run: Run) -> None:
    for name in ("baseline.npz", "yardstick.npz", "excerpt.npz", "validation.npz", "linear_path.npz"):
        run.arrays(name)
    run.history()
    run.checkpoint()
    trained_network(run.result())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_mutated_indexes(tmp_path: Path) -> None:
    """A mutated index.json, arrays and mapped files: an error of ours, or an answer."""
    trace = plant(2, 200)
    honest = tmp_path / "honest"
    build([trace], honest, seconds=0.5)

    def make(rng: random.Random, target: Path) -> Callable[[], object]:
        shutil.copytree(honest, target)
        path = target / rng.choice(
            ["index.json", "index.json", "descriptor.npz", "values.f32", "times.f64", "codes.u8"]
        )
        plain = json.loads((target / "index.json").read_text())
        if path.suffix == ".json":
            mutate_plain(rng, plain)
        else:
            path.write_bytes((mutate_npz if path.suffix == ".npz" else mutate_bytes)(rng, path.read_bytes()))
        (target / "index.json").write_text(seal(plain))

        def use() -> None:
            index = Index.open(target)
            find(index, query_at(index, trace, 2.0))

        return use

    assert fuzz(tmp_path, make, COUNT // 5) < COUNT // 5


def seal(plain: dict[str, Any]) -> str:
    try:
        return sealed(plain)
    except OverflowError:  # an integer of 65 bits cannot be hashed
        return json.dumps(plain)
