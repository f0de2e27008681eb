"""The device's clock on the host's, in simulated time."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.device_clock import DeviceClock, Ticks

SPAN = 1 << 32
OUTWARD_S = 0.0002  # the fastest way to the device, and as long back


class World:
    """A device whose crystal is off by `ppm` and started `boot_s` before the host's zero, on a line with jitter."""

    def __init__(self, ppm: float = 0.0, boot_s: float = 100.0, jitter_s: float = 0.0, seed: int = 0) -> None:
        self.rate, self.boot_s, self.jitter_s = 1 + ppm * 1e-6, boot_s, jitter_s
        self.random = random.Random(seed)
        self.now = 0.0

    def device_us(self, host_s: float) -> int:
        return int((host_s + self.boot_s) * self.rate * 1e6)

    def delay(self) -> float:
        return OUTWARD_S + (self.random.expovariate(1 / self.jitter_s) if self.jitter_s else 0.0)

    def trip(self, clock: DeviceClock, late_s: float = 0.0) -> bool:
        """One request and its answer, which takes `late_s` more on its way back."""
        received = self.now + self.delay()
        returned = received + 20e-6 + self.delay() + late_s
        return clock.round_trip(
            self.now, self.device_us(received), self.device_us(received + 20e-6), returned
        )  # fmt: skip

    def run(self, clock: DeviceClock, slow: int = 60) -> None:
        """The link's schedule: eight fast round trips, then one every 0.98 s."""
        for step in range(8 + slow):
            self.trip(clock)
            self.now += 0.05 if step < 8 else 0.98

    def error(self, clock: DeviceClock, after_s: float = 0.0) -> float:
        host = self.now + after_s
        return abs(clock.host_time(self.device_us(host)) - host)


@given(st.integers(0, SPAN * 3), st.lists(st.integers(-2_000_000, 4_000_000_000), max_size=30))
def test_ticks_follow_a_counter_that_wraps(start: int, steps: list[int]) -> None:
    """Whatever the silence, and with frames up to 2 s out of order, 32 bits and the host's time give all 64 back; a
    time before the device's start is refused."""
    ticks, true, now = Ticks(), start, 1e5
    whole = (ticks.extend(start % SPAN, now) or 0) - start
    for step in steps:
        true, now = true + step, now + step * 1e-6 * (1 + 100e-6)
        assert ticks.extend(true % SPAN, now) == (true + whole if true + whole >= 0 else None)


@given(st.lists(st.tuples(st.integers(0, SPAN - 1), st.floats(0, 1e4)), min_size=1, max_size=40))
def test_no_reading_is_later_than_the_hosts_clock_allows(readings: list[tuple[int, float]]) -> None:
    """Whatever a device says, its time since the first reading is at most the host's, plus a second and the drift."""
    ticks, now = Ticks(), 0.0
    first = ticks.extend(readings[0][0], now)
    for t_us, passed_s in readings[1:]:
        now += passed_s
        told = ticks.extend(t_us, now)
        assert told is None or 0 <= told <= first + (1.0 + 1.003 * now) * 1e6  # type: ignore[operator]


def test_ticks_survive_a_silence_longer_than_their_span() -> None:
    """After a night without a frame the right wrap is found by the host's clock, at 100 ppm of drift."""
    ticks = Ticks()
    first = ticks.extend(7, 0.0)
    assert first == 7
    night = 12 * 3600
    passed = int(night * 1e6 * (1 + 100e-6))
    assert ticks.extend((7 + passed) % SPAN, float(night)) - first == passed


@settings(max_examples=60, deadline=None)
@given(st.floats(-100, 100), st.floats(-1e4, 1e6), st.floats(0, 300e-6), st.integers(0, 10**6))
def test_drift_and_jitter_are_followed(ppm: float, boot_s: float, jitter_s: float, seed: int) -> None:
    """Within 100 ppm and exponential jitter, a minute of round trips tells a device time to within 3 sigma or 40 us,
    one second ahead as well, and the drift to within 20 ppm."""
    world, clock = World(ppm, max(boot_s, 0.0), jitter_s, seed), DeviceClock()
    world.run(clock)
    assert clock.converged
    assert clock.resets == 0
    bound = max(40e-6, 3 * clock.sigma_s)
    assert world.error(clock) < bound
    assert world.error(clock, after_s=1.0) < bound
    assert clock.drift_ppm == pytest.approx(ppm, abs=20)
    assert clock.sigma_s <= 60e-6 + jitter_s


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(-100, 100), st.floats(0.001, 2.0))
def test_slow_trips_do_not_move_the_clock(seed: int, ppm: float, late_s: float) -> None:
    """One answer in four that lies about by up to two seconds leaves the error under 100 us, and is no outlier: its
    bracket is wide enough to be true."""
    world, clock = World(ppm, jitter_s=30e-6, seed=seed), DeviceClock()
    for step in range(100):
        assert world.trip(clock, late_s if world.random.random() < 0.25 else 0.0)
        world.now += 0.05 if step < 8 else 0.98
    assert world.error(clock) < 100e-6
    assert clock.outliers == clock.resets == 0


def test_a_slow_beginning_is_forgotten_at_once() -> None:
    """Where the first trips were slow, the first fast one outweighs them: no refusal, and the error of a fast one."""
    world, clock = World(50.0), DeviceClock()
    for _ in range(6):
        world.trip(clock, late_s=0.02)
        world.now += 0.05
    for _ in range(3):
        assert world.trip(clock)
        world.now += 0.05
    assert clock.converged
    assert world.error(clock) < 50e-6


def test_not_converged_until_eight_trips() -> None:
    """Seven round trips do not make a clock, the eighth does."""
    world, clock = World(), DeviceClock()
    for done in range(1, 9):
        assert not clock.converged
        world.trip(clock)
        world.now += 0.05
        assert clock.converged == (done == 8)


def test_single_impossible_trips_are_refused_and_counted() -> None:
    """A bracket that is off by 10 ms of device time changes nothing, nor do four in a row."""
    world, clock = World(20.0), DeviceClock()
    world.run(clock, slow=20)
    before, boot = world.error(clock), world.boot_s
    for _ in range(2):
        for _ in range(4):
            world.boot_s = boot + 0.01
            assert not world.trip(clock)
            world.boot_s = boot
        assert world.error(clock) == before
        assert world.trip(clock)
        before = world.error(clock)
    assert (clock.outliers, clock.resets) == (8, 0)


def test_five_impossible_trips_in_a_row_start_anew() -> None:
    """A device whose time jumped for good is believed after five contradictions, and the clock converges again."""
    world, clock = World(), DeviceClock()
    world.run(clock, slow=5)
    world.boot_s += 3.0
    for _ in range(5):
        assert not world.trip(clock)
        world.now += 0.98
    assert (clock.converged, clock.outliers, clock.resets) == (False, 5, 1)
    world.run(clock, slow=0)
    assert clock.converged
    assert world.error(clock) < 50e-6


def test_an_answer_that_took_less_than_nothing_is_refused() -> None:
    """A device that says it worked for longer than the whole trip took is not taken for the fastest trip ever."""
    world, clock = World(jitter_s=30e-6), DeviceClock()
    world.run(clock, slow=3)
    before = world.error(clock)
    assert not clock.round_trip(world.now, world.device_us(world.now), world.device_us(world.now + 1), world.now + 0.01)
    assert world.error(clock) == before


def test_a_drift_beyond_the_prior_is_followed() -> None:
    """An RC oscillator that is 1 % off is not refused: the gate knows how little eight trips say about the drift."""
    world, clock = World(ppm=10_000.0), DeviceClock()
    world.run(clock)
    assert clock.resets == 0
    assert world.error(clock) < 100e-6
    assert clock.drift_ppm == pytest.approx(10_000, rel=0.02)


def test_a_line_that_became_slower_for_good_is_followed() -> None:
    """Where every trip takes 4 ms more from now on, with 400 us of noise, the drift is still followed and sigma comes
    to tell that noise: the fastest trip ages."""
    world, clock = World(jitter_s=5e-6), DeviceClock()
    world.run(clock, slow=10)
    assert clock.sigma_s < 50e-6
    world.rate *= 1 + 50e-6
    world.boot_s /= world.rate
    for _ in range(900):
        received = world.now + 0.002 + world.random.uniform(-700e-6, 700e-6)
        clock.round_trip(world.now, world.device_us(received), world.device_us(received), world.now + 0.004)
        world.now += 0.98
    assert clock.converged
    assert world.error(clock) < 400e-6
    assert 200e-6 < clock.sigma_s < 600e-6


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(-100, 100))
def test_without_round_trips_the_least_lag_serves(seed: int, ppm: float) -> None:
    """From frames alone a device time is known to the fastest transport, never later than that plus the leak, and the
    spread is that of the lags."""
    world, clock = World(ppm, jitter_s=500e-6, seed=seed), DeviceClock()
    assert math.isnan(clock.host_time(0))
    for _ in range(2000):
        clock.one_way(world.device_us(world.now), world.now + world.delay())
        world.now += 0.002
    assert not clock.converged
    late = clock.host_time(world.device_us(world.now)) - world.now
    assert OUTWARD_S - 1e-5 <= late < OUTWARD_S + 100e-6
    assert 100e-6 < clock.sigma_s < 1e-3


def test_a_stall_does_not_spoil_the_least_lag() -> None:
    """A second in which nothing is read and then everything at once moves the least lag by its leak alone."""
    world, clock = World(), DeviceClock()
    for step in range(2000):
        held = max(0.0, 2.0 - world.now) if 1.0 <= world.now < 2.0 else 0.0
        clock.one_way(world.device_us(world.now), world.now + OUTWARD_S + held)
        assert world.error(clock) < OUTWARD_S + 250e-6, step
        world.now += 0.002


def test_reset_forgets_the_device_but_not_the_counts() -> None:
    """After a restart of the device nothing of the old time is left, and the counts go on."""
    world, clock = World(), DeviceClock()
    world.run(clock, slow=0)
    clock.one_way(world.device_us(world.now), world.now)
    clock.reset()
    assert not clock.converged
    assert math.isnan(clock.host_time(0))
    assert math.isnan(clock.drift_ppm)
    assert clock.trips == 8
