"""Losses: count the samples that never came, of every stream: at its start, in the middle, and at its end.

A stream begins with the answer to START and ends with the answer to STOP, or with BYE. These frames carry the board's
time and its own count of samples, so that nothing is lost unseen at either end. Where a board has no such count, the
time and the numbers of its frames limit the estimate. A stream that is cut has no known end, unless the same boot of
the board comes back: its clock then tells the ticks between.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

_COUNTS = 1 << 32  # a board's count of samples is modulo this
_FASTER, _PAIRS = 0.75, 16  # so many samples in a row, each this much sooner than due: the board's table is wrong
_FASTEST = 20  # times the rate of the table, at most
_SEEN = (1 << 64) - 1  # ticks for which is known whether their sample came


class Mark(NamedTuple):
    """Start or end of a stream: device time in us (None: not known), frames lost so far, the board's own count."""

    t_us: int | None
    frames_lost: int
    samples: int = 0


class _Stream:
    """Counts of one stream. ``until_us``: time of its first sample. ``frames``: frames lost before it.

    ``most``: limit of `head`. ``early``: samples refused before the first one.
    """

    def __init__(self, begun: Mark) -> None:
        self.begun = begun
        self.answered = False
        self.received = self.refused = self.middle = self.missed = self.frames = self.early = self.frames_lost = 0
        self.until_us: int | None = None
        self.most = sys.maxsize

    def before(self, period_us: float) -> int:
        """Return the ticks from the start to the first sample."""
        if self.until_us is None or self.begun.t_us is None:
            return 0
        return min(max(_ticks(self.begun.t_us, self.until_us, period_us) - self.early, 0), self.most)

    def head(self, period_us: float) -> int:
        """Return the samples lost before the first one: at most the ticks, and the lost frames and missed captures."""
        return min(self.before(period_us), self.frames + max(self.missed - self.middle, 0))


class _Tally:
    """Samples of one boot since the board last told its count, at the start of a stream: ``base``, None before that.

    ``known``: received, refused, or counted as lost in the streams since. ``heads``: of these, lost before the first
    sample, which is an estimate. ``between``: ticks between these streams.
    """

    def __init__(self, base: int | None = None) -> None:
        self.base, self.known, self.heads, self.between = base, 0, 0, 0

    def add(self, stream: _Stream, head: int, tail: int = 0) -> None:
        """Add a stream that is over."""
        self.known += stream.received + stream.refused + stream.middle + head + tail
        self.heads += head


class Losses:
    """``paused``: ticks of `gaps` at which no stream ran. ``at_end``: samples lost after the last one of a stream.

    ``streams``: begun so far. ``table_period_us``: distance of the samples by the board's table; ``period_us``: the
    measured one, where the board is faster.
    """

    def __init__(self) -> None:
        self.paused = self.at_end = self.streams = 0
        self._gaps = self._at_start = self._unknown = 0
        self._stream: _Stream | None = None
        self._cut: _Stream | None = None  # without a known end
        self._tally = _Tally()
        self.table_period_us = self.period_us = 1.0
        self._early: list[int] = []  # distances of samples with adjacent numbers that are less than the period
        self._seq = -1
        self._last_us: int | None = None
        self._seen = self._refused = self._frames_lost = 0  # at the newest sample: earlier ticks that came, as bits

    @property
    def faster(self) -> bool:
        """Whether the board sends more samples than its table says."""
        return self.period_us < self.table_period_us

    @property
    def gaps(self) -> int:
        """Ticks without a sample, of all streams and between the streams of one boot."""
        stream = self._stream
        return self._gaps + (stream.head(self.period_us) if stream else 0)

    @property
    def at_start(self) -> int:
        """Samples lost before the first one of a stream."""
        stream = self._stream
        return self._at_start + (stream.head(self.period_us) if stream else 0)

    @property
    def unknown_ends(self) -> int:
        """Streams of which nobody knows how many samples followed the last one that came."""
        return self._unknown + (self._cut is not None)

    def set_period(self, period_us: float) -> None:
        """Set the distance of the samples to come."""
        self.table_period_us = self.period_us = period_us
        self._early.clear()

    def begin(self, mark: Mark, answered: bool = False) -> None:
        """Begin a stream: when START is sent, and again with its answer."""
        stream = self._stream
        if stream is None:
            stream = self._stream = _Stream(mark)
            self.streams += 1
        if answered and not stream.answered:
            stream.answered = True
            begun = stream.begun if stream.received else mark
            stream.begun = begun._replace(samples=mark.samples)
            if stream.received:
                self._settle(stream)

    def sample(self, t_us: int, seq: int, frames_lost: int) -> None:
        """Count an accepted sample: its time, the number of its frame, and the frames lost so far."""
        stream = self._stream
        if stream is None and self.streams:
            return  # after the end, or before the start: nobody asked for it
        if stream is None:
            stream = self._stream = _Stream(Mark(t_us, frames_lost))
            self.streams += 1
        stream.received += 1
        step_us = self.period_us if self._last_us is None else t_us - self._last_us
        if self._faster(step_us, seq):
            self._adapt(stream, t_us, frames_lost)
        ahead = round(step_us / self.period_us)
        if step_us <= 0:
            return self._fill(-ahead)
        ahead = max(ahead, 1)
        missing = max(ahead - 1 - self._refused, 0)
        if self.faster:  # only what the numbers of the frames say, too
            missing = min(missing, max(frames_lost - self._frames_lost, 0))
        if stream.received == 1:
            self._first(stream, t_us, frames_lost)
            self._between(stream, missing)
            if stream.answered:
                self._settle(stream)
        else:
            stream.middle += missing
            self._gaps += missing
        self._seen = (self._seen << min(ahead, 64) | 1) & _SEEN
        self._last_us, self._refused, self._frames_lost = t_us, 0, frames_lost

    def refuse(self) -> None:
        """Count a sample that came and was not accepted: it is not missing."""
        self._refused += 1
        if self._stream is not None:
            self._stream.refused += 1

    def miss(self, samples: int) -> None:
        """Set the number of samples that the board itself missed in this session."""
        if self._stream is not None:
            self._stream.missed = samples

    def jump(self) -> None:
        """Forget the time of the newest sample: the clock jumped, and nobody knows how many ticks are missing."""
        self._last_us = None
        self._unknown += 1
        if self._stream is not None and not self._stream.received:
            self._stream.begun = self._stream.begun._replace(t_us=None)

    def end(self, mark: Mark) -> None:
        """End the stream with the answer to STOP or with BYE."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        head, tail = self._tail(stream, mark)
        self._tally.add(stream, head, tail)
        self._gaps += head + tail
        self._at_start += head
        self.at_end += tail

    def cut(self) -> None:
        """End the stream without knowing what followed its last sample."""
        stream, self._stream = self._stream, None
        if stream is not None:
            head = stream.head(self.period_us)
            self._tally.add(stream, head)
            self._gaps += head
            self._at_start += head
            if stream.received or self._cut is None:
                self._cut = stream

    def reboot(self) -> None:
        """Start another boot of the board: its clock says nothing about the stream before."""
        self.cut()
        self._unknown += self._cut is not None
        self._cut, self._last_us, self._tally = None, None, _Tally()

    # ---- the two ends

    def _first(self, stream: _Stream, t_us: int, frames_lost: int) -> None:
        begun = stream.begun
        unanswered = 0 if stream.answered else 1  # the answer itself is one of the lost frames
        stream.frames = max(frames_lost - begun.frames_lost - unanswered, 0)
        stream.until_us, stream.early, stream.frames_lost = t_us, self._refused, frames_lost

    def _between(self, stream: _Stream, missing: int) -> None:
        """Count the ticks between two streams of one boot."""
        cut, self._cut = self._cut, None
        if self._last_us is None:  # nothing came before in this boot, or its clock jumped
            self._unknown += cut is not None
            return
        stream.most = min(stream.head(self.period_us), missing)
        self._gaps += missing - stream.most
        self._tally.between += missing - stream.most

    def _settle(self, stream: _Stream) -> None:
        """Tell lost samples from pauses before this stream, by the board's count at its start."""
        before, self._tally = self._tally, _Tally(stream.begun.samples)
        if not (stream.begun.samples and before.between + before.heads):
            return
        if before.base is None:
            self._unknown += 1
            return
        surplus = before.known + before.between - (stream.begun.samples - before.base) % _COUNTS
        if 0 <= surplus <= before.between + before.heads:
            paused = min(surplus, before.between)
            self.paused += paused
            self.at_end += before.between - paused
            self._gaps -= surplus - paused  # the lost frames at a start were no samples
            self._at_start -= surplus - paused

    def _tail(self, stream: _Stream, mark: Mark) -> tuple[int, int]:
        """Return the samples lost at the start and at the end: by the board's count where it is possible."""
        head = stream.head(self.period_us)
        since_us = stream.begun.t_us if not stream.received else self._last_us
        if mark.t_us is None or since_us is None:
            self._unknown += 1
            return head, 0
        most = max(_ticks(since_us, mark.t_us, self.period_us) - self._refused, 0)
        counted = (mark.samples - stream.begun.samples) % _COUNTS - stream.received - stream.refused - stream.middle
        if mark.samples and 0 <= counted <= stream.before(self.period_us) + most + 1:
            tail = min(counted - min(head, counted), most + 1)
            return counted - tail, tail
        lost_before = stream.begun.frames_lost if not stream.received else self._frames_lost
        most += not stream.received  # without a sample nobody knows when the first one was due
        return head, min(most, max(mark.frames_lost - lost_before, 0))

    def _faster(self, step_us: float, seq: int) -> bool:
        """Return whether samples with adjacent numbers come sooner than the period says, for some time now."""
        adjacent, self._seq = seq == (self._seq + 1) & 0xFFFF, seq
        if adjacent and 0 < step_us < _FASTER * self.period_us:
            self._early.append(round(step_us))
        elif adjacent:
            self._early.clear()
        return len(self._early) == _PAIRS

    def _adapt(self, stream: _Stream, t_us: int, frames_lost: int) -> None:
        """Take the measured distance of the samples for the period, and count what was missing so far by it."""
        self.period_us = max(float(sorted(self._early)[_PAIRS // 2]), self.table_period_us / _FASTEST)
        self._early.clear()
        if stream.until_us is None:
            return
        ticks = _ticks(stream.until_us, t_us, self.period_us) + 1 - stream.received - stream.refused + stream.early
        missing = min(ticks, frames_lost - stream.frames_lost) - stream.middle
        if missing > 0:
            stream.middle += missing
            self._gaps += missing

    def _fill(self, behind: int) -> None:
        """Take back a gap that a late sample fills; a sample that had come already fills none."""
        bit = 1 << behind
        if behind < 64 and not self._seen & bit and self._stream is not None and self._stream.middle:
            self._seen |= bit
            self._stream.middle -= 1
            self._gaps -= 1


def _ticks(since_us: int, t_us: int, period_us: float) -> int:
    """Return the whole sample periods between two instants, with a hundredth of one for rounding."""
    return max(int((t_us - since_us) / period_us + 0.01), 0)
