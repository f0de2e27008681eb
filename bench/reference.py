"""The model of reference size: TDL 16 x 10 -> 64 -> 16 -> LSTM 64 -> 6 outputs, 32,128 multiply-accumulates."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import torch

from export.to_onnx import all_graphs
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.backends.onnx_backend import OnnxBackend
from rtsysid.spec import Channel, ModelSpec, unit_scaling
from rtsysid.train.network import Network
from rtsysid.train.run import state_arrays


def reference_spec(inputs: int = 4, outputs: int = 6, taps: int = 16) -> ModelSpec:
    """Unit scaling: what it does to the values costs the same."""
    width = inputs + outputs
    channels = tuple(Channel(f"c{i}", "", "input" if i < inputs else "output") for i in range(width))
    blank = ModelSpec(channels=channels, rate_hz=100.0, taps=taps, encoder=(64, 16), hidden=64)
    return msgspec.structs.replace(blank, scaling=unit_scaling(blank, 4.0))


class Reference:
    """The same random weights behind every backend."""

    def __init__(self, inputs: int = 4, outputs: int = 6) -> None:
        torch.manual_seed(0)
        self.spec = reference_spec(inputs, outputs)
        self.network = Network(self.spec).eval()
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        weights = state_arrays(self.network.state_dict())
        for name, graph in all_graphs(self.spec, weights).items():
            (self.folder / name).write_bytes(graph.SerializeToString())
        self.onnx = OnnxBackend(self.spec, {path.name: path.read_bytes() for path in self.folder.glob("*.onnx")})
        self.numpy = NumpyBackend(self.spec, weights)
        self.window = np.random.default_rng(0).standard_normal((16, inputs + outputs)).astype(np.float32)
