"""DeviceClock: the ticks of a device as seconds on the host's monotonic clock, with what is not known about them.

A round trip brackets an instant: the device read its clock at some time between the host's asking and the answer's
arrival. The middle of the bracket is wrong by at most half of the time that this trip took longer than the fastest
one, and so much the less a slow trip weighs. Offset and drift follow by a linear regression that forgets.

Time is an argument everywhere: seconds of the host's monotonic clock, microseconds of the device's.

Ref: the guards follow published practice: the gate and the ageing of the fastest trip Klipper's `clocksync`, the reset
after outliers in a row and the count before convergence PX4's `timesync`, the least lag ArduPilot's.
"""

from __future__ import annotations

import math

_SPAN = 1 << 32  # microseconds until the device's counter starts anew: 71.6 minutes
_KEEP = 1 - 1 / 30  # of the weight of the older round trips at each new one: half a minute at one a second
_SETTLED = 8  # round trips before the clock counts as converged
_IN_A_ROW = 5  # impossible round trips that mean another clock, not bad luck
_NOISE_S = 50e-6  # of the middle of a fast round trip, to begin with (assumed: the regression measures it from then on)
_GATE_S = 500e-6  # beyond what the bracket and the noise allow
_DRIFT = 500e-6  # what a crystal may be off by, and more: until there is a baseline, the slope is held near zero
_BASELINE = (_NOISE_S / _DRIFT) ** 2  # s^2, of round trips that say as much about the drift as that prior
_AGEING = 10e-6  # seconds per second by which the fastest trip is doubted: a line may become slow for good
_LEAK = 200e-6  # seconds per second by which the least lag is, so that a drift in either direction is followed


class Ticks:
    """A 32-bit counter of microseconds extended to 64 bits.

    Of all the times that end in the same 32 bits, the one nearest to what the host's clock leads to expect: silence
    may last longer than the counter's span.
    """

    def __init__(self) -> None:
        self._last_us: int | None = None
        self._seen_s = 0.0

    def extend(self, t_us: int, now_s: float) -> int:
        """The 64-bit time of a reading `t_us` that was received at `now_s`; older readings may come later."""
        if self._last_us is None:
            self._last_us = t_us
        else:
            expected = self._last_us + round((now_s - self._seen_s) * 1e6)
            self._last_us = expected + (t_us - expected + _SPAN // 2) % _SPAN - _SPAN // 2
        self._seen_s = now_s
        return self._last_us


class DeviceClock:
    """Host time of device time, by round trips (`round_trip`) or, while there are none, by least lag (`one_way`).

    By least lag the fastest transport counts as instantaneous: ages come out too young by what it takes.

    ``converged``: whether enough round trips agree. ``trips``, ``outliers``, ``resets``: counts since the start.
    """

    def __init__(self) -> None:
        self.trips = self.outliers = self.resets = 0
        self._lag = _LeastLag()
        self._restart()

    def reset(self) -> None:
        """Forget the device's time, as after its restart; the counts go on."""
        self._lag = _LeastLag()
        self._restart()

    def round_trip(self, sent_s: float, received_us: int, answered_us: int, returned_s: float) -> bool:
        """Learn from a request that left at `sent_s`, its two readings on the device, and the answer's arrival.

        False where it contradicts what is known: the bracket lies beside the regression, or is none. Five of those
        in a row start the clock anew. Device times are extended (`Ticks`).
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
        self._learn(device, offset, _worth(max(excess, 0.0)))
        return True

    def one_way(self, device_us: int, received_s: float) -> None:
        """Learn from any frame: read at `device_us` on the device (extended), received at `received_s`."""
        self._lag.learn(device_us * 1e-6, received_s)

    def host_time(self, device_us: int) -> float:
        """Seconds on the host's clock at the extended device time; NaN before anything was learnt."""
        device = device_us * 1e-6
        return device + (self._offset(device) if self.converged else self._lag.offset)

    @property
    def converged(self) -> bool:
        return self._accepted >= _SETTLED

    @property
    def sigma_s(self) -> float:
        """Standard deviation of the round trips about the regression, or the mean excess over the least lag."""
        return math.sqrt(self._variance) if self.converged else self._lag.spread

    @property
    def drift_ppm(self) -> float:
        """How much faster than the host's clock the device's runs, in parts per million; NaN until converged."""
        return -self._slope * 1e6 if self.converged else math.nan

    def _restart(self) -> None:
        self._accepted = self._refused = 0
        self._fastest, self._fastest_at = math.inf, 0.0
        self._weight = self._device = self._mean = 0.0
        self._square = self._product = 0.0  # sums of weight * device^2 and weight * device * offset about the means
        self._variance = _NOISE_S**2

    @property
    def _slope(self) -> float:
        return self._product / (self._square + _BASELINE)  # a ridge: drawn to zero by the prior

    def _offset(self, device: float) -> float:
        return self._mean + self._slope * (device - self._device)

    def _excess(self, trip_s: float, now_s: float) -> float:
        """Half of what this trip took longer than the fastest: the largest error of its middle; negative if faster."""
        return (trip_s - self._fastest - _AGEING * (now_s - self._fastest_at)) / 2

    def _devalue(self, excess: float) -> None:
        """Earlier trips turn out to have been slow by `excess`, now that a faster one has come."""
        worth = _worth(excess)
        self._weight *= worth
        self._square *= worth
        self._product *= worth

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
        share, beside = weight / self._weight, device - self._device
        self._device += share * beside
        self._mean += share * (offset - self._mean)
        self._square = self._square * _KEEP + weight * beside * (device - self._device)
        self._product = self._product * _KEEP + weight * beside * (offset - self._mean)


def _worth(excess: float) -> float:
    """Weight of a trip whose middle may be wrong by `excess`, beside a fast one."""
    return _NOISE_S**2 / (_NOISE_S**2 + excess**2)


class _LeastLag:
    """The smallest difference of receiving and device time, doubted more the older it gets."""

    def __init__(self) -> None:
        self.offset = self.spread = math.nan
        self._at = 0.0

    def learn(self, device: float, received: float) -> None:
        lag = received - device
        doubted = self.offset + _LEAK * (received - self._at)
        if not lag > doubted:  # the first one is compared with NaN
            self.spread = 0.0 if math.isnan(self.offset) else self.spread * _KEEP
            self.offset = lag
        else:
            self.offset = doubted
            self.spread += (lag - doubted - self.spread) * (1 - _KEEP)
        self._at = received
