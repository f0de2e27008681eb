"""Intake: decode the samples of one board, put them on both clocks, and refuse those whose time is not possible."""

from __future__ import annotations

import math

from firmware_bridge.losses import Losses, Mark
from firmware_bridge.messages import TimeRsp
from firmware_bridge.peer import Board
from firmware_bridge.wire import Frame
from rtsysid.device_clock import DeviceClock, Ticks
from rtsysid.spec import Arrival, Sample

_SPAN = 1 << 32
_NEXT = 0x9E3779B9  # between the numbers of boots with one id: far from those of a board that counts
_LATE_US = 1_000_000  # a sample may be late by this; the session decides what it is worth
_IN_A_ROW = 5  # samples that follow another clock: then the board's clock has jumped
_FUTURE_S = 0.05  # a sample may seem to be captured later than it was received by this, once both clocks are known
_TRIP_S = 1.0  # a time answer that took longer says nothing


class Intake:
    """Counts since the start: ``samples`` accepted, ``refused``: samples of an impossible time or size.

    ``jumps``: how often the board's clock jumped within one boot. ``unasked``: time answers to no recent request.
    ``reboots`` of the board. ``losses``: samples that never came.
    """

    def __init__(self) -> None:
        self.clock, self.losses = DeviceClock(), Losses()
        self.samples = self.refused = self.jumps = self.unasked = self.reboots = 0
        self._ticks, self._doubts = Ticks(), _Doubts()
        self._board: Board | None = None
        self._boot_id: int | None = None
        self._repeats = 0  # restarts with that boot id
        self._boot: int | None = None  # number of the samples
        self._last_us: int | None = None
        self._asked_s = self._await_s = -1.0

    @property
    def gaps(self) -> int:
        """Ticks without a sample."""
        return self.losses.gaps

    def ran_back(self, t_us: int, now_s: float) -> bool:
        """Tell whether a frame sent at `t_us` is of another clock: one far behind what this boot sent before.

        Frames come in the order of their times, so that a board with such a clock has restarted, whatever its boot id.
        """
        if self._last_us is None:
            return False
        time_us = self._ticks.peek(t_us, now_s)
        return time_us is None or time_us < self._ticks.newest_us - _LATE_US

    def on_boot(self, boot_id: int, *, ran_back: bool = False) -> None:
        """Handle the boot id of a board that answered; another one than before means a restart with a new clock.

        `ran_back`: so does a clock that ran back. Some boards have no memory to count their boots in. The samples of
        such a boot carry another number than those of the one before.
        """
        if ran_back or self._boot_id not in (None, boot_id):
            self.reboots += 1
            self.clock.reset()
            self.losses.reboot()
            self._ticks, self._doubts, self._last_us = Ticks(), _Doubts(), None
        self._repeats = self._repeats + ran_back if self._boot_id == boot_id else 0
        self._boot_id, self._boot = boot_id, (boot_id + _NEXT * self._repeats) % _SPAN

    def set_board(self, board: Board, divider: int) -> None:
        """Set the channels of the samples to come, and their distance: every `divider`-th tick of the board."""
        self._board = board
        self.losses.set_period(1e6 * divider / board.schema.rate_hz)

    def await_clock(self, until_s: float) -> None:
        """Leave the host time of samples unknown until the clock has converged; at `until_s` the least lag tells it."""
        self._await_s = until_s

    def sample(self, frame: Frame, now_s: float, frames_lost: int = 0) -> Arrival | None:
        """Decode a SAMPLE read at `now_s`; None where it is refused, and before `on_boot` and `set_board`.

        `frames_lost`: frames of the board that did not arrive so far.
        """
        if self._board is None or self._boot is None:
            return None
        whole = len(frame.payload) >= self._board.schema.size
        t_us = self._time(frame.t_us, now_s) if whole else None
        if t_us is None:
            self.refused += 1
            self.losses.refuse()
            return None
        self.samples += 1
        self.losses.sample(t_us, frame.seq, frames_lost)
        self.clock.one_way(t_us, now_s)
        sample = Sample(t_us * 1e-6, self._board.schema.unpack(frame.payload))
        known = self.clock.converged or now_s >= self._await_s
        captured_s = self.clock.host_time(t_us) if known else math.nan
        return Arrival(sample, t_us, captured_s, now_s, frame.seq, self._boot)

    def time(self, answer: TimeRsp, now_s: float) -> None:
        """Give a round trip that ended at `now_s` to the clock, if it was asked for and its times are possible."""
        asked_s = answer.t0 * 1e-9
        worked_us = (answer.t2_us - answer.t1_us) % _SPAN
        asked = self._asked_s < asked_s <= now_s <= asked_s + _TRIP_S and worked_us <= _TRIP_S * 1e6
        received_us = self._ticks.extend(answer.t1_us, now_s) if asked else None
        if received_us is None:
            self.unasked += 1
            return
        self._asked_s = asked_s  # an answer counts once
        self.clock.round_trip(asked_s, received_us, received_us + worked_us, now_s)

    def mark(self, t_us: int, now_s: float, frames_lost: int, count: int = 0) -> Mark:
        """Return the start or end of a stream, told by a frame sent at `t_us`; `count`: the board's own, of samples.

        Frames come in the order of their times, so one that is much older than what came before tells no time.
        """
        newest_us = self._ticks.newest_us
        time_us = self._ticks.extend(t_us, now_s)
        told = time_us is not None and time_us >= newest_us - _LATE_US
        return Mark(time_us if told else None, frames_lost, count)

    def peek(self, t_us: int, now_s: float, frames_lost: int) -> Mark:
        """Return the mark of an earlier frame, from which nothing is learnt."""
        return Mark(self._ticks.peek(t_us, now_s), frames_lost)

    def _time(self, t_us: int, now_s: float) -> int | None:
        """Return the device time in us of a sample, or None where it is not possible.

        Time never runs back in one boot. A clock that does, or is far ahead of the host's, is believed after five
        samples that follow it: then it goes on from the last accepted time.
        """
        newest_us, last_us = self._ticks.newest_us, self._last_us
        time_us = self._possible(t_us, now_s)
        if time_us is not None and time_us > (newest_us - _LATE_US - 1 if last_us is None else last_us):
            self._doubts, self._last_us = _Doubts(), time_us
            return time_us
        if self._doubts.agree(t_us, now_s):
            return self._jump(t_us, now_s)
        return time_us if time_us is not None and last_us is not None and time_us >= last_us - _LATE_US else None

    def _possible(self, t_us: int, now_s: float) -> int | None:
        """Return the time of a reading, or None where it lies before the board's start or after now."""
        time_us = self._ticks.extend(t_us, now_s)
        future = time_us is not None and self.clock.converged and self.clock.host_time(time_us) > now_s + _FUTURE_S
        return None if future else time_us

    def _jump(self, t_us: int, now_s: float) -> int:
        self.jumps += 1
        self.clock.reset()
        self.losses.jump()
        self._doubts = _Doubts()
        self._last_us = self._ticks.begin(t_us, now_s, -1 if self._last_us is None else self._last_us)
        return self._last_us


class _Doubts:
    """Samples in a row that are not possible by the board's clock: do they follow another one?"""

    def __init__(self) -> None:
        self._ticks, self._last_us, self._count = Ticks(), -1, 0

    def agree(self, t_us: int, now_s: float) -> bool:
        """Add such a sample; return whether enough of them agree on a clock."""
        time_us = self._ticks.extend(t_us, now_s)
        if time_us is None or time_us <= self._last_us:
            self._ticks, self._count = Ticks(), 0
            time_us = self._ticks.extend(t_us, now_s)
        self._last_us, self._count = time_us or 0, self._count + 1
        return self._count >= _IN_A_ROW
