"""What makes the members of the autoencoder family differ: corruptions of the window and penalties on the code.

With a window x, its code h = f(x) and the decoder g, a member minimises ``L(x, g(f(x))) + Omega(h)``, where L is the
mean squared error over the values of the window:

* denoising: ``L(x, g(f(x~)))``, x~ a corrupted x. Ref: P. Vincent et al., ICML 2008.
* sparse: Omega is the mean of ``|h|``, or the divergence between Bernoulli variables of mean ``target`` and of each
  unit's mean ``|h|``. A unit of a tanh layer is at rest at 0. Ref: A. Ng, CS294A lecture notes, 2011.
* contractive: Omega is ``|df/dx|_F^2``. Ref: S. Rifai et al., ICML 2011.
* variational: h is drawn from N(m(x), s(x)^2), and Omega is its divergence from N(0, 1). Deployed is m, in -1 .. 1 as
  every code. Ref: D. Kingma, M. Welling, ICLR 2014.

Shapes: F features of a window, Z units of a code; leading dimensions are free.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from rtsysid.schedule import Corruption, Loss
from rtsysid.spec import ModelSpec
from rtsysid.train.network import Network

TINY = 1e-6  # keeps the divergence of a unit that is always or never active finite


def reconstruction(network: Network, features: Tensor, loss: Loss) -> Tensor:
    """Error of the windows [..., F] against their decoded codes; with ``layer`` k, of what that layer sees."""
    below = max(loss.layer - 1, 0)
    shown = corrupted(features, loss.corruption, network.spec)
    if loss.layer:
        code = network.encode_layer(network.encode(shown, below), loss.layer)
        return mse_loss(network.decode_layer(code, loss.layer), network.encode(features, below))
    return mse_loss(network.decode(network.sampled(shown)), features)


def penalty(network: Network, features: Tensor, loss: Loss) -> Tensor:
    """Omega of the codes of windows [..., F], or of what encoder layer ``layer`` makes of them."""
    if loss.kind == "divergence":
        return divergence(*network.posterior(features)) / network.spec.window_size
    if loss.kind == "contractive":
        return contraction(network, features, loss.layer, loss.probes)
    activity = network.encode(features, loss.layer or None).abs()
    return activity.mean() if loss.kind == "sparse_l1" else activation_divergence(activity, loss.target)


def corrupted(features: Tensor, corruption: Corruption, spec: ModelSpec) -> Tensor:
    """Windows [..., F] with noise, values and whole channels lost as the corruption says; a lost value is its mean."""
    shown = features
    if corruption.noise:
        shown = shown + corruption.noise * torch.randn_like(shown)
    if corruption.mask:
        shown = shown * (torch.rand_like(shown) >= corruption.mask)
    if corruption.channels:
        shown = shown * _channels_kept(features, corruption.channels, spec)
    return shown


def _channels_kept(features: Tensor, most: int, spec: ModelSpec) -> Tensor:
    """0 on every tap of 0 .. `most` channels drawn for each window, and 1 elsewhere: [..., F]."""
    leading = features.shape[:-1]
    lost = torch.randint(most + 1, (*leading, 1), device=features.device)
    rank = torch.rand(*leading, spec.n_features, device=features.device).argsort(-1)
    kept = (rank >= lost).to(features.dtype)
    tail = features.new_ones(*leading, spec.window_size - spec.taps * spec.n_features)
    return torch.cat([*[kept] * spec.taps, tail], -1)


def activation_divergence(activity: Tensor, target: float) -> Tensor:
    """Mean over the units of the divergence of their mean activity from `target`, in nats: [..., Z] in 0 .. 1."""
    mean = activity.flatten(0, -2).mean(0).clamp(TINY, 1 - TINY)
    return (target * torch.log(target / mean) + (1 - target) * torch.log((1 - target) / (1 - mean))).mean()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of N(mean, variance) [..., Z] from N(0, 1): nats, summed over the code and averaged over the windows."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean()


def contraction(network: Network, features: Tensor, layer: int = 0, probes: int = 1) -> Tensor:
    """Squared Frobenius norm of the encoder's Jacobian, averaged over windows [..., F].

    With ``layer`` k, of that layer with respect to its own input. One layer is exact, ``sum_j (1 - h_j^2)^2 |w_j|^2``.
    For more, each probe v of signs gives an unbiased ``|J^T v|^2``. Ref: M. Hutchinson, 1989.
    """
    first, last = (layer, layer) if layer else (1, len(network.encoder))
    outputs = activations(network, network.encode(features, first - 1), first, last)
    if first == last:
        squares = weight_of(network, first).square().sum(1)
        return ((1 - outputs[0].square()).square() * squares).sum(-1).mean()
    signs = torch.randint(2, (probes, *outputs[-1].shape), device=features.device).to(features.dtype) * 2 - 1
    return pulled_back(network, outputs, signs).square().sum(-1).mean()


def jacobian_norm(network: Network, features: Tensor) -> Tensor:
    """Squared Frobenius norm of the whole encoder's Jacobian for each window, exact: [n, F] -> [n]."""
    outputs = activations(network, features, 1, len(network.encoder))
    units = torch.eye(network.spec.code_size, dtype=features.dtype)[:, None].expand(-1, len(features), -1)
    return pulled_back(network, outputs, units).square().sum((0, -1))


def activations(network: Network, below: Tensor, first: int, last: int) -> list[Tensor]:
    """Outputs of the encoder layers `first` to `last`, given what the first of them sees."""
    outputs = []
    for k in range(first, last + 1):
        below = network.encode_layer(below, k)
        outputs.append(below)
    return outputs


def pulled_back(network: Network, outputs: list[Tensor], vectors: Tensor) -> Tensor:
    """``J^T v`` for vectors [P, ..., Z] through the layers that ended with these outputs: [P, ..., F].

    Written out, since the penalty is differentiated once more in training: tanh' is 1 - h^2.
    """
    last = len(network.encoder)
    for below, output in enumerate(reversed(outputs)):
        vectors = (vectors * (1 - output.square())) @ weight_of(network, last - below)
    return vectors


def weight_of(network: Network, k: int) -> Tensor:
    """Weight of encoder layer `k`, [outputs, inputs]."""
    return network.encoder[str(k)].get_parameter("weight")
