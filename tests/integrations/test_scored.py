"""Weights from a separate scorer, for frameworks whose models show no attention."""

import pytest
import torch
from helpers.plug_ins import weights_alone
from helpers.responses import GOOD, NO_BOX, SHORT
from helpers.scoring import PROMPT, scoring_server

from flowtracer import Scorer
from flowtracer.credit import Credit, Selection, Weighting
from flowtracer.integrations.scored import (
    ResponseWeights,
    ScorerSettings,
    check_server,
    own_scorer,
    read_settings,
    response_weights,
    weight_figures,
    weighted,
)

TOKEN = "0123456789abcdef"


@pytest.fixture
def sequences(embedded):
    """Token ids of prompt and response, and the mask of each response; the last has tool output."""
    ids, masks = [], []
    for text in (GOOD, NO_BOX, SHORT, GOOD):
        asked, response = (
            embedded.tokenizer(piece, add_special_tokens=False)["input_ids"]
            for piece in (PROMPT.format(a=3), text)
        )
        ids.append(torch.tensor(asked + response))
        masks.append(torch.ones(len(response), dtype=torch.int))
    masks[3][5:14] = 0
    return ids, masks


def test_weights_are_those_of_token_credit(embedded, sequences):
    for credit in (Credit(), Credit(selection=Selection(ratio=0.2), weighting=Weighting("tanh"))):
        weighed = response_weights(Scorer(embedded, rule=credit), *sequences, [True] * 4)
        for weights, ids, mask in zip(weighed.weights, *sequences, strict=True):
            torch.testing.assert_close(weights, weights_alone(embedded, ids, mask, credit))
        weighted_rows = [bool((row != 1).any()) for row in weighed.weights]
        assert weighted_rows == [True, False, True, True]
        assert weighed.failed == [False, True, False, False]
        assert bool((weighed.weights[3][5:14] == 1).all()) and bool((weighed.weights[0] != 1).any())


def test_a_server_gives_the_same(embedded, sequences):
    with scoring_server(Scorer(embedded), token=TOKEN) as (address, _):
        settings = read_settings({"url": address.partition("#")[0], "token": TOKEN})
        check_server(settings)
        weighed = response_weights(own_scorer(settings), *sequences, [True] * 4)
        with pytest.raises(PermissionError):
            check_server(read_settings({"url": settings.url, "token": "another"}))
    own = response_weights(Scorer(embedded), *sequences, [True] * 4)
    assert all(map(torch.equal, weighed.weights, own.weights)) and weighed.failed == own.failed


def test_many_responses_are_asked_for_in_parts(embedded, sequences, monkeypatch):
    asked = []

    class Counting(Scorer):
        def weights(self, input_ids, **rest):
            asked.append(len(input_ids))
            return super().weights(input_ids, **rest)

    monkeypatch.setattr("flowtracer.integrations.scored.PART", 3)
    weighed = response_weights(Counting(embedded), *sequences, [True, True, False, True])
    assert asked == [3]
    response_weights(Counting(embedded), *sequences, [True] * 4)
    assert asked == [3, 3, 1] and bool((weighed.weights[2] == 1).all()) and not weighed.failed[2]


def test_nothing_is_asked_where_nothing_is_learned(sequences):
    ids, masks = sequences
    still = response_weights(None, ids, masks, [False] * 4)
    masked = response_weights(None, ids, [mask * 0 for mask in masks], [True] * 4)
    empty = response_weights(None, [], [], [])
    for weighed in (still, masked, empty):
        assert all(bool((row == 1).all()) for row in weighed.weights) and not any(weighed.failed)


def test_a_response_that_the_scorer_refuses_has_weight_one(embedded, sequences):
    ids, masks = sequences
    plain = response_weights(Scorer(embedded), ids, masks, [True] * 4)
    ids[0][-3] = 10**6
    ids[2][1] = -1
    with pytest.warns(UserWarning, match="a response has weight 1: .*vocabulary"):
        weighed = response_weights(Scorer(embedded), ids, masks, [True] * 4)
    assert weighed.failed == [True, True, True, False]
    assert bool((weighed.weights[0] == 1).all()) and torch.equal(
        weighed.weights[3], plain.weights[3]
    )


def test_settings_name_a_model_or_a_server():
    settings = read_settings({"model": "m", "ratio": 0.2, "checkpoints": "runs", "every": 50})
    credit = Credit(selection=Selection(ratio=0.2))
    assert settings == ScorerSettings("m", credit, checkpoints="runs", every=50)
    assert not settings.neutral and read_settings({"model": "m", "emphasis": 1}).neutral
    server = read_settings({"url": "http://h:1", "token": "t"})
    assert server == ScorerSettings(url="http://h:1", token="t") and not server.neutral


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, "needs model or url"),
        ({}, "needs model or url"),
        ({"model": "m", "url": "http://h"}, "one of them"),
        ({"url": "http://h", "answer": "boxed"}, "flow_credit.answer has no effect beside"),
        ({"url": "h:80"}, "such as http"),
        ({"model": "m", "share": 0.4}, "'share'.*docs/slime.md"),
        ({"model": "m", "answer": "nowhere"}, "answer rule 'nowhere' is unknown"),
        ({"model": "m", "question": "user"}, "use 'prompt'"),
        ({"model": "m", "every": 0}, "every"),
        ({"model": "m", "every": "often"}, "every"),
        (
            {"model": "m", "every": 5},
            "flow_credit.every has no effect without flow_credit.checkpoints",
        ),
        ({"model": 5}, "flow_credit.model is 5"),
        ({"model": "m", "checkpoints": 5}, "flow_credit.checkpoints is 5"),
        ({"model": "m", "normalise": "no"}, "normalise is 'no'; it must be true or false"),
        ({"model": "m", "ratio": "0.4"}, "ratio is '0.4'; it must be a number"),
        ({"model": "m", "layers": [1, 2]}, "layers is .*; it must be a text"),
        ({"model": "m", "emphasis": True}, "emphasis is True; it must be a number"),
        ({"model": "m", "tile_above": "x"}, "tile_above is 'x'; it must be a whole number"),
        ({"url": "http://h", "token": "a\nb"}, "token must consist of plain ASCII"),
    ],
)
def test_wrong_settings_get_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as refused:
        read_settings(options)
    assert "\n" not in str(refused.value)


def test_weighted_advantages_stay_where_the_mask_is_not_set():
    advantages, weights = torch.tensor([2.0, 2.0, 2.0]), torch.tensor([1.5, 1.5, 1.0])
    assert weighted(advantages, weights, torch.tensor([1, 0, 1])).tolist() == [3.0, 2.0, 2.0]
    assert weighted(advantages[:0], weights[:0], torch.tensor([])).tolist() == []
    half = weighted(advantages.bfloat16(), weights, torch.tensor([1, 1, 1]))
    assert half.dtype == torch.bfloat16


def test_figures_of_each_response():
    weights = [torch.tensor([1.5, 1.0, 1.0, 1.0]), torch.ones(2), torch.ones(0)]
    masks = [torch.tensor([1, 1, 0, 0]), torch.ones(2), torch.ones(0)]
    weighed = ResponseWeights(weights, [False, True, False])
    assert weight_figures(weighed, masks) == {
        "mean_weight": [1.25, 1.0, 1.0],
        "selected": [0.5, 0.0, 0.0],
        "not_weighted": [0.0, 1.0, 0.0],
    }
