"""The tests of the core notice changes of it: a few mutants here, all of them in `make mutants`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.mutations import mutants

SOURCE = '''"""Text."""
from __future__ import annotations
LIMIT: int = 3
def share(part: int, whole: int) -> float:
    """Return the share."""
    if not 0 <= part < whole or whole > LIMIT:
        raise ValueError(f"{part + 1}")
    part += 1
    return part / whole
'''


def test_each_mutant_differs_in_one_statement_and_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators, constants, conditions and results are changed; annotations, docstrings and errors are not."""
    monkeypatch.setattr("tools.mutations.ROOT", tmp_path)
    path = tmp_path / "share.py"
    path.write_text(SOURCE)
    found = mutants(path)
    changed = {each.after for each in found}
    assert {"return part * whole", "return None", "part -= 1", "part += 2", "LIMIT: int = 4"} <= changed
    assert "if not 0 < part < whole or whole > LIMIT:" in changed
    assert "if not (not 0 <= part < whole or whole > LIMIT):" in changed
    for each in found:
        compile(each.source, "share.py", "exec")
        assert "Return the share." in each.source
        assert "raise ValueError(f'{part + 1}')" in each.source


@pytest.mark.slow
def test_changes_of_the_delay_line_are_noticed() -> None:
    """Of six mutants of the delay line, all die or are in the list of known survivors."""
    command = [sys.executable, "-m", "tools.mutants", "--file", "rtsysid/model/delayline.py", "--sample", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "0 survivors are not in" in done.stdout, done.stdout + done.stderr
