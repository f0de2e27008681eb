"""What a number means and what to do about it: one table, read from the top of each metric until a bound holds.

Every metric is one number, and less is better. The thresholds are conventions of ours, not of a standard: they sort a
model's weaknesses by how much there is to gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Literal, NamedTuple, TypeAlias

Grade: TypeAlias = Literal["good", "fair", "poor"]


class Rule(NamedTuple):
    """For values up to `upto`: how good that is, what it means, and what to do or record next."""

    upto: float
    grade: Grade
    meaning: str
    next: str


class Finding(NamedTuple):
    """The rule that holds for `names`, the worst of which has `value`; `all` says that there are no others."""

    metric: str
    names: tuple[str, ...]
    value: float
    rule: Rule
    all: bool

    @property
    def who(self) -> str:
        """The names, or that it is every one."""
        return f"all {len(self.names)}" if self.all and len(self.names) > 2 else ", ".join(self.names)

    @property
    def shown(self) -> str:
        """The value in words."""
        if self.value == 0 and "correlation" in SHOWN[self.metric]:
            return "no correlation beyond chance"
        return SHOWN[self.metric].format(up="up to " if len(self.names) > 1 else "", value=self.value)


RULES: Mapping[str, tuple[Rule, ...]] = {
    # Mean error at the last tick of the horizon over that of the better baseline.
    "horizon error": (
        Rule(0.7, "good", "The model clearly beats both baselines over the horizon.",
             "Use it there; to look further ahead, train with a longer rollout horizon."),
        Rule(1.0, "fair", "The model is only a little better than a baseline at the end of the horizon.",
             "Train longer with a rollout loss over this horizon, and record more of the manoeuvres shown as worst."),
        Rule(inf, "poor", "A baseline is as good or better at the end of the horizon: the network earns nothing here.",
             "Run the baseline instead, or set linear_path = true, roll out further, record more varied motion."),
    ),
    # The same at the first tick.
    "first-tick error": (
        Rule(1.05, "good", "One tick ahead the model keeps up with the best baseline.",
             "Leave the one-step loss as it is."),
        Rule(2.0, "fair", "One tick ahead a baseline is better, which matters only if you act on the next tick alone.",
             "Give the one-step loss more weight, or set linear_path = true."),
        Rule(inf, "poor", "One tick ahead a baseline is more than twice as good.",
             "Set linear_path = true: a linear map then predicts, and the network corrects it."),
    ),
    # NRMSE one tick ahead.
    "one-step fit": (
        Rule(0.05, "good", "One tick ahead almost all of the motion is explained.",
             "Judge by the free run instead: so close, most models look alike."),
        Rule(0.3, "fair", "One tick ahead a visible part of the motion is missed.",
             "Check the noise of this sensor first; if the error is larger, widen the network or train longer."),
        Rule(inf, "poor", "One tick ahead much of the motion is missed.",
             "Plot this channel for noise, wrong units or delayed timestamps before you train again."),
    ),
    # NRMSE at the last tick of the horizon.
    "free-run fit": (
        Rule(0.3, "good", "After the whole horizon in free run most of the motion is still explained.",
             "The horizon may be extended."),
        Rule(0.8, "fair", "By the end of the horizon a good part of the motion is lost.",
             "Plan over a shorter horizon, or train with a longer rollout loss and more recordings."),
        Rule(inf, "poor", "By the end of the horizon the forecast is hardly better than the mean of the channel.",
             "Do not plan this far with it; look for an input that moves this channel and is not recorded."),
    ),
    # Mean residual over its standard deviation.
    "bias": (
        Rule(0.1, "good", "The one-step error has no constant part.", "Nothing is needed."),
        Rule(0.5, "fair", "The one-step error has a constant part: sensors or the robot have drifted since training.",
             "Include recordings of several days, batteries and calibrations in training."),
        Rule(inf, "poor", "Most of the one-step error is constant: an offset that training did not know.",
             "Compare calibration, payload and trim of these recordings with those of training."),
    ),
    # Largest correlation of the residual with itself, 0 where the share outside the bounds is that of white noise.
    "whiteness": (
        Rule(0.0, "good", "The residual is white: the past holds nothing more for the next tick.",
             "Nothing is needed; what is left is noise."),
        Rule(0.3, "fair", "The residual remembers its own past a little: up to a tenth of it could be predicted.",
             "Train longer, or add taps; record an unmeasured influence (wind, battery, load) if there is one."),
        Rule(inf, "poor", "The residual remembers its own past: sensor filtering or a slow influence is not modelled.",
             "Add taps or hidden units, and record raw sensors: filters that smooth a log correlate its errors."),
    ),
    # Largest correlation with inputs of the past that lie in the model's window, 0 where within the bounds.
    "missed input, in the window": (
        Rule(0.0, "good", "No input that the model sees is correlated with its error: it has made use of them.",
             "Nothing is needed."),
        Rule(0.1, "fair", "Inputs explain a trace of the error, under a hundredth of its power.",
             "Train longer if you act on single ticks; else leave it."),
        Rule(inf, "poor", "Inputs that the model sees still explain its error: their effect is only partly learned.",
             "Widen the network or train longer; a peak at lags 1 or 2 asks for faster sampling or exact timestamps."),
    ),
    # The same for inputs older than the window.
    "missed input, before the window": (
        Rule(0.0, "good", "No input from before the window is correlated with the error: the taps reach far enough.",
             "Nothing is needed."),
        Rule(0.1, "fair", "Inputs from before the window explain a trace of the error.",
             "Try more taps if the delay of the actuators is long."),
        Rule(inf, "poor", "Inputs from before the window explain the error: the robot answers later than taps reach.",
             "Raise taps beyond the lag of the peak, or sample slower."),
    ),
    # The same for inputs that came after the error (lag 0 and below).
    "feedback": (
        Rule(0.0, "good", "Later inputs do not depend on the error: the recordings are as good as open loop.",
             "Nothing is needed."),
        Rule(0.3, "fair", "Later inputs depend a little on the error: a controller closes the loop, as on most robots.",
             "Nothing is wrong with the model; add excitation that the controller does not choose."),
        Rule(inf, "poor", "Later inputs depend on the error: a controller answers it, and model and controller mix.",
             "Record with excitation added to the inputs, and check that inputs are not logged a tick late."),
    ),
    # Error of the worst forecast over the median one, where all channels stay in the range of training.
    "worst stretch, range known": (
        Rule(3.0, "good", "Even the worst forecast is close to a typical one.", "Nothing is needed."),
        Rule(10.0, "fair", "Some forecasts are several times worse than typical, within the range of training.",
             "Look at the plots for a common cause, and record more of that manoeuvre."),
        Rule(inf, "poor", "Some forecasts are far worse than typical in a range that was trained: contact, a bad log.",
             "Check the recording there; cut it out if it is faulty, else record more of this event."),
    ),
    # The same where channels leave it.
    "worst stretch, beyond the range": (
        Rule(3.0, "good", "Beyond the range of training even the worst forecast is close to a typical one.",
             "Record a little beyond the range you need."),
        Rule(10.0, "fair", "The worst forecasts are where channels leave the range of training.",
             "Record manoeuvres that reach this range, or keep the robot out of it."),
        Rule(inf, "poor", "Forecasts far worse than typical are where channels leave the range of training.",
             "Record manoeuvres that reach this range; until then let the novelty flag stop the use of forecasts."),
    ),
    # Median step time over the period of the robot.
    "latency": (
        Rule(0.1, "good", "A step takes under a tenth of the period on this machine.",
             "Measure again on the robot: rtsysid verify."),
        Rule(0.5, "fair", "A step takes a good part of the period on this machine.",
             "Measure on the robot, and reduce hidden or encoder if it is slower."),
        Rule(inf, "poor", "A step takes over half of the period: the deadline will be missed.",
             "Reduce hidden, encoder or taps, or run at a lower rate."),
    ),
    # How much the best validation loss fell in the last fifth of the epochs, as a share of itself.
    "training": (
        Rule(0.02, "good", "The validation loss had settled.", "More epochs will not help; more recordings may."),
        Rule(0.1, "fair", "The validation loss was still falling a little at the end.", "Raise effort in [train]."),
        Rule(inf, "poor", "The validation loss was still falling fast at the end.", "Raise effort in [train] first."),
    ),
}  # fmt: skip


SHOWN: Mapping[str, str] = {  # the worst value of a finding, in words
    "horizon error": "{up}{value:.2f} times the better baseline",
    "first-tick error": "{up}{value:.2f} times the better baseline",
    "one-step fit": "NRMSE {up}{value:.2g}",
    "free-run fit": "NRMSE {up}{value:.2f}",
    "bias": "{up}{value:.2f} standard deviations",
    "whiteness": "correlation {up}{value:.2f}",
    "missed input, in the window": "correlation {up}{value:.2f}",
    "missed input, before the window": "correlation {up}{value:.2f}",
    "feedback": "correlation {up}{value:.2f}",
    "worst stretch, range known": "{up}{value:.1f} times the median error",
    "worst stretch, beyond the range": "{up}{value:.1f} times the median error",
    "latency": "{up}{value:.2%} of the period",
    "training": "{value:.1%} less in the last fifth",
}


def rule_for(metric: str, value: float) -> Rule:
    """The first rule whose bound the value keeps; a value that is not a number takes the last."""
    return next((rule for rule in RULES[metric] if value <= rule.upto), RULES[metric][-1])


def findings(metric: str, values: Mapping[str, float]) -> list[Finding]:
    """Names joined by the rule that holds for them, the poorest first."""
    found: dict[Rule, list[str]] = {}
    for name, value in values.items():
        found.setdefault(rule_for(metric, value), []).append(name)
    order = sorted(found, key=RULES[metric].index, reverse=True)
    return [
        Finding(metric, tuple(found[rule]), max(values[name] for name in found[rule]), rule, len(found) == 1)
        for rule in order
    ]
