"""Print every figure; `python -m bench latency` prints one."""

from __future__ import annotations

import sys

from bench import latency, replaying, training, wire

PARTS = {"latency": latency.main, "replay": replaying.main, "training": training.main, "wire": wire.main}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"\n## {name}\n")
        PARTS[name]()
