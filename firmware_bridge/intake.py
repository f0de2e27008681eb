"""Intake: decode the samples of one board, put them on both clocks, and count missing ones."""

from __future__ import annotations

from firmware_bridge.messages import TimeRsp
from firmware_bridge.peer import Board
from firmware_bridge.wire import Frame
from rtsysid.device_clock import DeviceClock, Ticks
from rtsysid.spec import Arrival, Sample

_SPAN = 1 << 32


class Intake:
    """Counts since the start: ``samples`` received, ``gaps``: ticks without a sample, ``reboots`` of the board."""

    def __init__(self) -> None:
        self.clock = DeviceClock()
        self.samples = self.gaps = self.reboots = 0
        self._ticks = Ticks()
        self._board: Board | None = None
        self._boot: int | None = None
        self._last_us: int | None = None
        self._period_us = 0.0

    def on_boot(self, boot_id: int) -> None:
        """Handle the boot id of a board that answered; another one than before means a restart with a new clock."""
        if self._boot not in (None, boot_id):
            self.reboots += 1
            self.clock.reset()
            self._ticks, self._last_us = Ticks(), None
        self._boot = boot_id

    def set_board(self, board: Board, divider: int) -> None:
        """Set the channels of the samples to come, and their distance: every `divider`-th tick of the board."""
        self._board, self._period_us = board, 1e6 * divider / board.schema.rate_hz

    def sample(self, frame: Frame, now_s: float) -> Arrival | None:
        """Decode a SAMPLE read at `now_s`; None before `on_boot` and `set_board`."""
        if self._board is None or self._boot is None:
            return None
        t_us = self._ticks.extend(frame.t_us, now_s)
        self.clock.one_way(t_us, now_s)
        self._count(t_us)
        sample = Sample(t_us * 1e-6, self._board.schema.unpack(frame.payload))
        return Arrival(sample, t_us, self.clock.host_time(t_us), now_s, frame.seq, self._boot)

    def time(self, answer: TimeRsp, now_s: float) -> None:
        """Give a round trip that ended at `now_s` to the clock."""
        received_us = self._ticks.extend(answer.t1_us, now_s)
        worked_us = (answer.t2_us - answer.t1_us) % _SPAN
        self.clock.round_trip(answer.t0 * 1e-9, received_us, received_us + worked_us, now_s)

    def _count(self, t_us: int) -> None:
        self.samples += 1
        ahead = 1 if self._last_us is None else round((t_us - self._last_us) / self._period_us)
        if ahead > 0:
            self.gaps += ahead - 1
            self._last_us = t_us
        elif ahead < 0 and self.gaps:
            self.gaps -= 1  # a late sample, counted as missing before
