"""Figures as ratios to a peer in the same run: `make bench`."""

import rtsysid  # noqa: F401 - before onnxruntime, which reads at its import whether it may report to its maker
