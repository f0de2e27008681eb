"""Figures as ratios to a peer in the same run: `make bench`."""

from __future__ import annotations

import sys

import rtsysid  # noqa: F401 - before onnxruntime, which reads at its import whether it may report to its maker


def arguments(about: str | None) -> list[str]:
    """Return the arguments of a part that is run by itself; print what it is about where they ask for help."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(about)
        sys.exit(0)
    return sys.argv[1:]
