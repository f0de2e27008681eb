"""Test the autoencoder family: each member trains, exports, verifies and streams; penalties are exact."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.autoencoders import JOINT, MODEL, config_of
from support.robots import make_body_spec, make_spec, plant

from export.bundle import export
from export.to_c import c_sources
from export.to_onnx import all_graphs
from rtsysid.benchmarks import coverage
from rtsysid.benchmarks.coverage import HORIZON, STATED, sampled_coverages
from rtsysid.benchmarks.studies import Subject
from rtsysid.config import parse_config
from rtsysid.errors import SpecError
from rtsysid.live.session import Session
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
from rtsysid.recordings.trace import Trace
from rtsysid.schedule import FAMILY, Corruption, Loss, Stage, preset
from rtsysid.spec import Sample, from_builtins, to_builtins
from rtsysid.train.autoencoders import (
    activation_divergence,
    activations,
    contraction,
    corrupted,
    divergence,
    jacobian_norm,
    penalty,
    pulled_back,
    reconstruction,
)
from rtsysid.train.fit import begin
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays

NOISE = """
[[stage]]
name = "noise"
train = ["spread", "latent"]
loss = [{ kind = "likelihood" }, { kind = "score", horizon = 6 }]
epochs = 1
learning_rate = 1e-2
"""


def network_of(**changes: object) -> Network:
    torch.manual_seed(0)
    return Network(make_spec(**changes)).eval()  # type: ignore[arg-type]


def windows_of(network: Network, count: int = 8) -> torch.Tensor:
    return torch.randn(count, network.spec.window_size)


@pytest.fixture(scope="module")
def variational(tmp_path_factory: pytest.TempPathFactory, tiny_trace: Trace) -> Bundle:
    folder = tmp_path_factory.mktemp("variational")
    model = MODEL.replace("linear_path = true", "variational = true")  # a linear path would leave little to the code
    model = model.replace("variational = true", 'distribution = "variational"')
    config = parse_config(model + JOINT + NOISE)
    for _ in begin(config, tiny_trace, folder / "run").epochs():
        pass
    return export(folder / "run", folder / "bundle")[0]


@pytest.mark.parametrize("member", FAMILY)
def test_a_member_trains_exports_verifies_and_streams(member: str, tmp_path: Path, tiny_trace: Trace) -> None:
    """One epoch of each stage by configuration, a bundle that ONNX and NumPy reproduce, and a replay through it."""
    for _ in begin(config_of(member), tiny_trace, tmp_path / "run").epochs():
        pass
    bundle, rows = export(tmp_path / "run", tmp_path / "bundle", ("onnx",))
    assert {row.backend for row in rows} == {"onnx", "numpy"}
    assert all(row.passed for row in rows)
    unseen = plant(1, 80, seed=5).episodes[0]
    samples = (Sample(float(t), values) for t, values in zip(unseen.t, unseen.values, strict=True))
    predictions = list(Session(Predictor.load(bundle)).run(samples))
    assert len(predictions) == 80
    assert np.isfinite(predictions[-1].y).all()


@pytest.mark.parametrize("variant", ["lstm-tdl-aeu", "lstm-tdl-deep-aeu"])
def test_exact_and_probed_norms_of_the_jacobian_agree(variant: str) -> None:
    """Closed form, random probes and the Jacobian of autograd agree, for one layer and for a deep encoder."""
    network = network_of(variant=variant)
    x = windows_of(network)
    jacobians = torch.stack([torch.autograd.functional.jacobian(network.encode, row) for row in x])
    expected = jacobians.square().sum((1, 2))
    torch.testing.assert_close(jacobian_norm(network, x), expected)
    outputs = activations(network, x, 1, len(network.encoder))
    signs = torch.randint(2, (20_000, *outputs[-1].shape)) * 2.0 - 1
    probed = pulled_back(network, outputs, signs).square().sum(-1).mean()
    torch.testing.assert_close(probed, expected.mean(), rtol=0.02, atol=0.0)
    exact = variant == "lstm-tdl-aeu"
    found = contraction(network, x, probes=1 if exact else 20_000)
    torch.testing.assert_close(found, expected.mean(), rtol=1e-5 if exact else 0.02, atol=0.0)


def test_the_contractive_penalty_of_a_layer_is_its_own() -> None:
    """With `layer` 2 the penalty is the Jacobian of the second layer with respect to its own input."""
    network = network_of()
    x = windows_of(network)
    second = partial(network.encode_layer, k=2)
    jacobians = [torch.autograd.functional.jacobian(second, row) for row in network.encode(x, 1).detach()]
    found = penalty(network, x, Loss("contractive", layer=2))
    torch.testing.assert_close(found, torch.stack(jacobians).square().sum((1, 2)).mean())


@settings(max_examples=30, deadline=None)
@given(st.floats(0.02, 0.9), st.floats(0.02, 0.9))
def test_sparse_divergence_vanishes_at_its_target_alone(target: float, mean: float) -> None:
    """The KL penalty equals the divergence of two Bernoulli variables: zero at the target, positive elsewhere."""
    found = float(activation_divergence(torch.full((5, 3), mean), target))
    expected = target * math.log(target / mean) + (1 - target) * math.log((1 - target) / (1 - mean))
    assert found == pytest.approx(expected, abs=1e-5)
    assert found >= -1e-6


def test_divergence_equals_torch() -> None:
    """The closed form equals torch's divergence between normal distributions."""
    mean, log_variance = torch.randn(4, 3), torch.randn(4, 3)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0.0, 1.0))
    torch.testing.assert_close(divergence(mean, log_variance), expected.sum(-1).mean())


@settings(max_examples=30, deadline=None)
@given(channels=st.integers(0, 5), seed=st.integers(0, 1000))
def test_a_lost_channel_is_lost_on_every_tap(channels: int, seed: int) -> None:
    """At most `channels` channels are lost, each over the whole window; nothing else changes."""
    spec = make_spec()
    torch.manual_seed(seed)
    x = torch.randn(50, spec.window_size)
    shown = corrupted(x, Corruption(channels=channels), spec).reshape(50, spec.taps, -1)
    lost = (shown == 0).all(1)
    assert ((shown == 0) == lost[:, None]).all()
    assert lost.sum(1).max() <= channels
    kept = shown != 0
    assert torch.equal(shown[kept], x.reshape(50, spec.taps, -1)[kept])


def test_corruptions_have_the_configured_strength() -> None:
    """Noise has its standard deviation and a mask its share; the vertical of a body is not a channel."""
    spec = make_body_spec()
    torch.manual_seed(0)
    x = torch.randn(4000, spec.window_size)
    assert (corrupted(x, Corruption(noise=0.3), spec) - x).std().item() == pytest.approx(0.3, rel=0.02)
    assert (corrupted(x, Corruption(mask=0.2), spec) == 0).float().mean().item() == pytest.approx(0.2, rel=0.05)
    everything = corrupted(x, Corruption(channels=spec.n_features), spec)
    assert torch.equal(everything[:, -3:], x[:, -3:])
    assert torch.equal(corrupted(x, Corruption(), spec), x)


def test_the_clean_window_is_reconstructed() -> None:
    """A denoising loss compares the decoded code of the corrupted window with the clean window."""
    network, loss = network_of(), Loss("reconstruction", corruption=Corruption(noise=0.5))
    x = windows_of(network)
    torch.manual_seed(1)
    found = reconstruction(network, x, loss)
    torch.manual_seed(1)
    shown = x + 0.5 * torch.randn_like(x)
    torch.testing.assert_close(found, (network.decode(network.encode(shown)) - x).square().mean())


def test_annealing_rises_to_the_weight() -> None:
    """An annealed weight grows with the epochs and reaches its value at its share of them; others are constant."""
    losses = (Loss("divergence", weight=2.0, anneal=0.5), Loss("reconstruction", weight=3.0))
    stage = Stage("code", ("encoder",), losses, epochs=4)
    assert [stage.for_epoch(epoch).loss[0].weight for epoch in range(4)] == [1.0, 2.0, 2.0, 2.0]
    assert [stage.for_epoch(epoch).loss[1].weight for epoch in range(4)] == [3.0] * 4


def test_penalties_have_their_effect(tmp_path: Path, tiny_trace: Trace) -> None:
    """On the same data, sparse codes are less active and contractive Jacobians smaller than undercomplete ones."""
    found = {}
    for member in ("undercomplete", "sparse", "contractive"):
        stages = tuple(
            msgspec.structs.replace(s, epochs=15, loss=tuple(_heavier(loss) for loss in s.loss))
            for s in preset(member)
            if not s.horizon
        )
        trainer = begin(msgspec.structs.replace(config_of(member), stage=stages), tiny_trace, tmp_path / member)
        for _ in trainer.epochs():
            pass
        rows = trainer.validation.rows(trainer.validation.starts(5, 5), 5)
        x = trainer.network.features(rows).detach()
        activity = trainer.network.encode(x).abs().mean().item()
        found[member] = activity, jacobian_norm(trainer.network, x).mean().item()
    assert found["sparse"][0] < 0.7 * found["undercomplete"][0]
    assert found["contractive"][1] < 0.7 * found["undercomplete"][1]


def _heavier(loss: Loss) -> Loss:
    return msgspec.structs.replace(loss, weight=1.0) if loss.kind in ("sparse_l1", "contractive") else loss


def test_only_training_samples_the_code() -> None:
    """In evaluation a variational model predicts from its mean; in training two passes differ."""
    network = network_of(variational=True)
    seen, state = torch.randn(2, 6, 4, 5), torch.zeros(2, network.spec.state_size)
    assert torch.equal(network.sequence(seen, state)[0], network.sequence(seen, state)[0])
    network.train()
    assert not torch.equal(network.sequence(seen, state)[0], network.sequence(seen, state)[0])


@pytest.mark.parametrize("backend", ["onnx", "numpy"])
def test_sampled_futures(backend: str, variational: Bundle) -> None:
    """Futures spread around the forecast, are the same for a seed, and leave the state as it was, on any backend."""
    predictor = Predictor.load(variational, backend)  # type: ignore[arg-type]
    for row in plant(1, 60, seed=5).episodes[0].values:
        predictor.step(row)
    plan = np.zeros((20, 1), np.float32)
    forecast = predictor.forecast(plan)
    futures = predictor.sample_futures(plan, 400, seed=1)
    assert futures.shape == (400, 20, 2)
    assert np.array_equal(futures, predictor.sample_futures(plan, 400, seed=1))
    assert not np.array_equal(futures, predictor.sample_futures(plan, 400, seed=2))
    spread = futures.std(0)
    assert (spread > 0).all()
    assert (np.abs(futures.mean(0) - forecast) < spread).all()
    assert np.array_equal(forecast, predictor.forecast(plan))


def test_what_a_model_samples_lies_inside_its_own_futures(variational: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings that are futures which the model sampled lie inside its quantiles about as often as is stated."""
    predictor, episodes = Predictor.load(variational, "numpy"), []
    for k, episode in enumerate(plant(120, predictor.settling_samples + HORIZON, seed=5).episodes):
        predictor.reset()
        for row in episode.values[: predictor.settling_samples]:
            predictor.step(row)
        plan = episode.values[predictor.settling_samples - 1 : -1, :1]
        episode.values[predictor.settling_samples :, 1:] = predictor.sample_futures(plan, 1, seed=1000 + k)[0]
        episodes.append(episode)
    monkeypatch.setattr(coverage, "RECORDINGS", len(episodes))  # so many, that each counts for little
    rows = sampled_coverages(Subject("own", variational, episodes, ()))
    found = {(row.group, row.stated): row.measured[-1] for row in rows}
    assert {stated for _, stated in found} == set(STATED)
    assert all(abs(share - stated) < 0.12 for (_, stated), share in found.items())


def test_futures_of_a_deterministic_model_are_refused(bundle_folder: Path, variational: Bundle) -> None:
    """A model without a distribution, several plans, and no futures at all are refused in one line."""
    with pytest.raises(SpecError, match="predicts points"):
        Predictor.load(bundle_folder).sample_futures(np.zeros((5, 1)))
    predictor = Predictor.load(variational)
    for row in plant(1, 60, seed=5).episodes[0].values:
        predictor.step(row)
    with pytest.raises(SpecError, match="2 plans"):
        predictor.sample_futures(np.zeros((2, 5, 1)))
    with pytest.raises(SpecError, match="count: 0"):
        predictor.sample_futures(np.zeros((5, 1)), 0)


def test_log_variance_is_not_deployed() -> None:
    """log_variance is among the weights of a model, and in neither graph nor C."""
    network = network_of(variational=True)
    weights = state_arrays(network.state_dict())
    assert "log_variance.weight" in weights
    for graph in all_graphs(network.spec, weights).values():
        assert b"log_variance" not in graph.SerializeToString()
    assert "log_variance" not in c_sources(network.spec, weights)["model.c"]


def test_a_variational_model_has_its_own_fingerprint() -> None:
    """A variational model has another fingerprint, and is read back."""
    assert make_spec(variational=True).fingerprint != make_spec().fingerprint
    assert from_builtins(to_builtins(make_spec(variational=True))) == make_spec(variational=True)
