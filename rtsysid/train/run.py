"""Read and write a run folder: configuration, linear fits, checkpoint and result of one training.

======================= ===========================================================================
config.toml             the configuration file as given
run.json                specification, configuration, hashes of the recordings, versions
history.jsonl           one line per epoch
checkpoint.safetensors  weights, best weights, optimiser state and position; replaced as a whole
linear_path.npz         the linear map that the linear path starts from
baseline.npz            the linear ARX fitted to the same recordings
yardstick.npz           error of the baseline after 1 .. N ticks, the unit of the losses
excerpt.npz             the start of one validation recording, for the golden trace
validation.npz          the validation recordings, for the calibration of a bundle
weights.safetensors     the result; it exists when training is complete
======================= ===========================================================================
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import rtsysid
from rtsysid.config import Config
from rtsysid.errors import ConfigError
from rtsysid.spec import ModelSpec, from_builtins
from rtsysid.storage import replacing

Tensors = dict[str, Tensor]


class Position(msgspec.Struct):
    """State the next epoch to run: stage, epoch in it, and the best validation loss of the stage."""

    stage: int = 0
    epoch: int = 0
    best: float = float("inf")
    stale: int = 0  # epochs since the best one


class Run:
    """Read and write one run folder.

    Each file is written under another name and then renamed. A kill at any moment loses one epoch at most.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @property
    def complete(self) -> bool:
        """Tell whether training has ended."""
        return (self.folder / "weights.safetensors").exists()

    @property
    def about(self) -> dict[str, Any]:
        """Read `run.json`. Raises ConfigError where it cannot be read."""
        try:
            about: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        except (OSError, ValueError):
            raise ConfigError(f"run {self.folder}", "no readable run.json", "train one: rtsysid train CONFIG") from None
        return about

    @property
    def spec(self) -> ModelSpec:
        """Read the model specification. Raises ConfigError where `run.json` is unreadable, SpecError if invalid."""
        return from_builtins(self.about["spec"])

    @property
    def begun(self) -> bool:
        """Tell whether the folder holds everything that training starts from."""
        return (self.folder / "run.json").exists()

    def begin(self, about: dict[str, Any], config_text: str) -> None:
        """Write the configuration and `run.json`. Call it last: all other files must be there already."""
        with replacing(self.folder / "config.toml") as path:
            path.write_text(config_text)
        with replacing(self.folder / "run.json") as path:
            path.write_text(json.dumps(about, indent=1) + "\n")

    def refuse_another(self, about: dict[str, Any]) -> None:
        """Check that the folder holds this run. Raises ConfigError where configuration or recordings differ."""
        wanted, stored = json.loads(json.dumps(about)), self.about
        differing = [key for key in wanted if key != "versions" and wanted[key] != stored.get(key)]
        if differing:
            raise ConfigError(
                f"run {self.folder}", f"holds another run (differs in {', '.join(differing)})", "choose another -o"
            )

    def save_arrays(self, name: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write arrays of any shape [..] by name to an npz file."""
        with replacing(self.folder / name) as path:
            np.savez(path, allow_pickle=False, **arrays)

    def arrays(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """Read all arrays [..] of an npz file, by name. Raises ConfigError where it is missing or damaged."""
        try:
            with np.load(self.folder / name, allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError):
            raise ConfigError(f"run {self.folder}", f"{name} is missing or damaged", "train again") from None

    def save_checkpoint(self, tensors: Tensors, position: Position, epoch: dict[str, Any]) -> None:
        """Write history and checkpoint after one epoch.

        The history is written first. A kill in between leaves one line too many, which the next epoch cuts off.
        """
        history = self.history()[: epoch["index"]]
        with replacing(self.folder / "history.jsonl") as path:
            path.write_text("".join(json.dumps(line) + "\n" for line in [*history, epoch]))
        metadata = {"position": json.dumps(msgspec.to_builtins(position)), "epochs": str(epoch["index"] + 1)}
        with replacing(self.folder / "checkpoint.safetensors") as path:
            save_file(tensors, path, metadata)

    def checkpoint(self) -> tuple[Tensors, Position, int] | None:
        """Read the checkpoint: tensors, position and number of finished epochs. None where no epoch was finished.

        Raises ConfigError where the file is damaged.
        """
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return None
        tensors, metadata = read_tensors(path)
        position = msgspec.convert(json.loads(metadata["position"]), Position)
        return tensors, position, int(metadata["epochs"])

    def history(self) -> list[dict[str, Any]]:
        """Read one dict per finished epoch, with the fields of `rtsysid.train.loop.Epoch`."""
        path = self.folder / "history.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def finish(self, weights: Tensors) -> None:
        """Write the result, which completes the run."""
        with replacing(self.folder / "weights.safetensors") as path:
            save_file(weights, path)

    def weights(self) -> Tensors:
        """Read the result. Raises ConfigError where training is not finished or the file is damaged."""
        if not self.complete:
            raise ConfigError(f"run {self.folder}", "training is not finished", "continue it with the same command")
        return read_tensors(self.folder / "weights.safetensors")[0]


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Read tensors and metadata of a safetensors file. Raises ConfigError where it cannot be read."""
    try:
        with safe_open(path, "pt") as stored:
            return {key: stored.get_tensor(key) for key in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigError(str(path), f"damaged ({error})", "delete the run folder and train again") from None


def origin(config: Config, sources: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Describe what a run comes from, as plain values: configuration with its stages, recordings and versions.

    `sources`: name and SHA-256 of each recording.
    """
    built = msgspec.to_builtins(msgspec.structs.replace(config, stage=config.stages))
    return {"config": built, "sources": [list(source) for source in sources], "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of the software; other versions may change the last bits of a result."""
    return {
        "rtsysid": rtsysid.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def state_arrays(weights: Mapping[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    """Convert weights [out, in] to float32 arrays by name, for the exporters."""
    return {name: np.ascontiguousarray(tensor.cpu().numpy(), np.float32) for name, tensor in weights.items()}
