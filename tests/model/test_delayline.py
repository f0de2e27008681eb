"""The tapped delay line against the plain "last L samples"."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsysid.errors import SpecError
from rtsysid.model.delayline import TappedDelayLine
from rtsysid.spec import Floats

sizes = st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(0, 130))


def numbered(count: int, width: int) -> Floats:
    """Samples [count, width] of which no two values are equal, and none is zero."""
    return np.arange(1, count * width + 1, dtype=np.float32).reshape(count, width)


def last(samples: Floats, taps: int) -> Floats:
    """The plain way: the last `taps` rows, zeros where there are none yet."""
    padded = np.concatenate([np.zeros((taps, samples.shape[1]), np.float32), samples])
    return padded[len(padded) - taps :]


@given(sizes)
def test_window_is_the_last_samples_after_every_push(size: tuple[int, int, int]) -> None:
    """After each push, for any taps and width, the window equals the plain last L rows, oldest first."""
    taps, width, count = size
    line, samples = TappedDelayLine(taps, width), numbered(count, width)
    for k in range(count):
        line.push(samples[k])
        np.testing.assert_array_equal(line.window, last(samples[: k + 1], taps))
        assert line.full == (k + 1 >= taps)
        assert line.count == k + 1


@given(sizes)
def test_window_is_a_contiguous_float32_view(size: tuple[int, int, int]) -> None:
    """A backend can read the window in place: C-contiguous float32 [taps, width] in one memory for all time."""
    taps, width, count = size
    line = TappedDelayLine(taps, width)
    memory = line.window.base
    assert memory is not None
    for sample in numbered(count, width):
        line.push(sample)
        window = line.window
        assert window.flags.c_contiguous
        assert window.dtype == np.float32
        assert window.shape == (taps, width)
        assert window.base is memory
        assert np.shares_memory(window, line.window)


@given(sizes)
def test_push_writes_two_rows_and_leaves_older_ones(size: tuple[int, int, int]) -> None:
    """A push changes exactly 2 x width values whatever the taps: nothing is shifted, older rows stay where they are."""
    taps, width, count = size
    line = TappedDelayLine(taps, width)
    memory = line.window.base
    assert memory is not None
    for sample in numbered(count, width):
        before = memory.copy()
        older = line.window[1:].copy()
        line.push(sample)
        assert np.count_nonzero(memory != before) == 2 * width
        np.testing.assert_array_equal(line.window[:-1], older)


def test_push_does_the_same_work_whatever_the_taps() -> None:
    """The number of instructions of a push is one for 2 taps and for 4,096, at the wrap and elsewhere within two."""
    assert {instructions_of_push(taps, after=1) for taps in (3, 64, 4096)} == {instructions_of_push(3, after=1)}
    at_wrap = {instructions_of_push(taps, after=taps - 1) for taps in (3, 64, 4096)}
    assert max(at_wrap) <= instructions_of_push(3, after=1) + 2


def instructions_of_push(taps: int, after: int) -> int:
    line, sample = TappedDelayLine(taps, 4), np.ones(4, np.float32)
    for _ in range(after):
        line.push(sample)
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    outer = sys.gettrace()
    sys.settrace(trace)
    try:
        line.push(sample)
    finally:
        sys.settrace(outer)
    return count


@given(sizes, st.integers(0, 60))
def test_reset_forgets_everything(size: tuple[int, int, int], again: int) -> None:
    """After a reset the line cannot be told from a new one, then and for all later pushes."""
    taps, width, count = size
    used, fresh = TappedDelayLine(taps, width), TappedDelayLine(taps, width)
    for sample in numbered(count, width):
        used.push(sample)
    used.reset()
    for sample in numbered(again, width):
        np.testing.assert_array_equal(used.window, fresh.window)
        assert (used.full, used.count) == (fresh.full, fresh.count)
        used.push(-sample)
        fresh.push(-sample)
    np.testing.assert_array_equal(used.window, fresh.window)


def test_push_copies_its_sample() -> None:
    """A source may reuse its array: what was pushed does not change with it."""
    line, sample = TappedDelayLine(2, 3), np.array([1, 2, 3], np.float32)
    line.push(sample)
    sample[:] = -1
    np.testing.assert_array_equal(line.window, [[0, 0, 0], [1, 2, 3]])


@pytest.mark.parametrize(("taps", "width"), [(0, 3), (-1, 3), (3, 0)])
def test_an_empty_line_is_refused(taps: int, width: int) -> None:
    """A line that could hold nothing is an error that says so in one line."""
    with pytest.raises(SpecError, match="at least 1"):
        TappedDelayLine(taps, width)


def test_a_sample_of_another_width_is_refused() -> None:
    """A sample with too many values does not slip in."""
    with pytest.raises(ValueError, match="broadcast"):
        TappedDelayLine(4, 3).push(np.ones(4, np.float32))
