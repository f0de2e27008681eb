"""The table of statuses: one line each, from which wire, C header and documents follow."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from firmware_bridge import messages as m
from firmware_bridge.build import FIRMWARE, compile_c
from rtsysid.live.session import STATUSES
from rtsysid.statuses import ALL, BY_CODE, BY_NAME, Status

C = Path(__file__).parents[1] / "c"
HEADER = (FIRMWARE / "messages.h").read_text()
DOCUMENT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()


@pytest.mark.parametrize("status", ALL)
def test_every_status_has_its_code_its_meaning_and_its_place(status: Status) -> None:
    """Each status is in the wire enum, the C header and the document, with the same code and the same meaning."""
    assert m.Status[status.name] == status.code
    assert status.meaning
    assert f"#define WIRE_STATUS_{status.name.upper()} {status.code}u /* {status.meaning} */" in HEADER
    assert f"| {status} | {status.code} | {status.meaning} | {'yes' if status.usable else 'no'} |" in DOCUMENT
    assert BY_CODE[status.code] is status is BY_NAME[str(status)]
    assert ALL[status.gravity] is status


def test_nothing_else_is_a_status() -> None:
    """Wire enum, C header and document list no status that the table lacks; the document lists the gravest first."""
    assert len(m.Status) == len(ALL) == len(re.findall(r"#define WIRE_STATUS_", HEADER))
    rows = DOCUMENT.split("| status | code | meaning | usable |")[1].split("<!--")[0]
    assert re.findall(r"^\| ([a-z-]+) \|", rows, re.MULTILINE) == [str(status) for status in ALL]


def test_codes_are_those_of_the_first_release() -> None:
    """The code of a status never changes, since firmware in the field knows it."""
    names = [
        "ok",
        "extrapolating",
        "held",
        "warm-up",
        "late",
        "rejected",
        "reset",
        "diverged",
        "stale",
        "fallback",
        "novel",
    ]
    assert [str(status) for status in BY_CODE[: len(names)]] == names


def test_a_status_is_its_name() -> None:
    """A status compares, prints and hashes as the string that users write."""
    assert Status.warm_up == "warm-up"
    assert f"{Status.warm_up}" == "warm-up"
    assert repr(Status.warm_up) == "'warm-up'"
    assert {"warm-up": 1}[Status.warm_up] == 1


def test_the_session_gives_its_own_statuses_only() -> None:
    """The session's statuses are those of the table that it gives, in the order of the table."""
    assert [status for status in ALL if status.given_by == "session"] == list(STATUSES)
    assert {status for status in ALL if status.given_by != "session"} == {"stale", "fallback"}


def test_the_gravest_status_decides_what_is_usable() -> None:
    """Only ok, novel and extrapolating are usable; they are the least grave, so that the gravest flag decides for all;
    the C header gives a board the same set."""
    assert {status for status in ALL if status.usable} == {"ok", "novel", "extrapolating"}
    assert [status.usable for status in ALL] == sorted(status.usable for status in ALL)
    (mask,) = re.findall(r"#define WIRE_USABLE (0x[0-9a-f]+)u", HEADER)
    assert {status for status in ALL if int(mask, 16) >> status.code & 1} == {s for s in ALL if s.usable}


def test_a_board_uses_what_is_usable_and_fresh() -> None:
    """`app_usable` refuses each status that is not usable, numbers that are none, an old sample, and one that waited,
    also where the board's clock wraps: a graver status hides no age."""
    done = subprocess.run([compile_c("usable", [C / "usable.c"])], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    usable = {status.code for status in ALL if status.usable}
    assert rows == [["1" if code in usable else "0", "0", "0"] for code in range(256)]
