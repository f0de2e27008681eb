"""Test staged training: frozen groups stay the same, and killed runs continue."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from rtsysid.config import Config
from rtsysid.errors import ConfigError
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import Loss, Stage
from rtsysid.train.fit import begin, prepare_recordings
from rtsysid.train.run import Run
from rtsysid.train.stage_optimiser import StageOptimiser
from rtsysid.train.windows import Sequences


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


OPTIONS: dict[str, dict[str, object]] = {
    "growing horizon": {"first_horizon": 2},
    "lbfgs": {"optimiser": "lbfgs", "iterations": 3, "input_noise": 0.01, "weight_decay": 1e-3},
}


def with_options(config: Config, options: dict[str, object]) -> Config:
    """The tiny configuration with options on its last stage."""
    first, last = config.stage
    return msgspec.structs.replace(config, stage=(first, msgspec.structs.replace(last, **options)))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_goes_on_after_a_kill(
    options: dict[str, object], tmp_path: Path, tiny_config: Config, tiny_trace: Trace
) -> None:
    """With each option of a stage a run that was stopped within it ends in the bits of an unbroken one."""
    config, folders = with_options(tiny_config, options), [tmp_path / "unbroken", tmp_path / "resumed"]
    for folder, stop in zip(folders, (6, 4), strict=True):
        epochs = begin(config, tiny_trace, folder).epochs()
        for _ in range(stop):
            next(epochs)
        epochs.close()
    for folder in folders:
        list(begin(config, tiny_trace, folder).epochs())
    unbroken, resumed = (weights_and_losses(Run(folder)) for folder in folders)
    assert resumed[1] == unbroken[1]
    assert all(torch.equal(resumed[0][name], tensor) for name, tensor in unbroken[0].items())


def test_lbfgs_never_raises_the_loss(
    tmp_path: Path, tiny_config: Config, tiny_trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each epoch of L-BFGS ends at or below the loss that it began with, and the stage ends clearly below."""
    step, seen = torch.optim.LBFGS.step, []

    def measured(self: torch.optim.LBFGS, closure: Any) -> torch.Tensor:
        first = step(self, closure)
        seen.append((float(first), closure()))  # on the same sequences in the same order: their sum rounds alike
        return first

    monkeypatch.setattr(torch.optim.LBFGS, "step", measured)
    first, last = tiny_config.stage
    lbfgs = Stage("finish", last.train, (Loss("one_step"),), optimiser="lbfgs", iterations=5, epochs=3)
    train = msgspec.structs.replace(tiny_config.train, stride=1, batch=500)  # the same sequences in every epoch
    list(
        begin(
            msgspec.structs.replace(tiny_config, stage=(first, last, lbfgs), train=train), tiny_trace, tmp_path / "run"
        ).epochs()
    )
    assert len(seen) == 3
    assert all(end <= begun for begun, end in seen)
    assert seen[-1][1] < 0.999 * seen[0][0]


def test_lbfgs_turns_back_where_a_run_diverges(
    tmp_path: Path, tiny_config: Config, tiny_trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step into weights with an infinite loss is shortened, and training continues."""
    lbfgs = Stage("finish", ("cell", "head"), (Loss("one_step"),), optimiser="lbfgs", iterations=5, epochs=1)
    original, beyond = StageOptimiser._loss, []

    def walled(self: StageOptimiser, *arguments: Any) -> torch.Tensor:
        far = bool(self.network.head.weight.abs().max() > 0.01)  # the head begins at zero
        beyond.append(far)
        return original(self, *arguments) * (math.inf if far else 1.0)

    monkeypatch.setattr(StageOptimiser, "_loss", walled)
    (epoch,) = begin(msgspec.structs.replace(tiny_config, stage=(lbfgs,)), tiny_trace, tmp_path / "run").epochs()
    assert any(beyond)
    assert math.isfinite(epoch.train)
    assert 0 < Run(tmp_path / "run").weights()["head.weight"].abs().max() <= 0.01


def test_the_horizon_grows_over_the_first_half() -> None:
    """Rollouts start with the first horizon and have full length from the middle of the stage on."""
    losses = (Loss("rollout", horizon=50), Loss("rollout", horizon=8), Loss("one_step", horizon=40))
    stage = Stage("grown", ("cell",), losses, epochs=10, first_horizon=10)
    seen = [[loss.horizon for loss in stage.for_epoch(epoch).loss] for epoch in range(10)]
    assert [each[0] for each in seen] == [10, 18, 26, 34, 42, 50, 50, 50, 50, 50]
    assert all(each[1] == 8 for each in seen)
    assert stage.for_epoch(0).horizon == 10


def test_frozen_means_bit_identical(tmp_path: Path, tiny_config: Config, tiny_trace: Trace) -> None:
    """The stage that trains the LSTM leaves every bit of encoder, decoder and linear path alone."""
    trainer = begin(tiny_config, tiny_trace, tmp_path / "run")
    before = {}
    for epoch in trainer.epochs():
        if epoch.stage == "joint":
            before = {name: tensor.clone() for name, tensor in trainer.best.items()}
    after = trainer.network.state_dict()
    changed = {name.split(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"cell", "head"}


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


def test_train_on_validation_adds_the_validation_recordings(tiny_config: Config, tiny_trace: Trace) -> None:
    """With `train_on_validation` the validation recordings also train, and still validate."""
    again = msgspec.structs.replace(
        tiny_config, data=msgspec.structs.replace(tiny_config.data, train_on_validation=True)
    )
    chosen, whole = prepare_recordings(tiny_config, tiny_trace), prepare_recordings(again, tiny_trace)
    assert [len(rows) for rows in whole.train] == [len(rows) for rows in (*chosen.train, *chosen.validation)]
    assert all(map(np.array_equal, whole.validation, chosen.validation))


@pytest.mark.parametrize("offset", [0, 3, 39])
def test_sequences_stay_inside_their_recordings(offset: int) -> None:
    """For every offset, no sequence leaves its recording; a recording shorter than the offset has none."""
    sequences = Sequences([np.zeros((100, 1), np.float32), np.zeros((22, 1), np.float32)])
    starts = sequences.starts(20, 40, offset).tolist()
    assert starts == [*range(offset, 81, 40), *[100 + offset] * (offset <= 2)]


def test_forget_ticks_sets_the_memory_of_an_untrained_lstm(
    tmp_path: Path, tiny_config: Config, tiny_trace: Trace
) -> None:
    """With forget_ticks = 50 cells keep between 1/2 and 49/50 per tick; with 0 torch initialises them."""
    long = msgspec.structs.replace(tiny_config, train=msgspec.structs.replace(tiny_config.train, forget_ticks=50))
    lstm = begin(long, tiny_trace, tmp_path / "long").network.cell
    taken, kept = torch.sigmoid(lstm.bias_ih_l0 + lstm.bias_hh_l0).detach().chunk(4)[:2]
    torch.testing.assert_close(taken + kept, torch.ones_like(kept))
    assert 0.5 <= kept.min() < kept.max() <= 49 / 50
    assert kept.max() > 0.9
    drawn = begin(tiny_config, tiny_trace, tmp_path / "drawn").network.cell
    assert not torch.equal(drawn.bias_ih_l0, lstm.bias_ih_l0)
    assert torch.equal(drawn.weight_ih_l0, lstm.weight_ih_l0)
    gru = msgspec.structs.replace(tiny_config.model, cell="gru")
    with pytest.raises(ConfigError, match=r"train\.forget_ticks: 50, but a gru has no forget gate"):
        msgspec.structs.replace(long, model=gru)


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
