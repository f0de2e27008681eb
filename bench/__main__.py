"""Print every figure; `python -m bench latency` prints one."""

from __future__ import annotations

import sys

from bench import c_model, latency, replaying, training

PARTS = {"latency": latency.main, "c_model": c_model.main, "replay": replaying.main, "training": training.main}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"\n## {name}\n")
        PARTS[name]()
