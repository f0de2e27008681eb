"""Print every figure; `python -m bench latency` prints one."""

from __future__ import annotations

import sys

from bench import (
    c_model,
    control,
    cortex,
    latency,
    live,
    logs,
    novelty,
    recording,
    replaying,
    retrieval,
    training,
    wire,
)  # fmt: skip

PARTS = {
    "latency": latency.main, "c_model": c_model.main, "cortex": cortex.main, "replay": replaying.main,
    "recording": recording.main, "training": training.main, "wire": wire.main, "live": live.main,
    "novelty": novelty.main, "retrieval": retrieval.main, "logs": logs.main, "control": control.main,
}  # fmt: skip

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"\n## {name}\n")
        PARTS[name]()
