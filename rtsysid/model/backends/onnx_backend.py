"""The exported graphs on onnxruntime: one thread, no spinning, every buffer bound once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from rtsysid.errors import BackendError, BundleError
from rtsysid.model.backends.draws import Draws
from rtsysid.model.backends.onnx_graph import check_graph
from rtsysid.model.backends.windowed import Ages, WindowedBackend
from rtsysid.model.untrusted import Refusal
from rtsysid.spec import Floats, ModelSpec

WARM_UP_RUNS = 100  # the first runs allocate and choose kernels


class OnnxBackend(WindowedBackend):
    """Run one robot's model on onnxruntime.

    Two bindings take turns: each reads the state that the other wrote, so that nothing is copied. ``graphs``: the bytes
    of step.onnx, forecast.onnx and, where the first state is learned, initialiser.onnx. ``stretch``: of sampled
    futures, which sample.onnx leaves out. Raises BundleError where a graph is not one that our exporter makes of the
    specification, BackendError where onnxruntime does not load.
    """

    name = "onnx"

    def __init__(self, spec: ModelSpec, graphs: Mapping[str, bytes], stretch: Floats | None = None) -> None:
        super().__init__(spec, stretch)
        sessions = {name: _onnx_session(graphs[name], name, spec) for name in graphs}
        self._session, self._forecast = sessions["step.onnx"], sessions["forecast.onnx"]
        self._initialiser = sessions.get("initialiser.onnx")
        self._sample: Any = sessions.get("sample.onnx")
        self._window: Floats = np.zeros((1, spec.taps, spec.width), np.float32)
        self._outputs: dict[str, Floats] = {
            "y_next": np.full((1, spec.n_outputs), np.nan, np.float32),
            "code": np.zeros((1, spec.code_size), np.float32),
            "reconstruction_error": np.zeros(1, np.float32),
        }
        self._age: Floats = np.zeros(1, np.float32)
        self._bindings = [self._bind(turn) for turn in range(2)]
        self._run = self._session._sess.run_with_iobinding  # what InferenceSession.run_with_iobinding wraps
        self._row = self._window[0]
        self.y: Floats = self._outputs["y_next"][0]
        self.code: Floats = self._outputs["code"][0]
        with _refusing("step.onnx"):
            for _ in range(WARM_UP_RUNS):
                self.advance(self._row)
        for state in self._states:
            state.fill(0.0)
        self.y.fill(np.nan)

    @property
    def reconstruction_error(self) -> float:
        """Return the mean squared difference between the last features and their decoded code, in scaled units."""
        return float(self._outputs["reconstruction_error"][0])

    def start(self, window: Floats) -> None:
        """Set the first state from the first full window [L, C]. Raises BundleError where the graph cannot be run."""
        state = self._states[self._turn]
        if self._initialiser is None:
            state.fill(0.0)
        else:
            with _refusing("initialiser.onnx"):
                state[:] = self._initialiser.run(("state",), {"window": window[None]})[0]

    def advance(self, window: Floats) -> Floats:
        """Advance the state by the window [L, C] that ends with s_k; return y_{k+1} [ny].

        The next step overwrites the array.
        """
        self._row[...] = window
        self._age[0] = self.age
        self._run(self._bindings[self._turn], None)
        self._turn = 1 - self._turn
        return self.y

    def rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats) -> Floats:
        """Predict N ticks with predictions fed back: [B, L, C], [B, S], ages [B], [B, N, nu] -> [B, N, ny].

        Raises BundleError where the graph cannot be run.
        """
        feeds = {"window": window, "state": state, "u_future": u_future}
        if self.spec.age_changes:
            feeds["age"] = age.astype(np.float32)
        with _refusing("forecast.onnx"):
            y: Floats = self._forecast.run(("y_future",), feeds)[0]
        return y

    def sample_rollout(self, window: Floats, state: Floats, age: Ages, u_future: Floats, draws: Draws) -> Floats:
        """Sample a future from each start: as `rollout`, with the numbers of each future -> [B, N, ny].

        Raises BundleError where the graph cannot be run.
        """
        slow = draws.normal[:, 0, self.spec.noise.latent + self.spec.n_targets :]
        every = {
            "window": window, "state": state, "u_future": u_future, "draws": draws.normal[:, 1:], "slow": slow,
            "uniform": draws.uniform, "ahead": np.zeros(len(window)), "age": age,
        }  # fmt: skip
        taken = [each.name for each in self._sample.get_inputs()]
        feeds = {name: np.ascontiguousarray(every[name], np.float32) for name in taken}
        with _refusing("sample.onnx"):
            y: Floats = self._sample.run(("y_future",), feeds)[0]
        return y

    def _bind(self, turn: int) -> Any:
        import onnxruntime

        binding = self._session.io_binding()
        before, after = self._states[turn], self._states[1 - turn]
        inputs = {"window": self._window, "state": before}
        if self.spec.age_changes:
            inputs["age"] = self._age
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for name, array in (*self._outputs.items(), ("state_next", after)):
            binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        return binding._iobinding


def _onnx_session(content: bytes, name: str, spec: ModelSpec) -> Any:
    check_graph(content, name, spec, Refusal(BundleError, f"graph {name}", "export again"))
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise BackendError("onnxruntime", str(error), "install it, or use another backend") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what is wrong is raised, not printed
    with _refusing(name):
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Raise BundleError for what onnxruntime raises; its errors have no class in common."""
    try:
        yield
    except Exception as error:
        reason = str(error).partition("\n")[0][:200]
        raise BundleError(f"graph {name}", f"onnxruntime refuses it ({reason})", "export again") from None
