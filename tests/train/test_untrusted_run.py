"""Nothing in a run folder is believed: run.json, history, arrays and tensors are what a training writes, or refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.hostile import header, members, npy, places, put, zipped

from export.bundle import export
from rtsysid.errors import ConfigError
from rtsysid.model.contents import RUN_ARRAYS, weight_shapes
from rtsysid.train.network import Network
from rtsysid.train.run import Run


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Run:
    return Run(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.fixture
def auto_run(auto_run_folder: Path, tmp_path: Path) -> Run:
    return Run(shutil.copytree(auto_run_folder, tmp_path / "auto-run"))


@pytest.mark.parametrize("name", RUN_ARRAYS)
def test_every_array_of_a_run_is_checked(auto_run: Run, name: str) -> None:
    """Missing, of another type or shape, claiming more, not finite: each array of each file is refused."""
    run = auto_run
    kept, path = members((run.folder / name).read_bytes()), run.folder / name
    honest = run.arrays(name)
    for key, wanted in RUN_ARRAYS[name](run.spec).items():
        if key not in honest:
            assert wanted.optional
            continue
        array = honest[key]
        wrong = [npy(array[None]), npy(np.full(array.shape, None, object)), header(wanted.kind, (10**12,)), b"hello"]
        wrong += [npy(np.full_like(array, np.nan))] if wanted.kind[1] == "f" and array.size else []
        for member in wrong:
            path.write_bytes(zipped({**kept, f"{key}.npy": member}))
            with pytest.raises(ConfigError, match=name):
                run.arrays(name)
        if wanted.optional:
            continue
        path.write_bytes(zipped({other: content for other, content in kept.items() if other != f"{key}.npy"}))
        with pytest.raises(ConfigError, match=f"lacks the array {key}"):
            run.arrays(name)


def test_every_field_of_a_run_is_checked(auto_run: Run) -> None:
    """Every place of run.json refuses a value of another kind, and a key that nobody knows."""
    run = auto_run
    path = run.folder / "run.json"
    honest = json.loads(path.read_text())
    for place in places(honest):
        changed = json.loads(json.dumps(honest))
        put(changed, place, {"unheard": ["of"]})
        if place[-1] != "groups":  # a table of any names
            path.write_text(json.dumps(changed))
            with pytest.raises(ConfigError):
                _ = run.about
    path.write_text(json.dumps({**honest, "unheard": 1}))
    with pytest.raises(ConfigError, match="unheard"):
        _ = run.spec


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("head.weight"),
        lambda t: t.update(extra=torch.zeros(1)),
        lambda t: t.update({"head.weight": torch.zeros(3, 64)}),
        lambda t: t.update({"head.bias": torch.full_like(t["head.bias"], torch.nan)}),
        lambda t: t.update({"head.bias": t["head.bias"].double()}),
    ],
    ids=range(5),
)
def test_other_weights_than_the_specification_are_refused(run: Run, change: Callable[[dict[str, Any]], object]) -> None:
    """A weight that is missing, additional, of another shape or type, or not finite ends an export in one line."""
    path = run.folder / "weights.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(ConfigError, match=r"weights\.safetensors"):
        run.result()


def test_the_table_of_weights_is_that_of_the_network(run: Run) -> None:
    """Names and shapes of the table are those of torch, whose networks it describes."""
    found = {name: tuple(tensor.shape) for name, tensor in Network(run.spec).state_dict().items()}
    assert found == weight_shapes(run.spec)


def test_what_a_run_states_is_checked(auto_run: Run) -> None:
    """Every place of expected.json refuses a value of another kind; groups and ticks are those of the model."""
    path = auto_run.folder / "expected.json"
    honest = json.loads(path.read_text())
    assert auto_run.expected().groups.keys() == honest["groups"].keys()
    wrong: list[Any] = [[], {"groups": {}}, {"groups": honest["groups"], "linear": {}}]
    for place in places(honest):
        wrong.append(json.loads(json.dumps(honest)))
        put(wrong[-1], place, [10**6] if place[-1] == "ticks" else {"unheard": ["of"]})
    for each in wrong:
        path.write_text(json.dumps(each))
        with pytest.raises(ConfigError, match=r"expected\.json"):
            auto_run.expected()
    path.unlink()
    with pytest.raises(ConfigError, match=r"expected\.json is missing"):
        auto_run.expected()


@pytest.mark.parametrize("metadata", [{}, {"position": "{}"}, {"position": '{"stage": -1}', "epochs": "1"},
                                      {"position": "[" * 10_000, "epochs": "1"}, {"position": "{}", "epochs": "x"}],
                         ids=range(5))  # fmt: skip
def test_a_checkpoint_says_which_epoch_is_next(run: Run, metadata: dict[str, str]) -> None:
    """Stages and epochs before the first would never end: refused."""
    path = run.folder / "checkpoint.safetensors"
    save_file(load_file(path), path, metadata)
    with pytest.raises(ConfigError, match="which epoch is next"):
        run.checkpoint()


@pytest.mark.parametrize("text", ["{", "[]\n", '{"index": 0}\n', "NaN\n", "[" * 10_000])
def test_a_history_is_that_of_a_training(run: Run, text: str) -> None:
    """Lines that are no epochs are refused by the name of the file; so is an epoch twice."""
    path = run.folder / "history.jsonl"
    honest = path.read_text()
    for wrong in (text, honest + honest):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match=r"history\.jsonl"):
            run.history()


def test_a_fifo_in_the_place_of_a_file_is_refused(run: Run, tmp_path: Path) -> None:
    """Nobody waits for the other end of a FIFO, whichever file it replaces."""
    for name in ("run.json", "weights.safetensors", "excerpt.npz"):
        path = run.folder / name
        kept = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(ConfigError, match="not a regular file"):
            export(run, tmp_path / "b", ("c",))
        path.unlink()
        path.write_bytes(kept)
