"""Free run of an LSTM in plain coordinates, with its gradient written out.

Autograd would record about forty small operations per tick and sum every weight's gradient tick by tick. Here a tick is
a dozen operations forward and a dozen backward, and a weight's gradient is one product over all ticks at the end. The
result is that of `Network.rollout`, tested. Shapes as in `rtsysid.train.network`, with K features per row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rtsysid.model.coordinates.angles import Angles
from rtsysid.model.coordinates.columns import columns
from rtsysid.model.coordinates.quaternions import TINY
from rtsysid.train.network import Network
from rtsysid.train.track import Layer, Targets, Track, feeds, target_layers


def free_run(network: Network, windows: Tensor, state: Tensor) -> Tensor:
    """Feed predictions back for N ticks: measured windows [B, N, L, C], state [B, S] -> [B, N, ny].

    Other cells than the LSTM, rigid bodies, integrators, powers of distances, and a variational code in training take
    the general loop. Where nothing is fed back, all ticks are computed in one call. The newest row of the first window
    has age 0.
    """
    spec = network.spec
    if not _is_written_out(network):
        return network.rollout(windows, state)
    if spec.output == "absolute" and not feeds(spec) and not spec.age_changes:
        return network.sequence(windows, state)[0]
    plan = Track(network, windows.shape[1])
    rows = torch.cat((windows[:, 0], windows[:, 1:, -1]), 1)
    track = plan.begun(rows[..., columns(spec.columns)])
    noise = None
    if network.training and network.noise:
        noise = network.noise * torch.randn(windows.shape[1], len(rows), spec.encoder_window).to(track)
    encoder = [part for layer in network.encoder.values() for part in (layer.weight, layer.bias)]
    newest = windows[:, 0, -1, spec.n_inputs :]
    targets = [part for first, _ in plan.spans for part in target_layers(network, first)]
    weights = (*_joined_gates(network), *targets, *encoder)
    predicted: Tensor = _FreeRun.apply(plan, track, newest, noise, *state.chunk(2, -1), *weights)  # type: ignore[no-untyped-call]
    return Angles(spec, torch).wrapped(predicted)  # type: ignore[no-any-return]


def _is_written_out(network: Network) -> bool:
    spec = network.spec
    variational = spec.variational or spec.distribution == "variational"
    drawn, raised = variational and network.training, spec.columns[spec.n_inputs :] if spec.degree > 1 else ()
    plain = spec.cell == "lstm" and spec.rigid_body is None and not spec.integrate
    return plain and not drawn and spec.distances.isdisjoint(raised)


def _joined_gates(network: Network) -> tuple[Tensor, Tensor]:
    """Join both matrices of the LSTM as [4 H, Z + H] with their bias; the cell gate is doubled for the sigmoid.

    tanh(x) = 2 sigmoid(2 x) - 1, and torch's sigmoid takes a fifth of the time of its tanh.
    """
    cell: Any = network.cell
    factor = torch.tensor([1.0, 1.0, 2.0, 1.0]).to(cell.bias_ih_l0).repeat_interleave(network.spec.hidden)
    weight = torch.cat((cell.weight_ih_l0, cell.weight_hh_l0), 1)
    return weight * factor[:, None], (cell.bias_ih_l0 + cell.bias_hh_l0) * factor


class _Saved:
    """Hold the values of the forward pass for the backward pass, each as one tensor and as its views tick by tick.

    ``gates`` [N, B, 4, H]: sigmoids. ``cell`` [N + 1, B, H]: c before the first tick and after each. ``squashed``
    [N, B, H]: tanh(c). ``joined`` [N + 1, B, Z + H]: the code of each tick, and h before it. ``codes``: the output
    of each encoder layer [N, B, ..]. ``lengths`` [N, B, 1]: of each quaternion before it is scaled to length one.
    """

    def __init__(self, ticks: int, h: Tensor, c: Tensor, size: int, encoder: list[Layer], quaternions: int) -> None:
        batch, hidden = h.shape
        self.lengths = [h.new_empty(ticks, batch, 1) for _ in range(quaternions)]
        self.gates = h.new_empty(ticks, batch, 4, hidden)
        self.cell = h.new_empty(ticks + 1, batch, hidden)
        self.squashed = h.new_empty(ticks, batch, hidden)
        self.joined = h.new_empty(ticks + 1, batch, size + hidden)
        self.code, self.hidden = self.joined[:-1, :, :size], self.joined[..., size:]
        self.codes = [h.new_empty(ticks, batch, len(bias)) for _, bias in encoder[:-1]]
        self.codes += [self.code] * bool(encoder)
        self.cell[0], self.hidden[0] = c, h
        self.each_gates, self.each_cell, self.each_squashed, self.each_joined, self.each_hidden, self.each_code = (
            part.unbind() for part in (self.gates, self.cell, self.squashed, self.joined, self.hidden, self.code)
        )
        self.each_gate = [gate.unbind() for gate in self.gates.unbind(2)]
        self.each_codes = [codes.unbind() for codes in self.codes]


class _FreeRun(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plan: Track, track: Tensor, newest: Tensor, noise: Tensor | None, h: Tensor, c: Tensor,
        gates: Tensor, gate_bias: Tensor, *layers: Tensor,
    ) -> Tensor:  # fmt: skip
        ticks, size = (track.shape[1] - plan.size) // plan.row + 1, gates.shape[1] - h.shape[1]
        targets, encoder = plan.layers(layers)
        past = _Saved(ticks, h, c, size, encoder, len(plan.quaternions))
        track = torch.cat((track, track.new_zeros(len(track), plan.row)), 1)  # room for the last prediction
        shown, predicted = plan.shown(track), newest.new_empty(ticks, *newest.shape)
        turned, into = [weight.t() for weight, _ in encoder], gates.t()
        by_tick = plan.by_tick([each.turned for each in targets])
        for n, (window, y) in enumerate(zip(plan.windows(track), predicted.unbind(), strict=True)):
            seen = plan.seen(window)
            code = seen[:, plan.encoder]
            code = code if noise is None else code + noise[n]
            for weight, (_, layer_bias), codes in zip(turned, encoder, past.each_codes, strict=True):
                doubled = torch.addmm(layer_bias, code, weight, alpha=2, beta=2, out=codes[n])
                code = doubled.sigmoid_().mul_(2).sub_(1)
            if not encoder:
                past.each_code[n].copy_(code)
            _lstm_tick(past, n, torch.addmm(gate_bias, past.each_joined[n], into))
            of_h, of_code, of_features, bias = by_tick[n]
            torch.addmm(bias, past.each_hidden[n + 1], of_h, out=y)
            if of_code is not None:
                y.addmm_(past.each_code[n], of_code)
            if of_features is not None:
                y.addmm_(seen, of_features)
            if plan.increment:
                newest = y.add_(newest)
            _scale_to_one(y, plan, past, n)
            if plan.feeds:
                plan.show(y[:, plan.fed], shown[n])
        ctx.plan, ctx.past, ctx.layers = plan, past, layers
        result = predicted.transpose(0, 1)
        ctx.save_for_backward(track, noise, gates, result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        plan, past, layers = ctx.plan, ctx.past, ctx.layers
        track, noise, gates, predicted = ctx.saved_tensors
        targets, encoder = plan.layers(layers)
        way, by_tick = _Backward(plan, past, gradient.transpose(0, 1), track, predicted), plan.by_tick(targets)
        for n in reversed(range(len(way.y))):
            way.tick(n, gates, by_tick[n], [weight for weight, _ in encoder])
        wanted, wanted_layers = plan.layers(ctx.needs_input_grad[-len(layers) :])
        seen = plan.seen(way.seen)
        into_encoder = seen[..., plan.encoder]
        codes = [into_encoder if noise is None else into_encoder + noise, *past.codes]
        pairs = (
            (_weight_gradient(grad, codes[k]), grad.sum((0, 1))) if wanted_layers[k][0] else (None, None)
            for k, grad in enumerate(way.codes)
        )
        return (
            None, None, None, None, way.h, way.c,
            _weight_gradient(way.gates.flatten(2), past.joined[:-1]), way.gates.sum((0, 1)).flatten(),
            *way.of_targets(seen, wanted),
            *(part for pair in pairs for part in pair),
        )  # fmt: skip


def _scale_to_one(y: Tensor, plan: Track, past: _Saved, n: int) -> None:
    """Scale each quaternion of the predictions [B, ny] of tick n to length one, in place, and keep the lengths."""
    for each, lengths in zip(plan.quaternions, past.lengths, strict=True):
        torch.sqrt(y[:, each].square().sum(1, keepdim=True) + TINY, out=lengths[n])
        y[:, each] /= lengths[n]


def _lstm_tick(past: _Saved, n: int, gates: Tensor) -> None:
    """Advance the LSTM by one tick from the sums of its gates [B, 4 H]."""
    torch.sigmoid(gates.view_as(past.each_gates[n]), out=past.each_gates[n])
    i, f, g, o = (gate[n] for gate in past.each_gate)
    c = torch.mul(past.each_cell[n], f, out=past.each_cell[n + 1]).addcmul_(i, g, value=2).sub_(i)
    squashed = torch.mul(c, 2, out=past.each_squashed[n]).sigmoid_().mul_(2).sub_(1)
    torch.mul(o, squashed, out=past.each_hidden[n + 1])


class _Backward:
    """The backward pass: gradients of gates, codes and targets at each tick, of h, c and the track."""

    def __init__(self, plan: Track, past: _Saved, gradient: Tensor, track: Tensor, predicted: Tensor) -> None:
        self.plan, self.past = plan, past
        self.fed = predicted[..., plan.fed].unbind(1)
        self.predicted = predicted.unbind(1)
        self.gates = torch.empty_like(past.gates)
        self.each_gates, self.each_gate = self.gates.unbind(), [gate.unbind() for gate in self.gates.unbind(2)]
        self.codes = [torch.empty(code.shape).to(code) for code in past.codes]
        self.each_codes = [codes.unbind() for codes in self.codes]
        self.y = gradient.clone(memory_format=torch.contiguous_format)
        self.each_y = self.y.unbind()
        grad = torch.zeros_like(track)
        self.seen = torch.stack(plan.windows(track))
        self.slopes = plan.slopes(self.seen)
        self.windows, self.shown = plan.windows(grad), plan.shown(grad)
        self.h, self.c = torch.zeros_like(past.cell[0]), torch.zeros_like(past.cell[0])

    def tick(self, n: int, gates: Tensor, targets: Targets, encoder: list[Tensor]) -> None:
        """Go back by tick n."""
        y, plan = self.each_y[n], self.plan
        if plan.feeds:
            y[:, plan.fed] += plan.feedback_backward(self.shown[n], self.fed[n])
        self._scaled(n)
        joined = self._cell(n, self.h.addmm(y, targets.head)) @ gates
        code, self.h = joined.tensor_split((joined.shape[1] - self.h.shape[1],), 1)
        if targets.code is not None:
            code.addmm_(y, targets.code)
        for weight, codes, grad in zip(encoder[::-1], self.past.each_codes[::-1], self.each_codes[::-1], strict=True):
            torch.ops.aten.tanh_backward.grad_input(code, codes[n], grad_input=grad[n])
            code = grad[n] @ weight
        features = torch.nn.functional.pad(code, (plan.unseen, 0))
        if targets.linear is not None:
            features.addmm_(y, targets.linear)
        self.windows[n].add_(plan.features_backward(features, self.slopes[n]))
        if n and plan.increment:
            self.each_y[n - 1].add_(y)

    def of_targets(self, seen: Tensor, wanted: list[Targets]) -> list[Tensor | None]:
        """Compute the gradients of the matrices and the bias of each span from all features [N, B, F]."""
        found: list[Tensor | None] = []
        for (first, end), (_, code, linear, _) in zip(self.plan.spans, wanted, strict=True):
            y = self.y[first:end]
            found.append(_weight_gradient(y, self.past.hidden[first + 1 : end + 1]))
            found.append(None if not code else _weight_gradient(y, self.past.code[first:end]))
            found.append(None if not linear else _weight_gradient(y, seen[first:end]))
            found.append(y.sum((0, 1)))
        return found

    def _scaled(self, n: int) -> None:
        """Take the gradient of quaternions of length one at tick n back to those before they were scaled, in place."""
        y = self.each_y[n]
        for each, lengths in zip(self.plan.quaternions, self.past.lengths, strict=True):
            q, gradient = self.predicted[n][:, each], y[:, each]
            y[:, each] = (gradient - q * (q * gradient).sum(1, keepdim=True)) / lengths[n]

    def _cell(self, n: int, h: Tensor) -> Tensor:
        """Compute the gradient of the sums of the gates [B, 4 H] from that of h after tick n; take c a tick back."""
        past = self.past
        i, f, g, o = (gate[n] for gate in past.each_gate)
        to_i, to_f, to_g, to_o = (gate[n] for gate in self.each_gate)
        c = self.c + torch.ops.aten.tanh_backward(h * o, past.each_squashed[n])
        twice = 2 * c
        torch.mul(twice, g, out=to_i).sub_(c)
        torch.mul(c, past.each_cell[n], out=to_f)
        torch.mul(twice, i, out=to_g)
        torch.mul(h, past.each_squashed[n], out=to_o)
        self.c = c * f
        into = self.each_gates[n]
        torch.ops.aten.sigmoid_backward.grad_input(into, past.each_gates[n], grad_input=into)
        return into.flatten(1)


def _weight_gradient(gradient: Tensor, seen: Tensor) -> Tensor:
    """Compute the gradient of a weight, summed over ticks and batch: [N, B, out], [N, B, in] -> [out, in]."""
    return gradient.flatten(0, 1).t() @ seen.flatten(0, 1)
