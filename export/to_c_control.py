"""What a controller needs of a model as C99: decided inputs, and gradients of forecasts.

`model-control.c` includes `model.c`, which stays as it is: compile the one or the other. The way back multiplies with
transposed matrices, which are written again, so that forward and backward products are the same code in the same order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from export.c_layers import Layer, Weights
from export.to_c import c_fragment, c_sources, layer_definition, model_layers
from rtsysid.model.c_layout import widest_back
from rtsysid.spec import ModelSpec

BACK_PARTS = ("encoder", "gates", "new_", "head", "linear_")  # names of the layers that a forecast depends on


def control_sources(spec: ModelSpec, weights: Weights) -> dict[str, str]:
    """Generate `model-control.h` and `model-control.c`, which need the result of `c_sources`.

    Raises KeyError where a weight is missing.
    """
    guard = ["#ifndef RTSYSID_MODEL_CONTROL_H", "#define RTSYSID_MODEL_CONTROL_H", "", '#include "model.h"', ""]
    header = [_USAGE, *guard, control_sizes(spec), c_fragment("control.h"), "#endif\n"]
    source = [
        '#include "model.c"\n#include "model-control.h"\n',
        back_definitions(back_layers(model_layers(spec, weights))),
        *map(c_fragment, ("coordinates_back.c", f"cell_{spec.cell}_back.c", "gradient.c")),
    ]
    return {"model-control.h": "\n".join(header), "model-control.c": "\n".join(source)}


def casadi_sources(spec: ModelSpec, weights: Weights) -> dict[str, str]:
    """Generate `model-casadi.c` and what it includes: a forecast as an external function of CasADi.

    Raises KeyError where a weight is missing.
    """
    text = '#include "model-control.c"\n\n' + c_fragment("whole_plan.c") + c_fragment("casadi.c")
    return {**c_sources(spec, weights), **control_sources(spec, weights), "model-casadi.c": text}


def acados_sources(spec: ModelSpec, weights: Weights) -> dict[str, str]:
    """Generate `model-acados.c`: a forecast as discrete dynamics of acados, in one file, since acados copies one.

    Raises KeyError where a weight is missing.
    """
    sources = {**c_sources(spec, weights), **control_sources(spec, weights)}
    text = _one_file(sources, "model-control.c", set())
    return {"model-acados.c": f"{text}\n{c_fragment('whole_plan.c')}{c_fragment('acados.c')}"}


def _one_file(sources: Mapping[str, str], name: str, taken: set[str]) -> str:
    """Put each generated file in the place of its first `#include`; `taken` notes which."""
    taken.add(name)

    def included(line: re.Match[str]) -> str:
        return "" if line[1] in taken else _one_file(sources, line[1], taken)

    return re.sub(r'^#include "(model[^"]*)"$', included, sources[name], flags=re.MULTILINE)


def back_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Transpose every layer that a forecast depends on; without a bias."""
    return [
        replace(layer, name=f"{layer.name}_back", weight=layer.weight.T, bias=np.zeros(layer.weight.shape[1], "f4"))
        for layer in layers
        if layer.name.startswith(BACK_PARTS)
    ]


def control_sizes(spec: ModelSpec) -> str:
    """Write the sizes of model-control.h as macros."""
    sizes = {"CODES": sum(spec.encoder), "BACK_MAX": widest_back(spec)}
    return "\n".join([*(f"#define MODEL_{name} {value}" for name, value in sizes.items()), ""])


def back_definitions(layers: Sequence[Layer]) -> str:
    """Write transposed weights as C constants, and the list of encoder layers."""
    names = [f"&{layer.name}" for layer in layers if layer.name.startswith("encoder")]
    listed = f"static const layer *const encoder_back[MODEL_LAYERS] = {{{', '.join(names)}}};\n" if names else ""
    return "\n".join([*map(layer_definition, layers), listed])


_USAGE = """/* A model for controllers: decided inputs and gradients. Compile model-control.c in the place of model.c.

     static float room[MODEL_KEPT_ROOM(10)];        sizeof is a constant: horizons of up to 10 ticks
     static model_kept kept = {.longest = 10, .room = room};
     model_step(&robot, sample);                    at each tick, with any inputs
     model_keep(&robot, &kept, u, 10, y);           the forecast of a plan u, and all that its gradient needs
     ...                                            compute a cost of y, and dy, its derivative by y
     model_gradient(&kept, dy, du);                 its derivative by each input of the plan
     model_decide(&robot, u);                       what is applied from this tick on */"""
