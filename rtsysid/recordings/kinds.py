"""Find the kinds of manoeuvres in the names of recordings: ``chirp_run1``, ``chirp_run2``, ``square_run1``, ..."""

from __future__ import annotations

import re
from collections.abc import Sequence

LEAST = 3  # kinds, so that a model sees two of them when one is left out
_GENERAL = {
    "run", "log", "test", "train", "val", "validation", "flight", "episode", "segment", "seq", "rec", "recording",
    "data", "trial", "traj", "trajectory", "exp", "experiment", "session", "day", "pm", "am", "t", "z",
}  # fmt: skip


def kinds_of(names: Sequence[str]) -> dict[str, str]:
    """Return the kind of each recording: the words of its name that say more than a number.

    Every recording is of its own kind, under its own name, where there are not three kinds with several recordings.
    """
    kinds = {name: " ".join(w for w in re.findall(r"[^\W\d_]+", name.lower()) if w not in _GENERAL) for name in names}
    counts = [list(kinds.values()).count(kind) for kind in set(kinds.values())]
    return kinds if len(counts) >= LEAST and min(counts) > 1 else {name: name for name in names}
