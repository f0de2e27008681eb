"""Peers of the generated C: a loop written by hand for one model, and a general ONNX-to-C compiler."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from bench.reference import Reference
from export.to_c import model_layers
from export.to_onnx import PREDICTED, STEP_INPUTS
from rtsysid.train.run import state_arrays

NATIVE = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")
CORTEX_M4F = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-O2")
LINKED = ("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "--specs=nosys.specs", "-lm", "-w")


class Floor:
    """floor.c with the weights of the reference, called as the C backend calls its library."""

    def __init__(self, reference: Reference) -> None:
        out = reference.folder / "floor.so"
        subprocess.run(["cc", *NATIVE, Path(__file__).with_name("floor.c"), "-o", out], check=True)
        library = ctypes.PyDLL(str(out))
        layers = {
            layer.name: layer for layer in model_layers(reference.spec, state_arrays(reference.network.state_dict()))
        }
        for letter, name in {"1": "encoder_1", "2": "encoder_2", "g": "gates", "h": "head"}.items():
            _fill(library, f"w{letter}", layers[name].weight.T)
            _fill(library, f"b{letter}", layers[name].bias)
        scaling = reference.spec.scaling
        _fill(library, "mean", np.array(scaling.feature_mean))
        _fill(library, "scale", 1 / np.array(scaling.feature_std))
        _fill(library, "target_mean", np.array(scaling.target_mean))
        _fill(library, "target_std", np.array(scaling.target_std))
        self.y = _view(library, "y", reference.spec.n_outputs)
        self._state = [_view(library, "c", reference.spec.hidden), _view(library, "seen", 80)]
        self._sample = np.zeros(reference.spec.width, np.float32)
        function = library.floor_step
        function.restype = None
        self._step = partial(function, ctypes.c_void_p(self._sample.ctypes.data))

    def forget(self) -> None:
        """Zero the state and keep the window: it steps from the first sample on, and knows no line that fills."""
        for part in self._state:
            part.fill(0.0)

    def step(self, values: np.ndarray) -> np.ndarray:
        self._sample[...] = values
        self._step()
        return self.y


def _fill(library: ctypes.PyDLL, name: str, values: np.ndarray) -> None:
    _view(library, name, values.size)[:] = values.ravel()


def _view(library: ctypes.PyDLL, name: str, size: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_float * size).in_dll(library, name))


class OnnxToC:
    """The step graph, without its decoder, through emx-onnx-cgen: C for any graph, one call with buffers bound."""

    def __init__(self, reference: Reference) -> None:
        folder = reference.folder
        graph, self.source, out = folder / "predict.onnx", folder / "peer.c", folder / "peer.so"
        onnx.utils.extract_model(folder / "step.onnx", graph, list(STEP_INPUTS), list(PREDICTED))
        command = [sys.executable, "-m", "emx_onnx_cgen", "compile", graph, self.source, "--model-name", "peer"]
        command += ["--large-temp-threshold", "0", "--large-weight-threshold", "0", "--input-dim", "batch=1"]
        subprocess.run(command, check=True, capture_output=True)
        subprocess.run(["cc", "-std=c11", *NATIVE, self.source, "-o", out, "-lm"], check=True, capture_output=True)
        spec = reference.spec
        sizes = (spec.taps * spec.width, spec.state_size, spec.n_outputs, spec.state_size)
        self.window, *self.rest = (np.zeros(size, np.float32) for size in sizes)
        function = ctypes.PyDLL(str(out)).peer
        function.restype = None
        self.step = partial(function, *(ctypes.c_void_p(a.ctypes.data) for a in (self.window, *self.rest)))


def flash(folder: Path, source: str, call: str) -> int:
    """Bytes of code and constants on a Cortex-M4F that `call` needs, linked by itself with -O2."""
    (folder / "size.c").write_text(f"{source}\nvolatile float sink;\nint main(void) {{ {call}; return 0; }}\n")
    out = folder / "size.elf"
    subprocess.run(["arm-none-eabi-gcc", *CORTEX_M4F, folder / "size.c", "-o", out, *LINKED], check=True, cwd=folder)
    empty = folder / "empty.elf"
    (folder / "empty.c").write_text("volatile float sink;\nint main(void) { return 0; }\n")
    subprocess.run(["arm-none-eabi-gcc", *CORTEX_M4F, folder / "empty.c", "-o", empty, *LINKED], check=True)
    return _text(out) - _text(empty)


def _text(path: Path) -> int:
    listed = subprocess.run(["arm-none-eabi-size", path], capture_output=True, text=True, check=True).stdout
    text, data, *_ = listed.splitlines()[1].split()
    return int(text) + int(data)
