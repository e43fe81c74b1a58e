"""Credit that checks itself: what is measured, and what is chosen. No model here."""

import math

import pytest
import torch

from flowtracer.credit import Calibrated, Credit, token_credit
from flowtracer.credit.calibrated import (
    Difference,
    Record,
    bounds,
    measure,
    shares,
    window_weights,
)
from flowtracer.gradients.alignment import cosines, others

RULES = ("flow", "flow@end=bottom", "position", "answer_attention")
PARTS, NUMBERS, CALIBRATIONS = 8, 60, 12
# Squared noise of a part's gradient over that of the signal: of 24 problems x 8 responses on Countdown it
# is 2.7 (a cosine of 0.455 of one batch with nine others), and a part is an eighth.
NOISE = 8 * 2.7


def part_gradients(generator, strength):
    """(P, 2 + R, C): a signal and noise, of which rules share most with uniform weights.

    strength: of the signal in each rule; 1 is that of uniform weights.
    """
    scale = math.sqrt(NOISE / NUMBERS)
    signal = torch.zeros(NUMBERS)
    signal[0] = 1.0
    common = torch.randn(PARTS, NUMBERS, generator=generator) * scale
    rows = []
    for gain, shared in [(1.0, 0.9), (1.0, 1.0), *((rule_gain, 0.95) for rule_gain in strength)]:
        own = torch.randn(PARTS, NUMBERS, generator=generator) * scale
        rows.append(signal * gain + shared * common + math.sqrt(1 - shared**2) * own)
    return torch.stack(rows, 1)


def simulated(seed, strength, settings, calibrations=CALIBRATIONS, apart=0.0, later=None):
    """The rules in use after each calibration of a run.

    apart: length of what the mean gradient of each rule has beside the signal, the same in all
    calibrations, which makes a rule different without making it better. later: strength in the second half.
    """
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(2 + len(strength), NUMBERS, generator=generator) * apart / math.sqrt(NUMBERS)
    own[:2], own[:, 0] = 0.0, 0.0
    used, kept = [], []
    for number in range(calibrations):
        now = later if later is not None and number >= calibrations // 2 else strength
        kept = [*kept, part_gradients(generator, now) + own][-settings.window :]
        weights = window_weights([PARTS] * len(kept), settings.decay)
        record = measure(torch.cat(kept), weights=weights)
        differences = bounds(record, settings, number=number + 1, looks=calibrations)
        used.append(shares(dict(zip(settings.rules, differences, strict=True)), settings.choice))
    return used


def test_with_nothing_to_find_it_stays_uniform():
    """At every calibration, in at least 95 of 100 runs, with rules exactly as good as uniform."""
    settings = Calibrated(RULES)
    switched = sum(any(simulated(seed, (1.0,) * 4, settings)) for seed in range(100))
    assert switched <= 5


@pytest.mark.parametrize("apart", [1.0, 3.0])
def test_it_stays_uniform_if_rules_differ_without_being_better(apart):
    """The jackknife leaves out a part of the references too, so it sees the noise that they share."""
    settings = Calibrated(RULES)
    switched = sum(any(simulated(seed, (1.0,) * 4, settings, apart=apart)) for seed in range(100))
    assert switched <= 5


def test_a_planted_good_rule_is_picked_and_a_bad_one_is_not():
    settings = Calibrated(RULES)
    runs = [simulated(seed, (1.0, 1.8, 0.4, 1.0), settings) for seed in range(20)]
    assert sum(used[-1] == {"flow@end=bottom": 1.0} for used in runs) >= 16
    assert not any("position" in used for run in runs for used in run)


def test_a_rule_that_stops_being_better_is_given_up():
    used = simulated(0, (2.5,), Calibrated(("flow",)), calibrations=16, later=(0.3,))
    assert used[7] == {"flow": 1.0} and used[-1] == {}


def test_a_difference_is_that_of_cosines_with_the_other_parts():
    gradients = part_gradients(torch.Generator().manual_seed(1), (1.2, 0.7)).double()
    reference = others(gradients[:, 0])
    expected = [
        float((cosines(gradients[:, rule], reference) - cosines(gradients[:, 1], reference)).mean())
        for rule in (2, 3)
    ]
    record = measure(gradients)
    assert record.means == pytest.approx(expected)
    assert record.parts == PARTS

    def without(part, rule):
        return measure(torch.cat([gradients[:part], gradients[part + 1 :]])).means[rule]

    for rule in (0, 1):
        values = torch.tensor([without(part, rule) for part in range(PARTS)])
        jackknife = (PARTS - 1) / PARTS * float((values - values.mean()).square().sum())
        assert record.variances[rule] == pytest.approx(jackknife)


def test_a_part_of_weight_0_is_as_if_it_were_not_there():
    gradients = part_gradients(torch.Generator().manual_seed(4), (1.2, 0.7))
    weights = torch.ones(PARTS)
    weights[2] = 0.0
    without, rest = measure(gradients, weights=weights), [0, 1, *range(3, PARTS)]
    assert without.means == pytest.approx(measure(gradients[rest]).means)
    assert without.parts == PARTS - 1


def test_a_part_of_weight_2_counts_twice_in_the_mean_and_in_the_references():
    gradients = part_gradients(torch.Generator().manual_seed(5), (1.2,)).double()
    weights = torch.ones(PARTS, dtype=torch.float64)
    weights[0] = 2.0
    total = (weights[:, None] * gradients[:, 0]).sum(0)
    references = total - weights[:, None] * gradients[:, 0]
    cosine = [cosines(gradients[:, rule], references) for rule in (2, 1)]
    expected = float(((cosine[0] - cosine[1]) * weights).sum() / weights.sum())
    assert measure(gradients, weights=weights).means == pytest.approx([expected])


def test_a_window_weighs_parts_by_the_age_of_their_calibration():
    assert window_weights([2, 1], 0.5).tolist() == [0.5, 0.5, 1.0]


def test_the_first_batches_are_all_measured():
    settings = Calibrated(first=3, every=4)
    assert [batch for batch in range(10) if settings.measures(batch)] == [0, 1, 2, 4, 8]


def test_the_jackknife_is_not_too_narrow():
    """Its mean variance over many batches is at least the variance that the mean has."""
    generator = torch.Generator().manual_seed(0)
    records = [measure(part_gradients(generator, (1.0,))) for _ in range(300)]
    seen = torch.tensor([record.means[0] for record in records]).var()
    said = torch.tensor([record.variances[0] for record in records]).mean()
    assert 0.9 * seen < said < 3 * seen


def test_gradients_of_nothing_say_nothing():
    record = measure(torch.zeros(3, 3, 5))
    assert record.means == (0.0,) and record.variances == (0.0,)
    (difference,) = bounds(record, Calibrated(("flow",)), number=1, looks=1)
    assert shares({"flow": difference}, "hard") == {}


def test_bounds_are_students_at_the_shared_level():
    settings = Calibrated(RULES[:2], level=0.1)
    record = Record((0.4, -0.2), (0.01, 0.04), 8)
    first, second = bounds(record, settings, number=1, looks=2)
    # One-sided at 0.1 / (2 rules x 2 calibrations), 7 degrees of freedom.
    assert first.low == pytest.approx(0.4 - 2.3646 * 0.1, rel=1e-3)
    assert second.high == pytest.approx(-0.2 + 2.3646 * 0.2, rel=1e-3)
    assert (first.value, second.value) == (0.4, -0.2)


def test_more_rules_and_calibrations_ask_for_more():
    def low(*, rules=1, number=1, looks=None):
        record = Record((0.4,) * rules, (0.01,) * rules, 8)
        return bounds(record, Calibrated(RULES[:rules]), number=number, looks=looks)[0].low

    assert low(looks=1) > low(looks=20) == low(number=4, looks=20)
    assert low(looks=1) > low(rules=2, looks=1)
    assert low(number=1) > low(number=2) > low(number=9)  # if nobody knows how many there are
    assert low(number=3, looks=2) == low(number=3, looks=3)  # more than were planned


def test_shares_are_of_what_is_surely_better():
    differences = {
        "a": Difference(0.3, 0.1, 0.5),
        "b": Difference(0.4, 0.05, 0.8),
        "c": Difference(0.9, -0.1, 1.9),
    }
    assert shares(differences, "hard") == {"b": 1.0}
    assert shares(differences, "mixed") == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    assert shares({"c": differences["c"]}, "mixed") == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": ()}, "name at least one"),
        ({"rules": ("uniform",)}, "always among"),
        ({"rules": ("magic",)}, "magic"),
        ({"rules": ("flow", "flow")}, "named twice"),
        ({"parts": 2}, "parts is 2"),
        ({"every": 0}, "at least 1"),
        ({"decay": 1.0}, "decay"),
        ({"level": 0.0}, "level"),
        ({"choice": "soft"}, "choice is 'soft'"),
        ({"window": 0}, "window must be at least 1"),
    ],
)
def test_settings_without_meaning_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Calibrated(**changes)


def test_a_calibrated_credit_names_its_rules_once():
    credit = Credit(rule=Calibrated(RULES), answer="gsm8k", question="user")
    rules = credit.candidates()
    assert list(rules) == list(RULES)
    assert all(
        candidate.answer == "gsm8k" and candidate.question == "user" for candidate in rules.values()
    )
    function = Credit(rule=Calibrated(RULES), answer=str.split)
    assert all(credit.answer is str.split for credit in function.candidates().values())
    assert Credit(rule=Calibrated(("delimiters",))).needs_structure
    with pytest.raises(ValueError, match="rule is in the place of scorer"):
        Credit(scorer="position", rule=Calibrated())
    with pytest.raises(ValueError, match="chosen while a TRL trainer runs"):
        token_credit(None, None, credit)
