"""Claimed sizes: within a limit they pass; above it, or negative, the error names claim, limit and remedy."""

from __future__ import annotations

import pytest

from rtsysid.errors import BundleError, RtsysidError, TraceError
from rtsysid.guards.limits import LIMITS, checked_growth, checked_size, limit


@pytest.mark.parametrize("name", LIMITS)
def test_a_claim_up_to_the_limit_passes_and_one_above_it_is_refused(name: str) -> None:
    assert checked_size("file x", LIMITS[name], name) == LIMITS[name]
    with pytest.raises(TraceError, match=f"limit {name} = {LIMITS[name]}.*RTSYSID_LIMITS={name}={LIMITS[name] + 1}"):
        checked_size("file x", LIMITS[name] + 1, name)


def test_a_negative_size_is_refused_with_the_class_of_the_caller() -> None:
    with pytest.raises(BundleError, match="claims a size of -5"):
        checked_size("weights", -5, "columns", BundleError)
    with pytest.raises(BundleError, match="claims -5 bytes"):
        checked_growth("weights", -5, 100, error=BundleError)


def test_the_remedy_of_the_error_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TraceError) as refused:
        checked_growth("file x", 10**12, 400)
    monkeypatch.setenv("RTSYSID_LIMITS", refused.value.remedy.rpartition("LIMITS=")[2])
    assert checked_growth("file x", 10**12, 400) == 10**12
    assert limit("columns") == LIMITS["columns"]


@pytest.mark.parametrize("setting", ["columns", "columns=-1", "columns=1e3", "colums=5"])
def test_a_setting_that_is_no_limit_is_refused(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("RTSYSID_LIMITS", setting)
    with pytest.raises(RtsysidError, match="write NAME=NUMBER"):
        limit("columns")
