"""A finished run becomes a bundle."""

import rtsysid  # noqa: F401 - before onnxruntime, which reads at its import whether it may report to its maker
