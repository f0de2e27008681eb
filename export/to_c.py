"""A model as C99: one source, one header, no heap, nothing of libc but string.h and math.h.

The arithmetic is written as C in `export/c/`; this module generates sizes, tables and weights. The strict build
(`-ffp-contract=off`), whose results are the same bits on every target, and the fast build share the one source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from export.c_layers import Layer, Weights, linear_layer
from export.c_tables import array, coordinate_sizes, floats, literal, table_definitions
from export.to_c_noise import noise_definitions, noise_layers
from rtsysid.guards.text import for_c
from rtsysid.model.c_layout import LANES, TILE, padded, state_bytes, widest
from rtsysid.model.contents import SPREAD_AGES, STRETCH_TICKS, gain_names
from rtsysid.model.coordinates.deviations import output_rotations
from rtsysid.spec import CellName, Floats, ModelSpec

EDITOR_BLOCK = re.compile(r"#ifdef MODEL_EDITOR.*?#endif\n\n?", re.DOTALL)  # includes for a fragment in an editor


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
        gain_definitions(spec, weights),
        layer_definitions(layers),
        noise_definitions(spec, weights),
        *map(c_fragment, ("coordinates.c", f"cell_{spec.cell}.c", "network.c", "robot.c", "futures.c")),
        *map(c_fragment, ("draws.c", "sample.c") if spec.distribution else ()),
    ]
    return {f"{stem}.h": "\n".join(header), f"{stem}.c": "\n".join(source)}


def c_fragment(name: str) -> str:
    """Read a fragment of export/c without the includes that it has for editors."""
    return EDITOR_BLOCK.sub("", (files("export") / "c" / name).read_text())


def model_layers(spec: ModelSpec, weights: Weights) -> list[Layer]:
    """List every matrix of the model in the form that the C multiplies with. Raises KeyError for a missing weight."""
    layers = []
    for k in range(1, len(spec.encoder) + 1):
        layers += [linear_layer(weights, f"{side}.{k}") for side in ("encoder", "decoder")]
    layers += [*CELL_LAYERS[spec.cell](weights), linear_layer(weights, "head")]
    if spec.linear_path:
        layers.append(linear_layer(weights, "linear_path"))
    if spec.near_ticks:
        layers.append(linear_layer(weights, "linear_near"))
    if spec.state_init == "network":
        first, second = (linear_layer(weights, f"initialiser.{k}") for k in (0, 2))
        layers += [Layer("initialiser_1", first.weight, first.bias), Layer("initialiser_2", second.weight, second.bias)]
    return [*layers, *noise_layers(spec, weights)]


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
        f"     {i:3}  {channel.role:6}  {for_c(str(channel))}" for i, channel in enumerate(spec.channels)
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
        **coordinate_sizes(spec),
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
        "ENCODER_WINDOW": spec.encoder_window,
        "LAYERS": len(spec.encoder),
        "CODE": spec.code_size,
        "HIDDEN": spec.hidden,
        "HIDDEN_PADDED": padded(spec.hidden),
        "STATE": spec.state_size,
        "HEAD_CODE": spec.code_size if spec.head_sees_code else 0,
        "TARGETS": spec.n_targets,
        "TARGETS_PADDED": padded(spec.n_targets),
        "LAYER_MAX": widest(spec),
        "INCREMENT": int(spec.output == "increment"),
        "LINEAR_PATH": int(spec.linear_path),
        "NEAR_TICKS": spec.near_ticks,
        "BANDS": spec.n_bands,
        "AGED": int(bool(spec.age_changes)),
        "LATENT": spec.noise.latent,
        "MEMBERS": spec.noise.members,
        "FACTORS": spec.noise.factors,
        "DRAWS": spec.n_draws,
        "SPREAD_AGES": len(SPREAD_AGES),
        "STRETCH_TICKS": len(STRETCH_TICKS),
        "OUTPUT_ROTATIONS": len(output_rotations(spec)),
        "INITIALISER": int(spec.state_init == "network"),
        "WARMUP": spec.warmup if spec.state_init == "warmup" else 0,
    }


def gain_definitions(spec: ModelSpec, weights: Weights) -> str:
    """Write the first ages of the further bands, and the gains of all; nothing where the model has none."""
    if not spec.age_bands:
        return ""
    gains = [floats(name, np.asarray(weights[name]).ravel()) for name in gain_names(spec)]
    return "\n".join([array("uint32_t", "age_bands", [f"{age}u" for age in spec.age_bands]), *gains, ""])


def layer_definitions(layers: Sequence[Layer]) -> str:
    """Write the weights of all layers as C constants, and the lists of encoder and decoder layers."""
    return "\n".join([*map(layer_definition, layers), _layer_lists(layers)])


def layer_definition(layer: Layer) -> str:
    """Write the weights of one layer as C constants."""
    values, name = tiled(layer.weight), layer.name
    written = map(str, values.tolist()) if values.dtype == np.int8 else map(literal, values)
    lines = [
        array("model_weight", f"{name}_weight", list(written)),
        floats(f"{name}_bias", _in_whole_tiles(layer.bias)),
    ]
    if layer.scale is not None:
        lines.append(floats(f"{name}_scale", _in_whole_tiles(layer.scale)))
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
