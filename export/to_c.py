"""A model as C99: one source, one header, no heap, nothing of libc but string.h and math.h.

The arithmetic is written as C in `export/c/`; this module generates sizes, tables and weights. The strict build
(`-ffp-contract=off`), whose results are the same bits on every target, and the fast build share the one source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from rtsysid.model.c_layout import LANES, TILE, padded, state_bytes, widest
from rtsysid.model.coordinates.body import effects, gyration
from rtsysid.model.coordinates.plain import brakes
from rtsysid.spec import CellName, Doubles, Floats, ModelSpec, RigidBody

EDITOR_BLOCK = re.compile(r"#ifdef MODEL_EDITOR.*?#endif\n\n?", re.DOTALL)  # includes for a fragment in an editor
Weights = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Layer:
    """y = weight x + bias: [rows, columns] and [rows]; with `scale` [rows] the weight is int8 and counted in it."""

    name: str
    weight: np.ndarray[Any, Any]
    bias: Floats
    scale: Floats | None = None

    @property
    def rows(self) -> int:
        """Count the rows of the matrix."""
        return len(self.bias)

    @property
    def bytes(self) -> int:
        """Count the bytes of its numbers in flash, with the padding of the last tile."""
        per_row = self.weight.itemsize * self.weight.shape[1] + 4 + (4 if self.scale is not None else 0)
        return int(padded(self.rows) * per_row)


def c_sources(spec: ModelSpec, weights: Weights, *, int8: bool = False) -> dict[str, str]:
    """Generate `model.h` and `model.c` from a specification and weights that keep the names of training.

    `int8` stores every matrix as int8 with one scale per row, in files called `model-int8`; biases, state and sums
    stay float32. Raises KeyError where a weight is missing.
    """
    stem = "model-int8" if int8 else "model"
    layers = [quantised(layer) if int8 else layer for layer in model_layers(spec, weights)]
    header = [size_definitions(spec, layers, int8), c_fragment("interface.h"), "#endif\n"]
    source = [
        f'#include "{stem}.h"\n',
        c_fragment("kernels.c"),
        table_definitions(spec),
        layer_definitions(layers),
        *map(c_fragment, ("coordinates.c", f"cell_{spec.cell}.c", "network.c", "robot.c", "futures.c")),
    ]
    return {f"{stem}.h": "\n".join(header), f"{stem}.c": "\n".join(source)}


def c_fragment(name: str) -> str:
    """Read a fragment of export/c without the includes that it has for editors."""
    return EDITOR_BLOCK.sub("", (files("export") / "c" / name).read_text())


def model_layers(spec: ModelSpec, weights: Weights) -> list[Layer]:
    """List every matrix of the model in the form that the C multiplies with. Raises KeyError for a missing weight."""
    layers = []
    for k in range(1, len(spec.encoder) + 1):
        layers += [_linear_layer(weights, f"{side}.{k}") for side in ("encoder", "decoder")]
    layers += [*CELL_LAYERS[spec.cell](weights), _linear_layer(weights, "head")]
    if spec.linear_path:
        layers.append(_linear_layer(weights, "linear_path"))
    if spec.state_init == "network":
        first, second = (_linear_layer(weights, f"initialiser.{k}") for k in (0, 2))
        layers += [Layer("initialiser_1", first.weight, first.bias), Layer("initialiser_2", second.weight, second.bias)]
    return layers


def quantised(layer: Layer) -> Layer:
    """Quantise a layer to int8 weights, each row scaled to its largest."""
    scale = np.abs(layer.weight).max(1) / np.float32(127)
    scale[scale == 0] = 1.0
    rounded = np.rint(layer.weight / scale[:, None]).astype(np.int8)
    return Layer(layer.name, rounded, layer.bias, scale.astype(np.float32))


def tiled(weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Arrange a matrix [rows, columns] as flat [tile][column][row of the tile], padded with zeros to whole tiles."""
    rows, columns = weight.shape
    tiles = np.zeros((padded(rows), columns), weight.dtype)
    tiles[:rows] = weight
    return np.ascontiguousarray(tiles.reshape(-1, TILE, columns).transpose(0, 2, 1)).ravel()


def _linear_layer(weights: Weights, name: str) -> Layer:
    return Layer(name.replace(".", "_"), np.asarray(weights[f"{name}.weight"]), np.asarray(weights[f"{name}.bias"]))


def _lstm_layers(weights: Weights) -> list[Layer]:
    """Gates in the order input, forget, cell, output; the sigmoid gates are halved, as cell_lstm.c expects."""
    weight = np.concatenate((weights["cell.weight_ih_l0"], weights["cell.weight_hh_l0"]), 1)
    bias = weights["cell.bias_ih_l0"] + weights["cell.bias_hh_l0"]
    halves = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), len(bias) // 4)
    return [Layer("gates", weight * halves[:, None], bias * halves)]


def _gru_layers(weights: Weights) -> list[Layer]:
    """Gates reset and update, halved as cell_gru.c expects; the new value's matrices stay apart."""
    into, of_h = weights["cell.weight_ih_l0"], weights["cell.weight_hh_l0"]
    into_bias, of_h_bias = weights["cell.bias_ih_l0"], weights["cell.bias_hh_l0"]
    gates, half = 2 * of_h.shape[1], np.float32(0.5)
    weight = np.concatenate((into, of_h), 1)[:gates] * half
    return [
        Layer("gates", weight, (into_bias + of_h_bias)[:gates] * half),
        Layer("new_into", into[gates:], into_bias[gates:]),
        Layer("new_of_h", of_h[gates:], of_h_bias[gates:]),
    ]


CELL_LAYERS: dict[CellName, Callable[[Weights], list[Layer]]] = {"lstm": _lstm_layers, "gru": _gru_layers}


def _usage(spec: ModelSpec) -> str:
    channels = "\n".join(
        f"     {i:3}  {channel.role:6}  {_safe_in_comment(str(channel))}" for i, channel in enumerate(spec.channels)
    )
    return f"""/* A model of rtsysid as C99: no heap, nothing of libc but string.h and math.h.

     static model_state robot;                      sizeof is a constant: all the memory there is
     model_reset(&robot);
     for (;;) {{                                     at {spec.rate_hz:g} Hz
         read_sample(sample);                       float [MODEL_CHANNELS] in engineering units, inputs first
         const float *y = model_step(&robot, sample);   outputs one tick later; NaN for the first {spec.taps - 1} ticks
     }}

   {spec.variant.replace("lstm", spec.cell)}, {spec.macs} multiply-accumulates a step; channels in order:
{channels}

   Build strict with -ffp-contract=off -fno-tree-slp-vectorize: the same bits on every target.
   Build fast with -O3 -ffp-contract=fast.
   Never build with -ffast-math: a sample that is not a number must stay one. */
#ifndef RTSYSID_MODEL_H
#define RTSYSID_MODEL_H

#include <stdint.h>
"""


def size_definitions(spec: ModelSpec, layers: Sequence[Layer], int8: bool) -> str:
    """Write the head of model.h: how to use it, and every size as a macro."""
    sizes = {
        **_network_sizes(spec),
        **_coordinate_sizes(spec),
        "INT8": int(int8),
        "MACS": spec.macs,
        "WEIGHT_BYTES": sum(layer.bytes for layer in layers),
        "STATE_BYTES": state_bytes(spec),
    }
    lines = [f"#define MODEL_{name} {value}" for name, value in sizes.items()]
    return "\n".join([_usage(spec), *lines, "#ifndef MODEL_LANES", f"#define MODEL_LANES {LANES}", "#endif", ""])


def _network_sizes(spec: ModelSpec) -> dict[str, int | str]:
    return {
        "FINGERPRINT": f'"{spec.fingerprint}"',
        "SCHEMA": f"0x{spec.schema_hash}u",
        "CHANNELS": spec.width,
        "INPUTS": spec.n_inputs,
        "OUTPUTS": spec.n_outputs,
        "TAPS": spec.taps,
        "ROW": spec.n_features,
        "N_SEEN": len(spec.columns),
        "N_FEEDBACK": max(len(spec.columns) - spec.n_inputs, 1),
        "WINDOW": spec.window_size,
        "LAYERS": len(spec.encoder),
        "CODE": spec.code_size,
        "HIDDEN": spec.hidden,
        "HIDDEN_PADDED": padded(spec.hidden),
        "STATE": spec.state_size,
        "TARGETS": spec.n_targets,
        "TARGETS_PADDED": padded(spec.n_targets),
        "LAYER_MAX": widest(spec),
        "INCREMENT": int(spec.output == "increment"),
        "LINEAR_PATH": int(spec.linear_path),
        "INITIALISER": int(spec.state_init == "network"),
        "WARMUP": spec.warmup if spec.state_init == "warmup" else 0,
    }


def _coordinate_sizes(spec: ModelSpec) -> dict[str, int | str]:
    body = spec.rigid_body or RigidBody(())
    return {
        "BODY": int(spec.rigid_body is not None),
        "FROM_NEWEST": int(spec.rigid_body is not None or bool(spec.relative) or bool(spec.friction)),
        "ROW_MAX": max(spec.width, spec.n_features),
        "OTHERS": len(_channels_apart(spec, body)),
        "OTHER_OUTPUTS": len([i for i in _channels_apart(spec, body) if i >= spec.n_inputs]),
        "VELOCITY": len(body.velocity),
        "POSITION": len(body.position),
        "RATE": len(body.rate),
        "INTEGRATED": len(spec.integrate),
        "N_FRICTION": len(spec.friction),
        "KINEMATICS": int(body.kinematics),
        "ROTORS": len(body.rotors.speeds) if body.rotors else 0,
        "SQUARES": spec.n_tail - 3 if spec.rigid_body else 0,
    }


def table_definitions(spec: ModelSpec) -> str:
    """Write the tables of scaling and coordinates as C constants."""
    scaling = spec.scaling
    lines = ["/* ---- Tables */", ""]
    lines += [
        _floats("feature_mean", scaling.feature_mean),
        _floats("feature_scale", 1.0 / np.asarray(scaling.feature_std)),
        _floats("target_mean", scaling.target_mean),
        _floats("target_std", scaling.target_std),
    ]
    if spec.rigid_body is None:
        seen = spec.columns + spec.columns[spec.n_inputs :] * (spec.degree - 1)
        relative = [int(spec.channels[i].name in spec.relative) for i in seen]
        return "\n".join(
            [
                *lines,
                _indices("columns_seen", seen),
                _indices("seen_relative", relative),
                *_friction_tables(spec),
                *_integrator_tables(spec),
            ]
        )
    names, body, others = [c.name for c in spec.channels], spec.rigid_body, _channels_apart(spec, spec.rigid_body)
    parts = {"attitude": body.attitude, "velocity": body.velocity, "position": body.position, "rate": body.rate}
    if body.kinematics:
        lines += [_constant("tick_length", 1 / spec.rate_hz), _constant("gravity", body.gravity)]
    if body.rotors is not None:
        flat = [effect for axis in effects(body.rotors) for effect in axis]
        lines += [_floats("rotor_effect", flat), _floats("rotor_gyration", gyration(body.rotors))]
        lines.append(_indices("at_rotors", [names.index(name) for name in body.rotors.speeds]))
    lines += [_indices(f"at_{part}", [names.index(name) for name in listed]) for part, listed in parts.items()]
    lines += [_indices("at_others", others), _indices("at_other_outputs", [i for i in others if i >= spec.n_inputs])]
    return "\n".join(lines)


def _friction_tables(spec: ModelSpec) -> list[str]:
    """Write the tables of outputs with dry friction: columns, whether they travel, factors inside tanh."""
    if not spec.friction:
        return []
    channels, travels, _ = zip(*brakes(spec), strict=True)
    factors = [(spec.rate_hz if brake.travels else 1.0) / brake.slow for brake in brakes(spec)]
    return [
        _indices("braked", channels),
        _indices("braked_travels", [int(moves) for moves in travels]),
        _floats("braked_factor", factors),
    ]


def _integrator_tables(spec: ModelSpec) -> list[str]:
    """Write the tables of outputs that the head predicts, and of those that are integrated from them."""
    names = [c.name for c in spec.outputs]
    positions, velocities = ([names.index(pair[k]) for pair in spec.integrate] for k in (0, 1))
    head_outputs = _indices("head_outputs", [i for i in range(len(names)) if i not in positions])
    if not positions:
        return [head_outputs]
    following = [_indices("integrals", positions), _indices("derivatives", velocities)]
    return [head_outputs, *following, _constant("tick_length", 1 / spec.rate_hz)]


def _channels_apart(spec: ModelSpec, body: RigidBody) -> list[int]:
    """List the channels that do not belong to the body."""
    named = {*body.attitude, *body.velocity, *body.position, *body.rate}
    return [i for i, channel in enumerate(spec.channels) if channel.name not in named]


def layer_definitions(layers: Sequence[Layer]) -> str:
    """Write the weights of all layers as C constants, and the lists of encoder and decoder layers."""
    return "\n".join([*map(_layer_definition, layers), _layer_lists(layers)])


def _layer_definition(layer: Layer) -> str:
    values, name = tiled(layer.weight), layer.name
    written = map(str, values.tolist()) if values.dtype == np.int8 else map(literal, values)
    lines = [
        _array("model_weight", f"{name}_weight", list(written)),
        _floats(f"{name}_bias", _in_whole_tiles(layer.bias)),
    ]
    if layer.scale is not None:
        lines.append(_floats(f"{name}_scale", _in_whole_tiles(layer.scale)))
    scale = f"{name}_scale" if layer.scale is not None else "0"
    rows, columns = layer.weight.shape
    lines.append(f"static const layer {name} = {{{rows}, {columns}, {name}_weight, {name}_bias, {scale}}};\n")
    return "\n".join(lines)


def _in_whole_tiles(values: Floats) -> Floats:
    return np.pad(values, (0, padded(len(values)) - len(values)))


def _layer_lists(layers: Sequence[Layer]) -> str:
    lines = []
    for side in ("encoder", "decoder"):
        names = [f"&{layer.name}" for layer in layers if layer.name.startswith(side)]
        if names:
            lines.append(f"static const layer *const {side}[MODEL_LAYERS] = {{{', '.join(names)}}};")
    return "\n".join([*lines, ""])


def literal(value: float | np.floating[Any]) -> str:
    """Write a float32 as a C literal that reads back as the same bits: nine significant digits."""
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _floats(name: str, values: Sequence[float] | Floats | Doubles) -> str:
    return _array("float", name, [literal(value) for value in np.asarray(values, np.float32)])


def _constant(name: str, value: float) -> str:
    return f"static const float {name} = {literal(value)};"


def _indices(name: str, values: Sequence[int]) -> str:
    return _array("unsigned short", name, [str(value) for value in values] or ["0"])


def _array(kind: str, name: str, values: list[str]) -> str:
    rows = [", ".join(values[i : i + TILE]) for i in range(0, len(values), TILE)]
    return f"static const {kind} {name}[{len(values)}] = {{\n    " + ",\n    ".join(rows) + "};"


def _safe_in_comment(text: str) -> str:
    """Replace what would end a C comment, and everything but printable ASCII."""
    return (
        "".join(c if c.isascii() and c.isprintable() else "?" for c in text).replace("*/", "* /").replace("/*", "/ *")
    )
