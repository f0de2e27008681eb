"""Settings of a recorded session, as a recording carries them: what reproduces it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rtsysid.errors import SpecError, TraceError
from rtsysid.guards import ranges
from rtsysid.live.session import SessionSettings

if TYPE_CHECKING:
    from rtsysid.recordings.bag import Bag

_GROUP = "rtsysid.session"  # of the metadata


class Settings(SessionSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a recorded session, and the model it ran: id of the bundle and name of the backend."""

    bundle: str
    backend: str
    budget_s: ranges.Seconds

    def metadata(self) -> dict[str, dict[str, str]]:
        """Return the settings as a group of texts, as a recorder takes it."""
        names = ("bundle", "backend", *SessionSettings.__struct_fields__)
        return {_GROUP: {name: str(getattr(self, name)) for name in names}}

    @classmethod
    def of(cls, bag: Bag) -> Settings | None:
        """Read the settings in a recording; None where it holds no session.

        Raises TraceError where they cannot be read.
        """
        found = bag.metadata().get(_GROUP)
        try:
            return None if found is None else msgspec.convert(found, cls, strict=False)
        except (msgspec.ValidationError, SpecError) as error:
            remedy = "replay it with the release that recorded it"
            raise TraceError(f"recording {bag.path.name}", str(error), remedy) from None
