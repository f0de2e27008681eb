"""The noise of sampled futures as ONNX nodes; `rtsysid.model.backends.noise` says what it computes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.onnx_network import OnnxNetwork
from export.onnx_tracer import TracedArray, Tracer
from rtsysid.model.backends.cells import Weights
from rtsysid.model.backends.noise import LEAST, MOST, cumulative_shares, persistence_of
from rtsysid.model.contents import SPREAD_AGES
from rtsysid.spec import ModelSpec

FINER = 1e12  # a step of uniform numbers is much larger than 1 over this


def sampled_tick(
    spec: ModelSpec, weights: Weights, tracer: Tracer, inputs: Mapping[str, TracedArray]
) -> dict[str, TracedArray]:
    """Add one tick of sampled futures, and return its outputs: y_next [B, ny], state_next [B, S], slow_next [B, R].

    Inputs by name: window [B, L, C], state [B, S], draws [B, draws], ahead [B], and, where the model has them, age [B],
    slow [B, R] and uniform [B].
    """
    network, noise = OnnxNetwork(spec, weights, tracer), OnnxNoise(spec, weights, tracer)
    window, state, draws = inputs["window"], inputs["state"], inputs["draws"]
    features = network.features(window)
    code = network.encode(network.encoder_input(features))
    seen = tracer.concatenate((code, state[:, : spec.hidden]), -1)
    code = noise.moved_code(code, seen, draws)
    after = network.tick(code, state)
    slow = noise.next_slow(inputs["slow"], draws) if spec.noise.factors else None
    white = noise.numbers(draws, slow)
    member = noise.member(inputs["uniform"]) if spec.noise.members > 1 else None
    added = noise.added(seen, after[:, : spec.hidden], inputs["ahead"], member, white)
    y = network.predict(window[:, -1], features, code, after, inputs.get("age"), added)
    return {"y_next": y, "state_next": after, **({} if slow is None else {"slow_next": slow})}


class OnnxNoise:
    """Add the parts of the noise to the nodes of a tracer."""

    def __init__(self, spec: ModelSpec, weights: Weights, tracer: Tracer) -> None:
        self._spec, self._weights, self._tracer = spec, weights, tracer

    def moved_code(self, code: TracedArray, seen: TracedArray, draws: TracedArray) -> TracedArray:
        """Add latent values to the code: [B, Z], [B, Z + H], [B, draws] -> [B, Z]."""
        if not self._spec.noise.latent:
            return code
        xp, into = self._tracer, np.ascontiguousarray(self._weights["latent.into.weight"].T)
        scale = xp.exp(xp.clip(self._limited("latent", self._dense("latent.scale", seen)), LEAST, MOST))
        return code + (scale * draws[:, : self._spec.noise.latent]) @ xp.constant(into, "latent.into.turned")

    def next_slow(self, slow: TracedArray, draws: TracedArray) -> TracedArray:
        """Advance the slow values: [B, R], [B, draws] -> [B, R]."""
        kept, fresh = persistence_of(np.asarray(self._weights["spread.persistence"]))
        first = self._spec.noise.latent + self._spec.n_targets
        return slow * kept + draws[:, first : self._spec.n_draws] * fresh

    def numbers(self, draws: TracedArray, slow: TracedArray | None) -> TracedArray:
        """Take the white numbers of a tick, and add what the slow values [B, R] add to them: [B, draws] -> [B, T]."""
        spec = self._spec
        white = draws[:, spec.noise.latent : spec.noise.latent + spec.n_targets]
        if slow is None:
            return white
        factors = np.ascontiguousarray(self._weights["spread.factors"].T)
        return white + slow @ self._tracer.constant(factors, "spread.factors.turned")

    def member(self, uniform: TracedArray) -> TracedArray:
        """Choose a member by its share, as a 1 among zeros: numbers in 0 .. 1 [B] -> [B, K]."""
        xp, until = self._tracer, cumulative_shares(np.asarray(self._weights["members.share"]))
        passed = xp.clip(xp.floor((uniform[:, None] - until) * FINER) + 1.0, 0.0, 1.0)
        ones = xp.clip(uniform[:, None] + 2.0, 1.0, 1.0)
        return xp.concatenate((ones, passed), -1) - xp.concatenate((passed, ones * 0.0), -1)

    def added(
        self, seen: TracedArray, hidden: TracedArray, ahead: TracedArray, member: TracedArray | None, white: TracedArray
    ) -> TracedArray:
        """Add the noise of the targets, and the offset of the member: -> [B, T]."""
        xp, spec, w = self._tracer, self._spec, self._weights
        scale = self._limited("spread", self._dense("spread.scale", xp.tanh(self._dense("spread.hidden", seen))))
        bands = OnnxNetwork(spec, w, xp).band_shares(ahead, SPREAD_AGES)
        scale = scale + bands @ xp.constant(w["spread.age"], "spread.age")
        if member is None:
            return xp.exp(xp.clip(scale, LEAST, MOST)) * white
        scale = scale + member @ xp.constant(w["members.scale"], "members.scale")
        every, size = self._dense("members.offset", hidden), spec.n_targets
        offset = every[:, :size] * member[:, :1]
        for k in range(1, spec.noise.members):
            offset = offset + every[:, k * size : (k + 1) * size] * member[:, k : k + 1]
        return offset + xp.exp(xp.clip(scale, LEAST, MOST)) * white

    def _limited(self, part: str, scale: TracedArray) -> TracedArray:
        """Keep the logarithm of a scale below the limit of its part of the noise: [B, n] -> [B, n]."""
        limit = self._tracer.constant(self._weights[f"{part}.limit"], f"{part}.limit")
        return self._tracer.elementwise("Min", scale, limit)

    def _dense(self, name: str, of: TracedArray) -> TracedArray:
        xp, bias = self._tracer, self._weights[f"{name}.bias"]
        parts = [of, xp.constant(self._weights[f"{name}.weight"], f"{name}.weight"), xp.constant(bias, f"{name}.bias")]
        return xp.node("Gemm", parts, (None, len(bias)), transB=1)
