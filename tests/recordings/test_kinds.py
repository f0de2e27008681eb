"""Test that names of recordings show kinds of manoeuvres where there are some."""

import pytest

from rtsysid.recordings.kinds import kinds_of


def test_kinds_are_the_words_that_repeat():
    """Numbers, dates and general words do not make a kind."""
    names = [
        f"{kind}_20251017_run{k}{'_val' if k == 4 else ''}" for kind in ("square", "random", "chirp") for k in (1, 4)
    ]
    assert sorted(set(kinds_of(names).values())) == ["chirp", "random", "square"]


@pytest.mark.parametrize(
    "names",
    [["run_001", "run_002", "run_003_val"], ["a_1", "a_2", "b_1", "b_2"], ["hover", "circle", "eight"], ["one"], []],
)
def test_without_three_kinds_every_recording_is_its_own(names):
    """One kind, two kinds, and kinds of a single recording leave out recordings."""
    assert kinds_of(names) == {name: name for name in names}
