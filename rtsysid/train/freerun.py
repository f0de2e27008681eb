"""Free run of an LSTM in plain coordinates, with its gradient written out.

Autograd would record about forty small operations per tick and sum every weight's gradient tick by tick. Here a tick is
a dozen operations forward and a dozen backward, and a weight's gradient is one product over all ticks at the end. The
result is that of `Network.rollout`, tested. Shapes as there, with K features per row and F = L * K.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rtsysid.model.coordinates.columns import columns, powers
from rtsysid.model.coordinates.plain import brakes
from rtsysid.spec import ModelSpec
from rtsysid.train.network import Network

Layer = tuple[Tensor, Tensor]  # weight, bias


def free_run(network: Network, windows: Tensor, state: Tensor) -> Tensor:
    """Feed predictions back for N ticks: measured windows [B, N, L, C], state [B, S] -> [B, N, ny].

    Other cells than the LSTM, rigid bodies, integrators, angles, outputs fed back that are not neighbours, powers of
    relative outputs, and a variational code in training take the general loop. Where nothing is fed back, all ticks are
    computed in one call.
    """
    spec = network.spec
    drawn = spec.variational and network.training
    general = spec.cell != "lstm" or spec.rigid_body or spec.integrate or drawn or (spec.relative and spec.degree > 1)
    general = general or any(channel.angle for channel in spec.channels)
    if general or not isinstance(_fed_back(spec), slice):
        return network.rollout(windows, state)
    if spec.output == "absolute" and not _feeds(spec):
        return network.sequence(windows, state)[0]
    plan = _Track(network)
    rows = torch.cat((windows[:, 0], windows[:, 1:, -1]), 1)
    track = plan.begun(rows[..., columns(spec.columns)])
    noise = None
    if network.training and network.noise:
        noise = network.noise * torch.randn(windows.shape[1], len(rows), spec.window_size).to(track)
    encoder = [part for layer in network.encoder.values() for part in (layer.weight, layer.bias)]
    newest = windows[:, 0, -1, spec.n_inputs :]
    weights = (*_joined_gates(network), *_target_layers(network), *encoder)
    predicted: Tensor = _FreeRun.apply(plan, track, newest, noise, *state.chunk(2, -1), *weights)  # type: ignore[no-untyped-call]
    return predicted


def _fed_back(spec: ModelSpec) -> slice | list[int]:
    """Columns of the outputs that are fed back into the window."""
    return columns([i - spec.n_inputs for i in spec.columns[spec.n_inputs :]])


def _feeds(spec: ModelSpec) -> bool:
    return len(spec.columns) > spec.n_inputs


def _joined_gates(network: Network) -> tuple[Tensor, Tensor]:
    """Join both matrices of the LSTM as [4 H, Z + H] with their bias; the cell gate is doubled for the sigmoid.

    tanh(x) = 2 sigmoid(2 x) - 1, and torch's sigmoid takes a fifth of the time of its tanh.
    """
    cell: Any = network.cell
    factor = torch.tensor([1.0, 1.0, 2.0, 1.0]).to(cell.bias_ih_l0).repeat_interleave(network.spec.hidden)
    weight = torch.cat((cell.weight_ih_l0, cell.weight_hh_l0), 1)
    return weight * factor[:, None], (cell.bias_ih_l0 + cell.bias_hh_l0) * factor


def _target_layers(network: Network) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the matrices from h [H] and features [F] to the targets in engineering units, and their bias."""
    std, mean = network.target_std, network.target_mean
    if not network.spec.linear_path:
        return network.head.weight * std[:, None], None, network.head.bias * std + mean
    bias = (network.head.bias + network.linear_path.bias) * std + mean
    return network.head.weight * std[:, None], network.linear_path.weight * std[:, None], bias


class _Track:
    """A track of scaled rows [B, (L + N) * K]: where windows and predictions lie in it, and its features."""

    def __init__(self, network: Network) -> None:
        spec = network.spec
        self.row, self.size, self.inputs = spec.n_features, spec.taps * spec.n_features, spec.n_inputs
        self.increment, self.feeds, self.fed = spec.output == "increment", _feeds(spec), _fed_back(spec)
        self.mean, self.std, self.degree = network.feature_mean, network.feature_std, spec.degree
        self.moving = None
        if spec.relative:  # the track keeps these at their level, which the window takes away
            self.moving = torch.tensor([spec.channels[i].name in spec.relative for i in spec.columns]).to(self.mean)
            self.shift = self.mean / self.std * self.moving
            self.mean = self.mean * (1 - self.moving)
        self.brakes = _Brakes(self, spec) if spec.friction else None

    def windows(self, track: Tensor) -> list[Tensor]:
        """List the window of each tick: views [B, L * K]."""
        return list(track[:, : -self.row].unfold(1, self.size, self.row).unbind(1))

    def shown(self, track: Tensor) -> list[Tensor]:
        """List where each tick's prediction is written into the track: views."""
        return list(track[:, self.size + self.inputs :].unfold(1, self.row - self.inputs, self.row).unbind(1))

    def begun(self, rows: Tensor) -> Tensor:
        """Make the track of measured rows [B, R, u and y]."""
        return ((self._raised(rows[..., : self.inputs], rows[..., self.inputs :]) - self.mean) / self.std).flatten(1)

    def show(self, fed: Tensor, into: Tensor) -> None:
        """Write predicted outputs [B, f] into the track, for the next windows."""
        torch.sub(self._raised(fed), self.mean[self.inputs :], out=into).div_(self.std[self.inputs :])

    def feedback_backward(self, gradient: Tensor, fed: Tensor) -> Tensor:
        """Compute the gradient of the outputs from that of what `show` wrote."""
        first, *others = (gradient / self.std[self.inputs :]).chunk(self.degree, 1)
        power = fed
        for k, part in enumerate(others, 2):
            first, power = first.addcmul(part, power, value=k), power * fed
        return first

    def seen(self, window: Tensor) -> Tensor:
        """Compute features [.., F] from a window of the track [.., L * K]."""
        flat = window
        if self.moving is not None:
            rows = window.view(*window.shape[:-1], -1, self.row)
            flat = (rows - (rows[..., -1:, :] * self.moving + self.shift)).flatten(-2)
        return flat if self.brakes is None else torch.cat((flat, self.brakes.seen(window)), -1)

    def features_backward(self, gradient: Tensor, window: Tensor) -> Tensor:
        """Compute the gradient of the window from that of the features [B, F]; may work in place."""
        flat = gradient[:, : self.size]
        if self.moving is not None:
            rows = flat.view(len(flat), -1, self.row)  # a slice where there is friction too
            rows[:, -1] -= self.moving * rows.sum(1)
        if self.brakes is not None:
            self.brakes.back(gradient[:, self.size :], window, flat)
        return flat

    def _raised(self, *parts: Tensor) -> Tensor:
        """Join inputs, where they are given, outputs, and powers of the outputs."""
        raised = (*parts, *powers(parts[-1], self.degree))
        return raised[0] if len(raised) == 1 else torch.cat(raised, -1)


class _Brakes:
    """Friction in a window of the track: tanh of the newest scaled values, minus those before where they travel."""

    def __init__(self, plan: _Track, spec: ModelSpec) -> None:
        channels, travels, speeds = zip(*brakes(spec), strict=True)
        at = torch.tensor([spec.columns.index(channel) for channel in channels], device=plan.mean.device)
        self.travels, slow = (plan.mean.new_tensor(part) for part in (travels, speeds))
        self.newest = plan.size - plan.row + at
        self.before = (self.newest - plan.row).clamp(min=0)
        self.factor = plan.std[at] / slow * torch.where(self.travels > 0, spec.rate_hz, 1.0)
        self.level = plan.mean[at] / slow  # 0 of what travels

    def seen(self, window: Tensor) -> Tensor:
        """Compute the friction features from a window of the track."""
        moved = window[..., self.newest] - self.travels * window[..., self.before]
        return torch.tanh(moved * self.factor + self.level)

    def back(self, gradient: Tensor, window: Tensor, into: Tensor) -> None:
        """Add the gradient of the window from that of the friction features, in place."""
        grad = gradient * (1 - self.seen(window).square()) * self.factor
        into.index_add_(1, self.newest, grad)
        into.index_add_(1, self.before, -self.travels * grad)


class _Saved:
    """What the backward pass needs of the forward pass, each as one tensor and as its views tick by tick.

    ``gates`` [N, B, 4, H]: sigmoids. ``cell`` [N + 1, B, H]: c before the first tick and after each. ``squashed``
    [N, B, H]: tanh(c). ``joined`` [N + 1, B, Z + H]: the code of each tick, and h before it. ``codes``: the output
    of each encoder layer [N, B, ..].
    """

    def __init__(self, ticks: int, h: Tensor, c: Tensor, size: int, encoder: list[Layer]) -> None:
        batch, hidden = h.shape
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
        ctx: Any, plan: _Track, track: Tensor, newest: Tensor, noise: Tensor | None, h: Tensor, c: Tensor,
        gates: Tensor, gate_bias: Tensor, answer: Tensor, linear_path: Tensor | None, bias: Tensor, *layers: Tensor,
    ) -> Tensor:  # fmt: skip
        ticks, size = (track.shape[1] - plan.size) // plan.row + 1, gates.shape[1] - h.shape[1]
        encoder = list(zip(layers[::2], layers[1::2], strict=True))
        past = _Saved(ticks, h, c, size, encoder)
        track = torch.cat((track, track.new_zeros(len(track), plan.row)), 1)  # room for the last prediction
        shown, predicted = plan.shown(track), newest.new_empty(ticks, *newest.shape)
        turned = [weight.t() for weight in layers[::2]]
        into, answers, passed = gates.t(), answer.t(), None if linear_path is None else linear_path.t()
        for n, (window, y) in enumerate(zip(plan.windows(track), predicted.unbind(), strict=True)):
            seen = plan.seen(window)
            code = seen if noise is None else seen + noise[n]
            for weight, (_, layer_bias), codes in zip(turned, encoder, past.each_codes, strict=True):
                doubled = torch.addmm(layer_bias, code, weight, alpha=2, beta=2, out=codes[n])
                code = doubled.sigmoid_().mul_(2).sub_(1)
            if not encoder:
                past.each_code[n].copy_(code)
            _lstm_tick(past, n, torch.addmm(gate_bias, past.each_joined[n], into))
            torch.addmm(bias, past.each_hidden[n + 1], answers, out=y)
            if passed is not None:
                y.addmm_(seen, passed)
            if plan.increment:
                newest = y.add_(newest)
            if plan.feeds:
                plan.show(y[:, plan.fed], shown[n])
        ctx.plan, ctx.past, ctx.layers = plan, past, layers
        result = predicted.transpose(0, 1)
        ctx.save_for_backward(track, noise, gates, answer, linear_path, result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        plan, past, layers = ctx.plan, ctx.past, ctx.layers
        track, noise, gates, answer, linear_path, predicted = ctx.saved_tensors
        way = _Backward(plan, past, gradient.transpose(0, 1), track, predicted)
        for n in reversed(range(len(way.y))):
            way.tick(n, gates, answer, linear_path, layers[::2])
        seen = plan.seen(torch.stack(way.seen))
        codes = [seen if noise is None else seen + noise, *past.codes]
        pairs = ((_weight_gradient(grad, codes[k]), grad.sum((0, 1))) for k, grad in enumerate(way.codes))
        return (
            None, None, None, None, way.h, way.c,
            _weight_gradient(way.gates.flatten(2), past.joined[:-1]), way.gates.sum((0, 1)).flatten(),
            _weight_gradient(way.y, past.hidden[1:]),
            None if linear_path is None else _weight_gradient(way.y, seen), way.y.sum((0, 1)),
            *(part for pair in pairs for part in pair),
        )  # fmt: skip


def _lstm_tick(past: _Saved, n: int, gates: Tensor) -> None:
    """Advance the LSTM by one tick from the sums of its gates [B, 4 H]."""
    torch.sigmoid(gates.view_as(past.each_gates[n]), out=past.each_gates[n])
    i, f, g, o = (gate[n] for gate in past.each_gate)
    c = torch.mul(past.each_cell[n], f, out=past.each_cell[n + 1]).addcmul_(i, g, value=2).sub_(i)
    squashed = torch.mul(c, 2, out=past.each_squashed[n]).sigmoid_().mul_(2).sub_(1)
    torch.mul(o, squashed, out=past.each_hidden[n + 1])


class _Backward:
    """The backward pass: gradients of gates, codes and targets at each tick, of h, c and the track."""

    def __init__(self, plan: _Track, past: _Saved, gradient: Tensor, track: Tensor, predicted: Tensor) -> None:
        self.plan, self.past = plan, past
        self.fed = predicted[..., plan.fed].unbind(1)
        self.gates = torch.empty_like(past.gates)
        self.each_gates, self.each_gate = self.gates.unbind(), [gate.unbind() for gate in self.gates.unbind(2)]
        self.codes = [torch.empty(code.shape).to(code) for code in past.codes]
        self.each_codes = [codes.unbind() for codes in self.codes]
        self.y = gradient.clone(memory_format=torch.contiguous_format)
        self.each_y, self.each_fed = self.y.unbind(), self.y[..., plan.fed].unbind()
        grad = torch.zeros_like(track)
        self.seen = plan.windows(track)
        self.windows, self.shown = plan.windows(grad), plan.shown(grad)
        self.h, self.c = torch.zeros_like(past.cell[0]), torch.zeros_like(past.cell[0])

    def tick(
        self, n: int, gates: Tensor, answer: Tensor, linear_path: Tensor | None, encoder: tuple[Tensor, ...]
    ) -> None:
        """Go back by tick n."""
        y, plan = self.each_y[n], self.plan
        if plan.feeds:
            self.each_fed[n].add_(plan.feedback_backward(self.shown[n], self.fed[n]))
        joined = self._cell(n, self.h.addmm(y, answer)) @ gates
        code, self.h = joined.tensor_split((joined.shape[1] - self.h.shape[1],), 1)
        for weight, codes, grad in zip(encoder[::-1], self.past.each_codes[::-1], self.each_codes[::-1], strict=True):
            torch.ops.aten.tanh_backward.grad_input(code, codes[n], grad_input=grad[n])
            code = grad[n] @ weight
        code = code.clone() if linear_path is None else code.addmm(y, linear_path)
        self.windows[n].add_(plan.features_backward(code, self.seen[n]))
        if n and plan.increment:
            self.each_y[n - 1].add_(y)

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
