"""DeviceClock: convert the time of a device to seconds of the host's clock, with an estimate of the error.

This is the one clock for every source (`rtsysid.source`). A round trip brackets an instant: the device read its clock
between the host's request and the arrival of the answer. The middle of the bracket is wrong by at most half of the time
that this trip took longer than the fastest one; slow trips get a small weight accordingly. A linear regression with
exponential forgetting estimates offset and drift.

Every call takes the time as an argument: seconds of the host's clock (`host_s`), microseconds of the device's.

Ref: the guards follow published practice. The gate, and the ageing of the fastest trip: `clocksync` of Klipper. The
reset after outliers in a row, and the count before convergence: `timesync` of PX4. The least lag: ArduPilot.
"""

from __future__ import annotations

import math
import time

_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_SPAN = 1 << 32  # microseconds until a 32-bit counter wraps: 71.6 minutes
_LATEST_US = (1 << 31) * 1_000_000 - 1  # 68 years: the largest time of a recording (ROS 2: seconds as int32)
_AHEAD_S = 1.0  # a reading may lead the host's expectation by this: the first one may have come late
_DRIFT_MAX = 1e-3  # s/s, and by this: ten times the error of a bad crystal
_KEEP = (
    1 - 1 / 30
)  # factor for the weight of older round trips at each new one: forgets in half a minute at one per second
_SETTLED = 8  # round trips before the clock counts as converged
_IN_A_ROW = 5  # impossible round trips in a row mean that the device has another clock
_NOISE_S = 50e-6  # assumed standard deviation of the middle of a fast round trip, until measured
_GATE_S = 500e-6  # tolerance in addition to bracket and noise
_DRIFT = 500e-6  # prior of the drift, larger than the error of a crystal; keeps the slope near zero at first
_BASELINE = (_NOISE_S / _DRIFT) ** 2  # s^2, spread of round trips that has the weight of that prior
_AGEING = 10e-6  # s/s added to the fastest trip with its age: a line may become slow for good
_LEAK = 200e-6  # s/s added to the least lag with its age, so that drift in both directions is followed


def host_ns() -> int:
    """Return nanoseconds of the host's clock: it only goes forward, on Linux also while the machine sleeps."""
    return time.monotonic_ns() if _BOOT_CLOCK is None else time.clock_gettime_ns(_BOOT_CLOCK)


def host_s() -> float:
    """Return seconds of the host's clock (`host_ns`)."""
    return host_ns() * 1e-9


class Ticks:
    """Extend a 32-bit counter of microseconds to 64 bits, and refuse readings that the device cannot have made.

    No reading is later than the host's clock allows since the first one, and none is from before the device's start.
    Among all times with the same lower 32 bits, `extend` chooses the latest possible one: silence may last longer than
    the span of the counter, and a reading may have waited on its way.
    """

    def __init__(self) -> None:
        self.newest_us = 0  # of all readings since `begin`
        self._lead_s: float | None = None  # of the device's clock over the host's, without the time on the way
        self._at_s = 0.0

    def extend(self, t_us: int, now_s: float) -> int | None:
        """Return the 64-bit time in us of a reading `t_us` received at `now_s`; None where it is not possible."""
        if self._lead_s is None:
            return self.begin(t_us, now_s)
        time_us = self.peek(t_us, now_s)
        if time_us is not None:
            slack_s = self._slack(now_s)
            lead_s = max(time_us * 1e-6 - now_s, self._lead_s - slack_s)
            self._lead_s, self._at_s = min(lead_s, self._lead_s + slack_s), now_s
            self.newest_us = max(self.newest_us, time_us)
        return time_us

    def peek(self, t_us: int, now_s: float) -> int | None:
        """Return what `extend` would, and learn nothing from it; None before the first reading."""
        if self._lead_s is None:
            return None
        latest_us = round((now_s + self._lead_s + self._slack(now_s) + _AHEAD_S) * 1e6)
        time_us = latest_us - (latest_us - t_us) % _SPAN
        return time_us if 0 <= time_us <= _LATEST_US else None

    def begin(self, t_us: int, now_s: float, after_us: int = -1) -> int:
        """Believe a reading: return the first time after `after_us` with these lower 32 bits, and go on from there."""
        time_us = after_us + 1 + (t_us - after_us - 1) % _SPAN
        time_us = time_us if time_us <= _LATEST_US else t_us
        self._lead_s, self._at_s, self.newest_us = time_us * 1e-6 - now_s, now_s, time_us
        return time_us

    def _slack(self, now_s: float) -> float:
        return _DRIFT_MAX * max(now_s - self._at_s, 0.0)


class DeviceClock:
    """Convert device time to host time, by round trips (`round_trip`), or by the least lag (`one_way`) without them.

    With the least lag, the fastest transport counts as instantaneous: ages are too small by its duration.

    ``trips``, ``outliers``, ``resets``: counts since the start.
    """

    def __init__(self) -> None:
        self.trips = self.outliers = self.resets = 0
        self._lag = _LeastLag()
        self._restart()

    def reset(self) -> None:
        """Forget the device's time, as after a restart of the device; the counts go on."""
        self._lag = _LeastLag()
        self._restart()

    def round_trip(self, sent_s: float, received_us: int, answered_us: int, returned_s: float) -> bool:
        """Add a round trip: a request sent at `sent_s`, two readings of the device, an answer received at `returned_s`.

        Return False where it contradicts the regression, or the answer came before the request. Five of those in a row
        restart the clock. Device times are extended by `Ticks`.
        """
        self.trips += 1
        device = (received_us + answered_us) * 0.5e-6
        trip = (returned_s - sent_s) - (answered_us - received_us) * 1e-6
        excess = self._excess(trip, returned_s)
        offset = (sent_s + returned_s) / 2 - device
        if trip < 0 or (self._accepted and abs(offset - self._offset(device)) > self._gate(device, excess)):
            return self._refuse()
        if excess <= 0:
            self._fastest, self._fastest_at = trip, returned_s
            self._devalue(-excess)
        self._learn(device, offset, _trip_weight(max(excess, 0.0)))
        return True

    def one_way(self, device_us: int, received_s: float) -> None:
        """Add any message: captured at `device_us` (extended) on the device, received at `received_s`."""
        self._lag.learn(device_us * 1e-6, received_s)

    def host_time(self, device_us: int) -> float:
        """Return seconds of the host's clock at the extended device time; NaN before the first message."""
        device = device_us * 1e-6
        return device + (self._offset(device) if self.converged else self._lag.offset)

    @property
    def converged(self) -> bool:
        """Whether enough round trips agree."""
        return self._accepted >= _SETTLED

    @property
    def sigma_s(self) -> float:
        """Standard deviation in s of the round trips about the regression, or the mean excess over the least lag."""
        return math.sqrt(self._variance) if self.converged else self._lag.spread

    @property
    def drift_ppm(self) -> float:
        """Drift of the device's clock against the host's, in ppm, positive where it is faster; NaN until converged."""
        return -self._slope * 1e6 if self.converged else math.nan

    def _restart(self) -> None:
        self._accepted = self._refused = 0
        self._fastest, self._fastest_at = math.inf, 0.0
        self._weight = self._device = self._mean = 0.0
        self._square = self._product = 0.0  # sums of weight * device^2 and weight * device * offset about the means
        self._variance = _NOISE_S**2

    @property
    def _slope(self) -> float:
        return self._product / (self._square + _BASELINE)  # ridge regression: the prior draws it to zero

    def _offset(self, device: float) -> float:
        return self._mean + self._slope * (device - self._device)

    def _excess(self, trip_s: float, now_s: float) -> float:
        """Half of the time over the fastest trip: the largest error of the middle; negative for a faster trip."""
        return (trip_s - self._fastest - _AGEING * (now_s - self._fastest_at)) / 2

    def _devalue(self, excess: float) -> None:
        """Reduce the weight of earlier trips: a faster one shows that they were slow by `excess`."""
        weight = _trip_weight(excess)
        self._weight *= weight
        self._square *= weight
        self._product *= weight

    def _spread(self, device: float) -> float:
        """Variance of a fast trip about the regression, extrapolated to here, in units of `_variance`."""
        return 1 + 1 / self._weight + (device - self._device) ** 2 / (self._square + _BASELINE)

    def _gate(self, device: float, excess: float) -> float:
        return _GATE_S + abs(excess) + 5 * math.sqrt(self._variance * self._spread(device))

    def _refuse(self) -> bool:
        self.outliers += 1
        self._refused += 1
        if self._refused >= _IN_A_ROW:
            self.resets += 1
            self._restart()
        return False

    def _learn(self, device: float, offset: float, weight: float) -> None:
        """Ref: weighted sums about moving means after D. H. D. West, Communications of the ACM 22 (1979)."""
        if self._accepted:
            normal = (offset - self._offset(device)) ** 2 / self._spread(device)
            self._variance += weight * (normal - self._variance) * (1 - _KEEP)
        self._refused = 0
        self._accepted += 1
        self._weight = self._weight * _KEEP + weight
        share, apart = weight / self._weight, device - self._device
        self._device += share * apart
        self._mean += share * (offset - self._mean)
        self._square = self._square * _KEEP + weight * apart * (device - self._device)
        self._product = self._product * _KEEP + weight * apart * (offset - self._mean)


def _trip_weight(excess: float) -> float:
    """Weight of a trip whose middle may be wrong by `excess`, relative to a fast trip."""
    return _NOISE_S**2 / (_NOISE_S**2 + excess**2)


class _LeastLag:
    """The smallest difference between receiving and device time; it grows with its age."""

    def __init__(self) -> None:
        self.offset = self.spread = math.nan
        self._at = 0.0

    def learn(self, device: float, received: float) -> None:
        """Add a message captured at `device` and received at `received`, in seconds."""
        lag = received - device
        doubted = self.offset + _LEAK * (received - self._at)
        if not lag > doubted:  # the first one is compared with NaN
            self.spread = 0.0 if math.isnan(self.offset) else self.spread * _KEEP
            self.offset = lag
        else:
            self.offset = doubted
            self.spread += (lag - doubted - self.spread) * (1 - _KEEP)
        self._at = received
