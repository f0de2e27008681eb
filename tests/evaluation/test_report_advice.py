"""Test the table of advice: complete, in order, and selected by the value."""

from __future__ import annotations

import math

import pytest

from rtsysid.evaluation.report.advice import RULES, VALUE_TEXTS, ModelFacts, advice_for, rule_for

GRADES = ["good", "fair", "poor"]


@pytest.mark.parametrize("metric", RULES)
def test_every_value_has_one_rule(metric: str) -> None:
    """Bounds rise to infinity and grades fall with them, so that each value, and one that is no number, has advice."""
    rules = RULES[metric]
    bounds = [rule.upto for rule in rules]
    assert bounds == sorted(set(bounds))
    assert bounds[-1] == math.inf
    assert [rule.grade for rule in rules] == GRADES
    assert rule_for(metric, math.nan).grade == "poor"


@pytest.mark.parametrize("metric", RULES)
def test_a_rule_holds_up_to_its_bound(metric: str) -> None:
    """At its bound a rule still holds, and just above it the next does."""
    for rule, following in zip(RULES[metric], RULES[metric][1:], strict=False):
        assert rule_for(metric, rule.upto) is rule
        assert rule_for(metric, math.nextafter(rule.upto, math.inf)) is following


@pytest.mark.parametrize("metric", RULES)
def test_every_rule_says_what_it_means_and_what_to_do(metric: str) -> None:
    """Both parts are whole sentences, and no two values of a metric get the same meaning."""
    for rule in RULES[metric]:
        for sentence in (rule.meaning, rule.next):
            assert sentence[0].isupper()
            assert sentence.endswith(".")
    assert len({rule.meaning for rule in RULES[metric]}) == len(RULES[metric])


def test_names_of_one_rule_are_joined_and_the_poorest_come_first() -> None:
    """Three outputs under two rules make two findings, each with its worst value."""
    found = advice_for("bias", {"x": 0.05, "y": 0.7, "z": 0.01})
    assert [(f.label, f.value, f.rule.grade) for f in found] == [
        ("y", 0.7, "poor"),
        ("x, z", 0.05, "good"),
    ]


def test_every_metric_has_a_text_for_its_value() -> None:
    """Every metric shows its worst value in words; one rule for many names says all; chance is no correlation."""
    assert set(VALUE_TEXTS) == set(RULES)
    (found,) = advice_for("whiteness", {"x": 0.5, "y": 0.4, "z": 0.6})
    assert (found.label, found.value_text) == ("all 3", "correlation up to 0.60")
    (found,) = advice_for("feedback", {"x": 0.0})
    assert (found.label, found.value_text) == ("x", "no correlation beyond chance")


@pytest.mark.parametrize(
    ("metric", "value", "word"),
    [
        ("missed input, before the window", 0.4, "taps"),
        ("missed input, in the window", 0.4, "faster sampling"),
        ("feedback", 0.4, "excitation"),
        ("worst forecast, beyond the range", 20.0, "Record manoeuvres"),
        ("horizon error", 1.2, "baseline"),
        ("latency", 0.9, "run at a lower rate"),
    ],
)
def test_the_remedy_fits_the_fault(metric: str, value: float, word: str) -> None:
    """The table gives the remedy for a fault."""
    assert word in rule_for(metric, value).next


HAS_PATH = ModelFacts(linear_path=True, taps=8, needed_taps=21, hidden=32)


@pytest.mark.parametrize("metric", RULES)
def test_advice_never_names_what_the_model_has(metric: str) -> None:
    """To a model with a linear path no rule says to add one; no placeholder of a rule is left in its text."""
    for value in (0.0, *(rule.upto for rule in RULES[metric])):
        for facts in (HAS_PATH, ModelFacts()):
            (found,) = advice_for(metric, {"y": value}, facts=facts)
            assert "{" not in found.next
        assert "linear_path = true" not in advice_for(metric, {"y": value}, facts=HAS_PATH)[0].next


def test_advice_on_taps_says_how_many() -> None:
    """Where taps are missing the advice says from how many to how many."""
    (found,) = advice_for("missed input, before the window", {"y": 0.4}, facts=HAS_PATH)
    assert "model.taps from 8 to 21" in found.next
