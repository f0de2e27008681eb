"""Print every figure; `python -m bench latency` prints one."""

from __future__ import annotations

import sys

from bench import latency, recording, replaying, training

PARTS = {"latency": latency.main, "replay": replaying.main, "recording": recording.main, "training": training.main}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(f"\n## {name}\n")
        PARTS[name]()
