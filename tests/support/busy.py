"""Run a command on a busy machine: `python busy.py COUNT COMMAND...` keeps so many processes computing meanwhile."""

from __future__ import annotations

import subprocess
import sys


def main(count: int, command: list[str]) -> int:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
