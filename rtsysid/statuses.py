"""Status: the one table of what a prediction may be worth.

A new status is one line here. Everything else follows: the order of gravity in the session, the code on the wire, the C
header, and the table in `docs/wire.md` (`python -m firmware_bridge.generate` writes both).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias

Giver: TypeAlias = Literal["session", "loop", "reserved"]


class Status(StrEnum):
    """One line for each status, gravest first: name, code, minor version of the protocol, giver, usable, meaning.

    ``code`` on the wire never changes. ``since``: minor version of the wire protocol that appended it; 0 for the first
    ones. ``given_by``: the session, the live loop, or none of them yet. ``usable``: whether a controller may use a
    prediction of this status: a measurement of this very tick was fed, to a model that has settled, in time. A status
    is its name: ``Status.ok == "ok"``.
    """

    code: int
    since: int
    given_by: Giver
    usable: bool
    meaning: str

    def __new__(cls, name: str, code: int, since: int, given_by: Giver, usable: bool, meaning: str) -> Status:
        status = str.__new__(cls, name)
        status._value_ = name
        status.code, status.since, status.given_by = code, since, given_by
        status.usable, status.meaning = usable, meaning
        return status

    __repr__ = str.__repr__  # a printed prediction shows 'ok', as a string

    diverged = (
        "diverged",
        7,
        0,
        "session",
        False,
        "the model returned NaN or infinity: prediction withheld, state dropped",
    )
    reset = "reset", 6, 0, "session", False, "state dropped: too many missing ticks, or time jumped back (a restart)"
    rejected = "rejected", 5, 0, "session", False, "not fed: not finite or impossible; the last good sample replaces it"
    late = "late", 4, 0, "session", False, "not fed: time was repeated or ran backward; y is the previous prediction"
    warm_up = "warm-up", 3, 0, "session", False, "y does not count yet: the model has not seen enough samples"
    fallback = "fallback", 9, 0, "reserved", False, "y comes from a substitute and not from the model"
    stale = "stale", 8, 0, "loop", False, "the sample was older than the time budget when the prediction was ready"
    held = "held", 2, 0, "session", False, "the last good sample replaced missing ticks"
    novel = (
        "novel",
        10,
        1,
        "session",
        True,
        "unknown to model and training: a failing sensor, a disturbance, a new manoeuvre",
    )
    extrapolating = "extrapolating", 1, 0, "session", True, "outside the trained range; fed all the same"
    ok = "ok", 0, 0, "session", True, "none of the others applies"

    @property
    def gravity(self) -> int:
        """Place in the order of gravity; 0 is the gravest."""
        return ALL.index(self)


ALL: tuple[Status, ...] = tuple(Status)  # gravest first
BY_NAME: dict[str, Status] = {str(status): status for status in ALL}
BY_CODE: tuple[Status, ...] = tuple(sorted(Status, key=lambda status: status.code))
