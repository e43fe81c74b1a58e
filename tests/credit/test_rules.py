"""The short form of credit rules."""

import pytest

from flowtracer.credit.rules import parse_rules


def test_rules_are_options_of_credit_and_grids_of_them():
    rules = parse_rules(["uniform", "flow@end=bottom,emphasis=0.5/3", "random@normalise=yes"])
    assert [rule.name for rule in rules] == [
        "uniform",
        "flow@end=bottom,emphasis=0.5",
        "flow@end=bottom,emphasis=3",
        "random@normalise=yes",
    ]
    credit = rules[2].credit(answer="boxed")
    assert (credit.selection.end, credit.weighting.emphasis, credit.answer) == (
        "bottom",
        3.0,
        "boxed",
    )
    assert rules[3].credit(answer="auto").weighting.normalise
    assert rules[0].credit(answer="auto") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flow@nothing=1", "'nothing=1' is unknown"),
        ("flow@emphasis=much", "emphasis is 'much'; it must be a number"),
        ("flow@normalise=maybe", "it must be yes or no"),
        ("flow@emphasis=-1", "rule 'flow@emphasis=-1': emphasis is -1.0"),
        ("uniform@emphasis=2", "uniform weights have no options"),
        ("flow@emphasis=2/2", "named twice"),
    ],
)
def test_rules_without_meaning_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_rules([text])
