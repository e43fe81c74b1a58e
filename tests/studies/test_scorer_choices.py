"""Scorers written as one word, and which tokens they take."""

import pytest
import torch

from flowtracer.credit import ScoreOptions
from flowtracer.studies.scorer_choices import choose, parse_scorer, parse_scorers


def test_a_scorer_is_read_from_one_word():
    choice = parse_scorer("flow@layers=2-4,edges=value,heads=far,answer_tokens=relay,end=bottom")
    assert choice.options == ScoreOptions("2-4", "relay", 0, "value", "far")
    assert (choice.scorer, choice.end, choice.among) == ("flow", "bottom", "all")
    assert parse_scorer("random@seed=2").label == parse_scorer("random").label == "random"
    assert parse_scorer("random@seed=2,end=bottom").label == "random@end=bottom"
    assert parse_scorer("flow@shuffled=yes").shuffled


@pytest.mark.parametrize(
    "text", ["sorcery", "flow@", "flow@end", "flow@end=up", "flow@depth=3", "random@seed=x"]
)
def test_a_scorer_that_is_unknown_is_refused(text):
    if text == "flow@":
        assert parse_scorer(text).options == ScoreOptions()
        return
    with pytest.raises(ValueError, match=r"sorcery|unknown|number"):
        parse_scorer(text)


def test_scorers_are_named_once():
    with pytest.raises(ValueError, match="each named once"):
        parse_scorers(["flow", "flow"])


def test_every_choice_takes_as_many_tokens():
    scores = torch.tensor([0.0, 5, 1, 4, 2, 3, 9, 7, 8, 6])
    eligible = torch.arange(10) > 0
    structural = torch.arange(10) % 2 == 0
    expected = {
        "flow": [6, 8, 7],
        "flow@end=bottom": [2, 4, 5],
        "flow@among=structural": [6, 8, 4],
        "flow@among=semantic": [7, 9, 1],
    }
    for name, tokens in expected.items():
        taken = choose(scores, eligible, parse_scorer(name), 0.3, structural)
        assert taken.nonzero()[:, 0].tolist() == sorted(tokens), name


def test_where_everything_is_excluded_nothing_is_taken():
    nothing = torch.zeros(3, dtype=torch.bool)
    taken = choose(torch.ones(3), nothing, parse_scorer("flow"), 0.2, nothing)
    assert not taken.any()
