"""A model whose encoder sees fewer rows than its linear path: `encoder_taps`."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from support.robots import AGED, TINY, make_attitude_spec, make_braked_spec, make_spec

from rtsysid.config import parse_config
from rtsysid.errors import ConfigError, SpecError
from rtsysid.model.contents import weight_count, weight_shapes
from rtsysid.retrieval.descriptors import CodeDescriptor
from rtsysid.schedule import Corruption, Loss
from rtsysid.spec import ModelSpec, from_builtins, to_builtins
from rtsysid.train.autoencoders import corrupted, penalty, reconstruction
from rtsysid.train.freerun import free_run
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays
from rtsysid.train.windows import row_windows


def network_of(variant: str = "lstm-tdl-deep-aeu", **changes: Any) -> Network:
    torch.manual_seed(1)
    return Network(make_spec(variant, **{"linear_path": True, "encoder_taps": 2, **changes})).eval()


@pytest.mark.parametrize("variant", ["lstm-tdl", "lstm-tdl-deep-aeu"])
@torch.no_grad()
def test_encoder_and_cell_see_the_newest_rows_alone(variant: str) -> None:
    """An older row changes the prediction by the linear map of the change, and no state; a newer one changes both."""
    network = network_of(variant).double()
    window = torch.randn(1, 4, 5, dtype=torch.float64)
    state = network.initial_state(window)
    y, after = network.step(window, state)
    for row in range(4):
        moved = window.clone()
        moved[:, row, 0] += 1  # an input
        other, state_after = network.step(moved, state)
        difference = network.features(moved) - network.features(window)
        linear = difference @ network.linear_path.weight.t() * network.target_std
        assert torch.equal(state_after, after) == (row < 2)
        assert torch.allclose(other - y, linear, atol=1e-12) == (row < 2)
        assert linear.abs().max() > 1e-4


@torch.no_grad()
def test_all_rows_are_the_whole_window() -> None:
    """As many encoder taps as taps predict what the default predicts, to the last bit."""
    whole, same = network_of(encoder_taps=0), network_of(encoder_taps=4)
    same.load_state_dict(whole.state_dict())
    seen, state = row_windows(torch.randn(3, 16, 5), 4), torch.randn(3, whole.spec.state_size)
    assert torch.equal(free_run(whole, seen, state), free_run(same, seen, state))
    assert torch.equal(whole.sequence(seen, state)[0], same.sequence(seen, state)[0])


@pytest.mark.parametrize(
    "spec",
    [
        make_spec(encoder_taps=3, linear_path=True, head_sees_code=True),
        make_braked_spec("lstm-tdl", encoder_taps=1),
        make_attitude_spec(**AGED, state_init="network"),
        make_braked_spec(encoder_taps=2, cell="gru", variational=True),
    ],
    ids=["deep", "no encoder", "ages", "gru"],
)
def test_sizes_are_those_of_the_weights(spec: ModelSpec) -> None:
    """The stated shapes, parameters and multiply-accumulates are those of the network; extra features count once."""
    network = Network(spec)
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    assert shapes == weight_shapes(spec)
    assert weight_count(spec) == sum(weight.numel() for weight in network.parameters())
    of_step = {n: s for n, s in shapes.items() if not n.startswith(("decoder", "initialiser", "log_variance"))}
    two_biases = 4 * spec.hidden if spec.cell == "lstm" else 2 * spec.hidden  # of which one counts
    assert spec.parameters == sum(map(math.prod, of_step.values())) - two_biases
    whole = msgspec.structs.replace(spec, encoder_taps=0)
    first = shapes["encoder.1.weight"] if spec.encoder else shapes["cell.weight_ih_l0"]
    assert whole.macs - spec.macs == first[0] * (spec.taps - spec.encoder_rows) * spec.n_features
    assert first[1] == spec.encoder_rows * spec.n_features + spec.n_tail


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder_taps": 5}, "encoder_taps: 5; give 4 or less"),
        ({"encoder_taps": 10**9}, "encoder_taps: 1000000000; give 4 or less"),
        ({"encoder_taps": -1}, "encoder_taps: -1; give the rows"),
        ({"encoder_taps": 1, "encoder": (8, 6)}, "a code of 6 for a window of 5 values"),
    ],
)
def test_rows_that_the_window_does_not_have_are_one_line(change: dict[str, Any], words: str) -> None:
    """More rows than the window has, fewer than none, and a code that is wider than what the encoder sees."""
    with pytest.raises(SpecError, match=words) as caught:
        msgspec.structs.replace(make_spec(), **change)
    assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["lstm-tdl", "lstm-tdl-deep-aeu"])
def test_a_head_that_ignores_the_code_is_one_that_does_not_see_it(variant: str) -> None:
    """With `head_sees_code` the first columns of the head are those of the code; with zeros there it adds nothing."""
    torch.manual_seed(1)
    network, plain = (Network(make_spec(variant, head_sees_code=sees)).eval() for sees in (True, False))
    weights = {**network.state_dict(), "head.weight": network.head.weight[:, network.spec.code_size :]}
    plain.load_state_dict(weights)
    window, state = torch.randn(3, 4, 5), torch.randn(3, network.spec.state_size)
    assert not torch.allclose(network.step(window, state)[0], plain.step(window, state)[0])
    network.head.weight[:, : network.spec.code_size] = 0.0
    torch.testing.assert_close(network.step(window, state), plain.step(window, state))


def test_a_head_that_sees_the_code_is_left_out_at_its_default() -> None:
    """A configuration names it; a specification keeps it, and one without it is written as it was before."""
    config = parse_config(TINY.replace("taps = 5", "taps = 5\nhead_sees_code = true"))
    assert (config.model.fields["head_sees_code"], parse_config(TINY).model.fields["head_sees_code"]) == (True, False)
    spec = make_spec(head_sees_code=True)
    assert from_builtins(to_builtins(spec)) == spec
    assert "head_sees_code" not in to_builtins(make_spec())
    assert spec.fingerprint != make_spec().fingerprint


def test_the_field_is_read_and_left_out_at_its_default() -> None:
    """A configuration names it; a specification keeps it, and one without it is written as it was before."""
    config = parse_config(TINY.replace("taps = 5", "taps = 5\nencoder_taps = 2"))
    assert (config.model.fields["encoder_taps"], parse_config(TINY).model.fields["encoder_taps"]) == (2, 0)
    with pytest.raises(ConfigError, match="encoder_taps = -1"):
        parse_config(TINY.replace("taps = 5", "taps = 5\nencoder_taps = -1"))
    spec = make_spec(encoder_taps=2)
    assert from_builtins(to_builtins(spec)) == spec
    assert "encoder_taps" not in to_builtins(make_spec())
    assert spec.fingerprint != make_spec().fingerprint


@torch.no_grad()
def test_codes_are_of_what_the_encoder_sees() -> None:
    """Reconstruction, penalties and lost channels work on the features that the encoder sees, the tail among them."""
    torch.manual_seed(1)
    network = Network(make_braked_spec(encoder_taps=2)).eval()
    spec = network.spec
    seen = network.features(torch.randn(50, 4, 5))[:, spec.encoder_columns]
    assert seen.shape[1] == network.decode(network.encode(seen)).shape[1] == 2 * spec.n_features + spec.n_tail
    reached = (reconstruction(network, seen, Loss("reconstruction")), penalty(network, seen, Loss("contractive")))
    assert all(value.isfinite() and value > 0 for value in reached)
    lost = corrupted(torch.ones_like(seen), Corruption(channels=3), spec)
    assert torch.equal(lost[:, :5], lost[:, 5:10])
    assert lost[:, :5].min() == 0
    assert lost[:, 10:].min() == 1


@pytest.mark.parametrize("encoder_taps", [1, 2, 3])
@torch.no_grad()
def test_codes_describe_moments_shorter_than_the_window(encoder_taps: int) -> None:
    """A search by codes takes windows of what the encoder sees; their codes are those of whole windows."""
    network = Network(make_braked_spec(encoder_taps=encoder_taps)).eval()
    spec, values = network.spec, np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    span = max(encoder_taps, 2)
    found = CodeDescriptor(spec, span, state_arrays(network.state_dict())).vectors(values, np.arange(3, 30))
    features = network.features(row_windows(torch.from_numpy(values[None]), spec.taps)[0])
    wanted = network.encode(features[:, spec.encoder_columns]).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
