"""Staged training: what is frozen stays, and what is killed goes on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from rtsysid.config import Config
from rtsysid.errors import ConfigError
from rtsysid.trace import Trace
from rtsysid.train.fit import begin
from rtsysid.train.run import Run


def weights_and_losses(run: Run) -> tuple[dict[str, torch.Tensor], list[tuple[float, float]]]:
    return run.weights(), [(line["train"], line["validation"]) for line in run.history()]


@pytest.mark.parametrize("stop", [1, 3, 4, 5])
def test_a_killed_run_goes_on_to_the_same_bits(
    stop: int, tmp_path: Path, run_folder: Path, tiny_config: Config, tiny_trace: Trace
) -> None:
    """A run that stops after any epoch, also between stages, ends in the weights and losses of an unbroken one."""
    epochs = begin(tiny_config, tiny_trace, tmp_path / "run").epochs()
    for _ in range(stop):
        next(epochs)
    epochs.close()
    trainer = begin(tiny_config, tiny_trace, tmp_path / "run")
    assert trainer.done == stop
    for _ in trainer.epochs():
        pass
    resumed, unbroken = weights_and_losses(Run(tmp_path / "run")), weights_and_losses(Run(run_folder))
    assert resumed[1] == unbroken[1]
    assert all(torch.equal(resumed[0][name], tensor) for name, tensor in unbroken[0].items())


def test_frozen_means_bit_identical(tmp_path: Path, tiny_config: Config, tiny_trace: Trace) -> None:
    """The stage that trains the LSTM leaves every bit of encoder, decoder and direct path alone."""
    trainer = begin(tiny_config, tiny_trace, tmp_path / "run")
    before = {}
    for epoch in trainer.epochs():
        if epoch.stage == "joint":
            before = {name: tensor.clone() for name, tensor in trainer.best.items()}
    after = trainer.network.state_dict()
    changed = {name.split(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"lstm", "head"}


def test_one_layer_trains_alone(tmp_path: Path, tiny_config: Config, tiny_trace: Trace) -> None:
    """A greedy stage moves encoder layer 2 and decoder layer 2 and nothing else."""
    config = msgspec.convert(
        msgspec.to_builtins(tiny_config)
        | {
            "stage": [
                {
                    "name": "layer 2", "train": ["encoder.2", "decoder.2"], "epochs": 1,
                    "loss": [{"kind": "reconstruction", "layer": 2}],
                }
            ]
        },
        Config,
    )  # fmt: skip
    trainer = begin(config, tiny_trace, tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    for _ in trainer.epochs():
        pass
    after = trainer.network.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {f"{part}.2.{kind}" for part in ("encoder", "decoder") for kind in ("weight", "bias")}


def test_another_run_is_not_overwritten(run_folder: Path, tiny_config: Config, tiny_trace: Trace) -> None:
    """A folder that holds a run of another configuration is refused and stays as it was."""
    other = msgspec.structs.replace(tiny_config, train=msgspec.structs.replace(tiny_config.train, seed=7))
    before = (run_folder / "weights.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="another run"):
        begin(other, tiny_trace, run_folder)
    assert (run_folder / "weights.safetensors").read_bytes() == before


def test_training_beats_its_start(run_folder: Path) -> None:
    """Within a stage the validation loss falls: the loop does learn."""
    losses = [line["validation"] for line in Run(run_folder).history() if line["stage"] == "joint"]
    assert losses[-1] < losses[0]
