"""Training throughput, one thread, in turns with a peer.

Teacher forced: LSTM-64 on sequences of 200, batch 64, compared with a plain PyTorch loop. Free run: prediction and
gradient of models as the benchmarks train them, compared with the same model run tick by tick under autograd.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from rtsysid import schedule
from rtsysid.cli.console import table
from rtsysid.config import Training
from rtsysid.schedule import Loss, Stage
from rtsysid.spec import Channel, ModelSpec, unit_scaling
from rtsysid.train.augmentation import Augmentation
from rtsysid.train.freerun import free_run
from rtsysid.train.loop import Trainer
from rtsysid.train.network import Network
from rtsysid.train.run import Run
from rtsysid.train.windows import Sequences, row_windows

BATCH, LENGTH, ROWS, ROUNDS = 64, 200, 192_000, 7
FREE = {  # batch, ticks, taps, encoder, hidden
    "small": (16, 300, 10, (16, 8), 16),
    "middle": (32, 200, 20, (32, 16), 32),
    "large": (64, 50, 16, (64, 16), 64),
}


def main() -> None:
    torch.set_num_threads(1)
    values = np.random.default_rng(0).standard_normal((ROWS, 6)).astype(np.float32)
    ours, plain = [], []
    for _ in range(ROUNDS):  # in turns, so that a drifting machine slows both alike
        ours.append(_ours(values))
        plain.append(_plain(values))
    ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
    rows = [["ours", f"{statistics.median(ours):,.0f}"], ["plain PyTorch loop", f"{statistics.median(plain):,.0f}"]]
    print(table(["training", "timesteps/s"], rows))
    print(f"ours / plain, median of {ROUNDS} pairs: {ratio:.2f}")
    print(table(["free run", "ours, ticks/s", "tick by tick, ticks/s", "ratio"], [_free(name) for name in FREE]))


def _free(name: str) -> list[str]:
    batch, ticks, taps, encoder, hidden = FREE[name]
    channels = (Channel("u", "", "input"), Channel("y"))
    spec = ModelSpec(channels=channels, rate_hz=100.0, taps=taps, encoder=encoder, hidden=hidden, linear_path=True)
    network = Network(msgspec.structs.replace(spec, scaling=unit_scaling(spec)))
    torch.nn.init.zeros_(network.linear_path.weight)
    rows = 0.1 * torch.randn(batch, ticks + taps - 1, 2)
    seen = row_windows(rows, taps)
    ours, eager = [], []
    for _ in range(ROUNDS):
        ours.append(_timed(free_run, network, seen))
        eager.append(_timed(Network.rollout, network, seen))
    ratio = statistics.median(b / a for a, b in zip(ours, eager, strict=True))
    rates = [f"{batch * ticks / statistics.median(seconds):,.0f}" for seconds in (ours, eager)]
    return [f"{name}: {batch} x {ticks}, LSTM-{hidden}", *rates, f"{ratio:.2f}"]


def _timed(run: Callable[..., Tensor], network: Network, seen: Tensor) -> float:
    begun = time.perf_counter()
    run(network, seen, network.initial_state(seen[:, 0])).square().mean().backward()
    return time.perf_counter() - begun


def _spec() -> ModelSpec:
    channels = (*(Channel(f"u{i}", "", "input") for i in range(4)), Channel("y0"), Channel("y1"))
    blank = ModelSpec(channels=channels, rate_hz=100.0, taps=1, encoder=(), hidden=64, state_init="zero")
    return msgspec.structs.replace(blank, scaling=unit_scaling(blank, 4.0))


def _ours(values: np.ndarray) -> float:
    """One epoch of the training loop itself, teacher-forced, over as many timesteps as the plain loop sees."""
    schedule.ONE_STEP_LENGTH = LENGTH
    stage = Stage("teacher forced", ("cell", "head"), (Loss("one_step"),), epochs=1)
    settings = Training(batch=BATCH, stride=LENGTH)
    data = (Sequences([values]), Sequences([values[: LENGTH + 1]]))
    with tempfile.TemporaryDirectory() as folder:
        spec = _spec()
        trainer = Trainer(
            Network(spec), (stage,), data, torch.ones(1, 2),
            augmentation=Augmentation.of(settings, spec), settings=settings, run=Run(folder),
        )  # fmt: skip
        begun = time.perf_counter()
        for _ in trainer.epochs():
            pass
        return ROWS / (time.perf_counter() - begun)


def _plain(values: np.ndarray) -> float:
    """The plain way by hand: nn.LSTM, a linear layer, Adam, mean squared error."""
    rows = torch.from_numpy(values)
    lstm, head = nn.LSTM(6, 64, batch_first=True), nn.Linear(64, 2)
    optimiser = torch.optim.AdamW([*lstm.parameters(), *head.parameters()])
    starts = torch.arange(0, len(rows) - LENGTH, LENGTH)[torch.randperm((len(rows) - 1) // LENGTH)]
    begun = time.perf_counter()
    for part in torch.split(starts, BATCH):
        batch = torch.stack([rows[s : s + LENGTH + 1] for s in part.tolist()])
        optimiser.zero_grad(set_to_none=True)
        predicted = head(lstm(batch[:, :-1])[0]) + batch[:, :-1, 4:]
        nn.functional.mse_loss(predicted, batch[:, 1:, 4:]).backward()
        optimiser.step()
    return ROWS / (time.perf_counter() - begun)
