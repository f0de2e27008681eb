"""Peer: the description of a board, and the check of it against requirements."""

from __future__ import annotations

from typing import Any

import msgspec

from firmware_bridge.messages import MAX_PAYLOAD, HelloAck, Prediction, Reason, version
from firmware_bridge.schema import Schema
from firmware_bridge.wire import OVERHEAD
from rtsysid.errors import LinkError
from rtsysid.spec import Channel, ModelSpec

_FULL = 0.7  # largest load of the wire: the rest is for heartbeats, times, logs, and to catch up after a stall
_ON_THE_WIRE_ONLY = ("kind", "scale", "offset", "group")  # properties of a channel that a model does not depend on


class Board(msgspec.Struct, frozen=True):
    """A board that answered, and its channel table."""

    ack: HelloAck
    schema: Schema

    @property
    def name(self) -> str:
        """The name of the firmware, for messages."""
        return f"board {self.ack.firmware or '(no name)'}"

    @property
    def samples(self) -> tuple[tuple[Channel, ...], float]:
        """Channels of its samples, and their rate in Hz."""
        return self.schema.spec_channels, self.schema.rate_hz

    def describe(self) -> dict[str, Any]:
        """Describe the board as plain values."""
        ack, schema = self.ack, self.schema
        known = {reason.value for reason in Reason}
        reason = Reason(ack.reset_reason if ack.reset_reason in known else Reason.unknown).name
        return {
            "firmware": ack.firmware, "uid": f"{ack.uid:016x}", "boot_id": f"{ack.boot_id:08x}", "reset": reason,
            "protocol": version(ack.major, ack.minor), "schema_hash": f"{schema.hash:08x}", "rate_hz": schema.rate_hz,
            "sample_bytes": schema.size, "timer_hz": ack.timer_hz, "max_payload": ack.max_payload,
            "receive_window": ack.receive_window, "model_hash": f"{ack.model_hash:08x}" if ack.model_hash else None,
            "inputs": ", ".join(str(c) for c in schema.spec_channels if c.role == "input"),
            "outputs": ", ".join(str(c) for c in schema.spec_channels if c.role == "output"),
        }  # fmt: skip


class Requirements(msgspec.Struct, frozen=True):
    """Requirements for a board: the channels and the rate of `spec`; else every `divider`-th sample of any board.

    `capacity`: bytes per second of the wire; None where its speed is not fixed.
    """

    spec: ModelSpec | None = None
    divider: int = 1
    capacity: float | None = None

    def divider_for(self, board: Board) -> int:
        """Return N such that every N-th sample is needed.

        Raises LinkError where channels or rate differ, or the wire is too slow.
        """
        divider = self.divider if self.spec is None else self._matched(board, self.spec)
        self._require_room(board, divider)
        return divider

    def _matched(self, board: Board, spec: ModelSpec) -> int:
        ratio = board.schema.rate_hz / spec.rate_hz
        divider = max(1, round(ratio))
        rate_hz = board.schema.rate_hz if abs(ratio / divider - 1) < 1e-6 else spec.rate_hz
        differences = [
            field
            for field in Schema.of(spec.channels, rate_hz).differences(board.schema)
            if field.rpartition(".")[2] not in _ON_THE_WIRE_ONLY
        ]
        if differences:
            found = f"it differs from the model in {', '.join(differences)}"
            raise LinkError(board.name, found, "use the model of this robot, or reflash the board")
        return divider

    def _require_room(self, board: Board, divider: int) -> None:
        if self.capacity is None:
            return
        bytes_each = max(board.schema.size, self._answer_size()) + OVERHEAD
        rate_hz, fits_hz = board.schema.rate_hz / divider, _FULL * self.capacity / bytes_each
        if rate_hz > fits_hz:
            found = f"{rate_hz:g} Hz of {bytes_each} bytes fill {rate_hz * bytes_each / self.capacity:.0%} of the wire"
            raise LinkError(board.name, found, f"at most {fits_hz:.0f} Hz fit: sample slower, or raise the baud rate")

    def _answer_size(self) -> int:
        if self.spec is None:
            return 0
        return min(Prediction.LAYOUT.size + 4 * self.spec.n_outputs, MAX_PAYLOAD)
