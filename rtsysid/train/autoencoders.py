"""Compute the losses of the autoencoder family: corruptions of the window and penalties on the code.

For a window x, its code h = f(x) and the decoder g, each member minimises ``L(x, g(f(x))) + Omega(h)``. L is the mean
squared error over the values of the window.

* denoising: ``L(x, g(f(x~)))`` with a corrupted window x~. Ref: P. Vincent et al., ICML 2008.
* sparse: Omega is the mean of ``|h|``, or the Kullback-Leibler divergence between Bernoulli variables of mean
  ``target`` and of each unit's mean ``|h|``. A tanh unit is inactive at 0. Ref: A. Ng, CS294A lecture notes, 2011.
* contractive: Omega is ``|df/dx|_F^2``. Ref: S. Rifai et al., ICML 2011.
* variational: h is drawn from N(m(x), s(x)^2), and Omega is its divergence from N(0, 1). The bundle uses m, which lies
  in -1 .. 1 like every code. Ref: D. Kingma, M. Welling, ICLR 2014.

Shapes: E features that the encoder sees, Z units of a code; `...` are any leading dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from rtsysid.schedule import Corruption, Loss
from rtsysid.spec import ModelSpec
from rtsysid.train.network import Network

TINY = 1e-6  # keeps the divergence finite where a unit is always or never active


def reconstruction(network: Network, features: Tensor, loss: Loss) -> Tensor:
    """Compute the mean squared error between windows [..., E] and their decoded codes.

    With ``layer`` k: between the input of encoder layer k and the output of decoder layer k.
    """
    below = max(loss.layer - 1, 0)
    inputs = corrupted(features, loss.corruption, network.spec)
    if loss.layer:
        code = network.encode_layer(network.encode(inputs, below), loss.layer)
        return mse_loss(network.decode_layer(code, loss.layer), network.encode(features, below))
    return mse_loss(network.decode(network.sampled(inputs)), features)


def penalty(network: Network, features: Tensor, loss: Loss) -> Tensor:
    """Compute Omega for the codes of windows [..., E]; with ``layer`` k, for the output of encoder layer k."""
    if loss.kind == "divergence":
        return divergence(*network.posterior(features)) / network.spec.encoder_window
    if loss.kind == "contractive":
        return contraction(network, features, loss.layer, loss.probes)
    activity = network.encode(features, loss.layer or None).abs()
    return activity.mean() if loss.kind == "sparse_l1" else activation_divergence(activity, loss.target)


def corrupted(features: Tensor, corruption: Corruption, spec: ModelSpec) -> Tensor:
    """Add noise to windows [..., E], and replace single values and whole channels by their mean 0: [..., E]."""
    inputs = features
    if corruption.noise:
        inputs = inputs + corruption.noise * torch.randn_like(inputs)
    if corruption.mask:
        inputs = inputs * (torch.rand_like(inputs) >= corruption.mask)
    if corruption.channels:
        inputs = inputs * _channels_kept(features, corruption.channels, spec)
    return inputs


def _channels_kept(features: Tensor, most: int, spec: ModelSpec) -> Tensor:
    """A mask [..., E]: 0 on all taps of 0 .. `most` random channels of each window, 1 elsewhere."""
    leading = features.shape[:-1]
    lost = torch.randint(most + 1, (*leading, 1), device=features.device)
    rank = torch.rand(*leading, spec.n_features, device=features.device).argsort(-1)
    kept = (rank >= lost).to(features.dtype)
    extra = features.new_ones(*leading, spec.n_tail)
    return torch.cat([*[kept] * spec.encoder_rows, extra], -1)


def activation_divergence(activity: Tensor, target: float) -> Tensor:
    """Compute the divergence of each unit's mean activity from `target`, averaged over the units, in nats.

    `activity` [..., Z] lies in 0 .. 1. Ref: A. Ng, CS294A lecture notes, 2011.
    """
    mean = activity.flatten(0, -2).mean(0).clamp(TINY, 1 - TINY)
    return (target * torch.log(target / mean) + (1 - target) * torch.log((1 - target) / (1 - mean))).mean()


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Compute the divergence of N(mean, variance) [..., Z] from N(0, 1), in nats: sum over Z, mean over the windows.

    Ref: D. Kingma, M. Welling, ICLR 2014.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean()


def contraction(network: Network, features: Tensor, layer: int = 0, probes: int = 1) -> Tensor:
    """Compute the squared Frobenius norm of the encoder's Jacobian, averaged over windows [..., E].

    With `layer` k: of encoder layer k with respect to its own input. For one layer the value is exact,
    ``sum_j (1 - h_j^2)^2 |w_j|^2``. For several layers it is estimated: each of the `probes` random sign vectors v
    gives an unbiased ``|J^T v|^2``. Ref: M. Hutchinson, 1989.
    """
    first, last = (layer, layer) if layer else (1, len(network.encoder))
    outputs = activations(network, network.encode(features, first - 1), first, last)
    if first == last:
        squares = weight_of(network, first).square().sum(1)
        return ((1 - outputs[0].square()).square() * squares).sum(-1).mean()
    signs = torch.randint(2, (probes, *outputs[-1].shape), device=features.device).to(features.dtype) * 2 - 1
    return pulled_back(network, outputs, signs).square().sum(-1).mean()


def jacobian_norm(network: Network, features: Tensor) -> Tensor:
    """Compute the exact squared Frobenius norm of the encoder's Jacobian for each window: [n, E] -> [n]."""
    outputs = activations(network, features, 1, len(network.encoder))
    units = torch.eye(network.spec.code_size, dtype=features.dtype)[:, None].expand(-1, len(features), -1)
    return pulled_back(network, outputs, units).square().sum((0, -1))


def activations(network: Network, below: Tensor, first: int, last: int) -> list[Tensor]:
    """Run encoder layers `first` to `last` on the input `below` [..., E] of the first; return the output of each."""
    outputs = []
    for k in range(first, last + 1):
        below = network.encode_layer(below, k)
        outputs.append(below)
    return outputs


def pulled_back(network: Network, outputs: list[Tensor], vectors: Tensor) -> Tensor:
    """Compute ``J^T v`` for vectors [P, ..., Z] through the layers with these outputs: [P, ..., E].

    Written out with tanh' = 1 - h^2, because training differentiates the penalty once more.
    """
    last = len(network.encoder)
    for below, output in enumerate(reversed(outputs)):
        vectors = (vectors * (1 - output.square())) @ weight_of(network, last - below)
    return vectors


def weight_of(network: Network, k: int) -> Tensor:
    """Return the weight [outputs, inputs] of encoder layer `k`."""
    return network.encoder[str(k)].get_parameter("weight")
