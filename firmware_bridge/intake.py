"""Intake: samples of one board as they come, with their time on both clocks, and what is missing between them."""

from __future__ import annotations

from firmware_bridge.messages import TimeRsp
from firmware_bridge.peer import Board
from firmware_bridge.wire import Frame
from rtsysid.device_clock import DeviceClock, Ticks
from rtsysid.spec import Arrival, Sample

_SPAN = 1 << 32


class Intake:
    """``samples`` that came, ``gaps``: ticks of the board for which none did, ``reboots``: since the start."""

    def __init__(self) -> None:
        self.clock = DeviceClock()
        self.samples = self.gaps = self.reboots = 0
        self._ticks = Ticks()
        self._board: Board | None = None
        self._boot: int | None = None
        self._last_us: int | None = None
        self._period_us = 0.0

    def on_boot(self, boot_id: int) -> None:
        """A board answered. Another `boot_id` than before: it restarted, and nothing is left of its time."""
        if self._boot not in (None, boot_id):
            self.reboots += 1
            self.clock.reset()
            self._ticks, self._last_us = Ticks(), None
        self._boot = boot_id

    def set_board(self, board: Board, divider: int) -> None:
        """What samples will be of, and how far apart."""
        self._board, self._period_us = board, 1e6 * divider / board.schema.rate_hz

    def sample(self, frame: Frame, now_s: float) -> Arrival | None:
        """The content of a SAMPLE that was read at `now_s`; None before `expect`."""
        if self._board is None or self._boot is None:
            return None
        t_us = self._ticks.extend(frame.t_us, now_s)
        self.clock.one_way(t_us, now_s)
        self._count(t_us)
        sample = Sample(t_us * 1e-6, self._board.schema.unpack(frame.payload))
        return Arrival(sample, t_us, self.clock.host_time(t_us), now_s, frame.seq, self._boot)

    def time(self, answer: TimeRsp, now_s: float) -> None:
        """A round trip ended at `now_s`."""
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
            self.gaps -= 1  # it came late, after it was counted as missing
