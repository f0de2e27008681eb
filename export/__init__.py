"""Make a bundle of a finished run."""

import rtsysid  # noqa: F401 - before onnxruntime, which reads at its import whether it may report to its maker
