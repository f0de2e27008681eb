"""Numbers in the text of the generated C."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from export.c_tables import literal


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_literal_reads_back_as_the_same_bits(value: float) -> None:
    """Nine significant digits carry every float32 exactly, and the text is a C literal of type float."""
    text = literal(value)
    assert text.endswith("f")
    assert "." in text or "e" in text
    assert np.float32(text[:-1]).tobytes() == np.float32(value).tobytes()
