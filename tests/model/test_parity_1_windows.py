"""Link 1 of the parity chain."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtsysid.model.delayline import TappedDelayLine
from rtsysid.train.windows import row_windows


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_training_windows_equal_the_delay_line(taps: int, width: int, more: int, seed: int) -> None:
    """Every window that training sees is bit for bit what the delay line shows at that sample."""
    rows = np.random.default_rng(seed).standard_normal((taps + more, width)).astype(np.float32)
    seen = row_windows(torch.from_numpy(rows)[None], taps)[0].numpy()
    line, shown = TappedDelayLine(taps, width), []
    for row in rows:
        line.push(row)
        if line.full:
            shown.append(line.window.copy())
    assert np.array_equal(seen, np.stack(shown))
