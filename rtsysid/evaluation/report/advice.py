"""Look up what the value of a metric means and what to do next, in one table of rules.

Every metric is one number, and smaller is better. For each metric the first rule whose bound holds applies. The
thresholds are conventions of this project, not of a standard: they rank weaknesses by how much there is to gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Literal, NamedTuple, TypeAlias

Grade: TypeAlias = Literal["good", "fair", "poor"]


class Rule(NamedTuple):
    """State for values up to `upto`: a grade, the meaning, and what to do or record next.

    ``with_path``: what to do where the model has a linear path already; empty where that changes nothing.
    """

    upto: float
    grade: Grade
    meaning: str
    next: str
    with_path: str = ""


class ModelFacts(NamedTuple):
    """Hold what advice must know of a model. ``needed_taps``: rows that would reach what it misses; 0: not known."""

    linear_path: bool = False
    taps: int = 0
    needed_taps: int = 0
    hidden: int = 0
    encoder: tuple[int, ...] = ()

    def next_step(self, rule: Rule) -> str:
        """Return what to do next with this model."""
        text = rule.with_path if self.linear_path and rule.with_path else rule.next
        more = f" from {self.taps} to {self.needed_taps}" if self.needed_taps > self.taps else f" beyond {self.taps}"
        smaller = "hidden or encoder" if self.encoder else "hidden"
        return text.format(taps=f"model.taps{more}", wider=f"model.hidden (now {self.hidden})", smaller=smaller)


class Advice(NamedTuple):
    """Report the rule that applies to `names`; `value` is their worst value, `all` says that no other names exist.

    ``detail``: where the worst value was found, in words.
    """

    metric: str
    names: tuple[str, ...]
    value: float
    rule: Rule
    all: bool
    detail: str = ""
    next: str = ""

    @property
    def label(self) -> str:
        """Join the names, or write the word "all" with their number."""
        return f"all {len(self.names)}" if self.all and len(self.names) > 2 else ", ".join(self.names)

    @property
    def value_text(self) -> str:
        """Write the value as text with its unit."""
        detail = f", {self.detail}" if self.detail else ""
        if self.value == 0 and "correlation" in VALUE_TEXTS[self.metric]:
            return f"no correlation beyond chance{detail}"
        return VALUE_TEXTS[self.metric].format(up="up to " if len(self.names) > 1 else "", value=self.value) + detail


RULES: Mapping[str, tuple[Rule, ...]] = {
    # Mean error at the last tick of the horizon, divided by the error of the better baseline.
    "horizon error": (
        Rule(0.7, "good", "The model clearly beats both baselines over the horizon.",
             "Use it over this horizon. For a longer one, train with a longer rollout horizon."),
        Rule(1.15, "fair", "The model is about as good as a baseline at the end of the horizon.",
             "Train longer with a rollout loss over this horizon, and record more of the manoeuvres shown as worst."),
        Rule(inf, "poor", "A baseline is better at the end of the horizon: the network has no benefit here.",
             "Use the baseline, or set linear_path = true, train with longer rollouts, record more varied motion.",
             "Use the linear model (train --linear), or train longer rollouts on more varied motion."),
    ),
    # The same ratio at the first tick.
    "first-tick error": (
        Rule(1.05, "good", "One tick ahead the model keeps up with the best baseline.",
             "Keep the one-step loss."),
        Rule(2.0, "fair", "One tick ahead a baseline is better. This matters only if you use the next tick alone.",
             "Give the one-step loss more weight, or set linear_path = true.",
             "Give the one-step loss more weight. The model has a linear path already."),
        Rule(inf, "poor", "One tick ahead a baseline is more than twice as good.",
             "Set linear_path = true: a linear map then predicts, and the network corrects it.",
             "The linear path is overruled: raise weight_decay, or give the one-step loss more weight."),
    ),
    # NRMSE one tick ahead.
    "one-step fit": (
        Rule(0.05, "good", "One tick ahead almost all of the motion is explained.",
             "Compare models by the free run instead: one tick ahead most models are similar."),
        Rule(0.3, "fair", "One tick ahead a visible part of the motion is not explained.",
             "Check the noise of this sensor first. If the error is larger, raise {wider} or train longer."),
        Rule(inf, "poor", "One tick ahead much of the motion is not explained.",
             "Plot this channel; look for noise, wrong units or delayed timestamps before you train again."),
    ),
    # NRMSE at the last tick of the horizon.
    "free-run fit": (
        Rule(0.3, "good", "At the end of the horizon in free run most of the motion is still explained.",
             "You can use a longer horizon."),
        Rule(0.8, "fair", "At the end of the horizon a large part of the motion is not explained.",
             "Use a shorter horizon, or train with a longer rollout loss and more recordings."),
        Rule(inf, "poor", "At the end of the horizon the forecast is hardly better than the mean of the channel.",
             "Do not use it over this horizon. Look for an input that is not recorded, or acts later than the window."),
    ),
    # Mean residual over its standard deviation.
    "bias": (
        Rule(0.1, "good", "The one-step error has no constant part.", "Nothing to do."),
        Rule(0.5, "fair", "The one-step error has a constant part: sensors or the robot have drifted since training.",
             "Train on recordings of several days, batteries and calibrations."),
        Rule(inf, "poor", "Most of the one-step error is a constant offset that the training data did not contain.",
             "Compare calibration, payload and trim of these recordings with those of training."),
    ),
    # Largest correlation of the residual with itself, 0 where the share outside the bounds is that of white noise.
    "whiteness": (
        Rule(0.0, "good", "The residual is white: earlier samples contain no more information on the next tick.",
             "Nothing to do: the rest is noise."),
        Rule(0.3, "fair", "The residual is slightly correlated in time: up to a tenth of its power is predictable.",
             "Train longer. Record an unmeasured influence (wind, battery, load) if there is one."),
        Rule(inf, "poor", "The residual is correlated in time: sensor filtering or a slow influence is not modelled.",
             "Record raw sensors: smoothing a log correlates its errors. Record wind, battery or load as inputs."),
    ),
    # Largest correlation with earlier inputs inside the model's window, 0 where within the bounds.
    "missed input, in the window": (
        Rule(0.0, "good", "No input in the window is correlated with the error: the model uses them fully.",
             "Nothing to do."),
        Rule(0.1, "fair", "Inputs explain less than a hundredth of the power of the error.",
             "Train longer if you use single ticks. Otherwise there is nothing to do."),
        Rule(inf, "poor", "Inputs in the window still explain the error: their effect is only partly learned.",
             "Raise {wider} or train longer. For a peak at lags 1 or 2: faster sampling or exact timestamps."),
    ),
    # The same for inputs older than the window.
    "missed input, before the window": (
        Rule(0.0, "good", "No input from before the window is correlated with the error: there are enough taps.",
             "Nothing to do."),
        Rule(0.1, "fair", "Inputs from before the window explain a small part of the error.",
             "Raise {taps} if the next forecasts matter."),
        Rule(inf, "poor", "Inputs from before the window explain the error: there are too few taps.",
             "Raise {taps}, shift the input by its delay (shift_s), or sample slower."),
    ),
    # The same for inputs that came after the error (lag 0 and below).
    "feedback": (
        Rule(0.0, "good", "Later inputs do not depend on the error: the recordings are as good as open loop.",
             "Nothing to do."),
        Rule(0.3, "fair", "Later inputs depend slightly on the error: a controller closes the loop, as on most robots.",
             "Nothing is wrong with the model. Add excitation that does not come from the controller."),
        Rule(inf, "poor", "Later inputs depend on the error: the controller reacts to it and may bias the model.",
             "Record with excitation added to the inputs, and check that inputs are not logged one tick late."),
    ),
    # Error of the worst forecast over the error of the median one, where all channels stay in the range of training.
    "worst forecast, range known": (
        Rule(3.0, "good", "Even the worst forecast is close to a typical one.", "Nothing to do."),
        Rule(10.0, "fair", "Some forecasts are several times worse than typical, within the range of training.",
             "Look for a common cause in the plots, and record more of that manoeuvre."),
        Rule(inf, "poor", "Some forecasts are far worse than typical within the trained range: contact, a faulty log.",
             "Check the recording there. Cut it out if it is faulty, else record more of this event."),
    ),
    # The same where channels leave the range of training.
    "worst forecast, beyond the range": (
        Rule(3.0, "good", "Beyond the range of training even the worst forecast is close to a typical one.",
             "Record a little beyond the range you need."),
        Rule(10.0, "fair", "In the worst forecasts channels leave the range of training.",
             "Record manoeuvres that reach this range, or keep the robot out of it."),
        Rule(inf, "poor", "Forecasts that are far worse than typical have channels outside the range of training.",
             "Record manoeuvres that reach this range. Until then do not use forecasts that carry the novelty flag."),
    ),
    # Median step time over the period of the robot.
    "latency": (
        Rule(0.1, "good", "A step takes under a tenth of the period on this machine.",
             "Measure again on the robot: rtsysid verify."),
        Rule(0.5, "fair", "A step takes between a tenth and half of the period on this machine.",
             "Measure on the robot. Reduce {smaller} if it is slower."),
        Rule(inf, "poor", "A step takes over half of the period: the loop will miss its deadline.",
             "Reduce {smaller} or taps, or run at a lower rate."),
    ),
    # Relative decrease of the best validation loss over the last fifth of the epochs.
    "training": (
        Rule(0.02, "good", "The validation loss has converged.", "More epochs will not help; more recordings may."),
        Rule(0.1, "fair", "The validation loss was still falling slowly at the end.", "Raise effort in [train]."),
        Rule(inf, "poor", "The validation loss was still falling fast at the end.", "Raise effort in [train] first."),
    ),
}  # fmt: skip


VALUE_TEXTS: Mapping[str, str] = {  # text for the worst value of a finding
    "horizon error": "{up}{value:.2f} times the better baseline",
    "first-tick error": "{up}{value:.2f} times the better baseline",
    "one-step fit": "NRMSE {up}{value:.2g}",
    "free-run fit": "NRMSE {up}{value:.2f}",
    "bias": "{up}{value:.2f} standard deviations",
    "whiteness": "correlation {up}{value:.2f}",
    "missed input, in the window": "correlation {up}{value:.2f}",
    "missed input, before the window": "correlation {up}{value:.2f}",
    "feedback": "correlation {up}{value:.2f}",
    "worst forecast, range known": "{up}{value:.1f} times the median error",
    "worst forecast, beyond the range": "{up}{value:.1f} times the median error",
    "latency": "{up}{value:.2%} of the period",
    "training": "{value:.1%} lower after the last fifth of the epochs",
}


def rule_for(metric: str, value: float) -> Rule:
    """Find the first rule whose bound is not exceeded; NaN gets the last rule."""
    return next((rule for rule in RULES[metric] if value <= rule.upto), RULES[metric][-1])


def advice_for(
    metric: str,
    values: Mapping[str, float],
    details: Mapping[str, str] | None = None,
    facts: ModelFacts = ModelFacts(),  # noqa: B008
) -> list[Advice]:
    """Group the names by the rule that applies to their value, the poorest grade first.

    `details`: by name, where its value was found. `facts`: the model that is advised on.
    """
    by_rule: dict[Rule, list[str]] = {}
    for name, value in values.items():
        by_rule.setdefault(rule_for(metric, value), []).append(name)
    order = sorted(by_rule, key=RULES[metric].index, reverse=True)
    found = (_advice(metric, by_rule[rule], values, rule, len(by_rule) == 1, details or {}) for rule in order)
    return [each._replace(next=facts.next_step(each.rule)) for each in found]


def _advice(
    metric: str, names: list[str], values: Mapping[str, float], rule: Rule, every: bool, details: Mapping[str, str]
) -> Advice:
    worst = max(names, key=lambda name: values[name])
    return Advice(metric, tuple(names), values[worst], rule, every, details.get(worst, ""))
