"""The weights of a worker's part of a batch."""

import torch

from flowtracer.credit import Credit, Selection, Weighting, score_batch, token_credit
from flowtracer.credit.summary import COUNTED, credit_metrics
from flowtracer.integrations.verl.weights import response_weights
from flowtracer.scorers.batch import ScoreBatch


def row_by_row(embedded, sequences, credit):
    """Every response alone, without any padding: `token_credit` itself."""
    found = []
    for prompt, response, mask in zip(*sequences, strict=True):
        batch = score_batch(
            embedded.tokenizer,
            prompt_ids=prompt[None],
            prompt_mask=torch.ones(1, len(prompt), dtype=torch.long),
            completion_ids=response[None],
            completion_mask=torch.ones(1, len(response), dtype=torch.long),
            tool_mask=mask[None],
        )
        assert isinstance(batch, ScoreBatch)
        found.append(token_credit(embedded.model, batch, credit).weights[0, len(prompt) :])
    return found


def test_the_weights_are_those_of_token_credit(embedded, sequences, data):
    for credit in (Credit(), Credit(selection=Selection(ratio=0.2), weighting=Weighting("tanh"))):
        weights, _ = response_weights(
            embedded.model, embedded.tokenizer, data, credit, device="cpu"
        )
        expected = row_by_row(embedded, sequences, credit)
        for row in (0, 1, 3):
            torch.testing.assert_close(weights[row], expected[row], rtol=0, atol=1e-5)
        assert bool((expected[0] != 1).any()) and bool((expected[3] != 1).any())
        assert bool((expected[2] != 1).any()) and bool((weights[2] == 1).all())  # no advantage


def test_one_odd_response_has_weight_one_and_is_counted(embedded, data):
    weights, sums = response_weights(
        embedded.model, embedded.tokenizer, data, Credit(), device="cpu"
    )
    assert bool((weights[1] == 1).all())
    assert bool((weights[3][3:9] == 1).all())  # tool output
    count = dict(zip(COUNTED, sums.sum(0).tolist(), strict=True))
    assert count["unanswered"] == 1 and count["responses"] == 4 and count["worked"] == 2
    assert count["chosen"] == sum(int((row == 1.5).sum()) for row in weights.unbind())
    figures = credit_metrics(sums.sum(0))
    assert figures["no_answer"] == 0.25 and 0.4 <= figures["selected"] < 0.45
    assert abs(figures["mean_weight"] - (1 + 0.5 * figures["selected"])) < 1e-6


def test_the_shape_is_that_of_the_responses(embedded, data):
    weights, sums = response_weights(
        embedded.model, embedded.tokenizer, data, Credit(), device="cpu"
    )
    assert torch.equal(weights.offsets(), data["responses"].offsets())
    assert sums.shape == (4, len(COUNTED))


def test_responses_of_one_length_need_not_be_jagged(embedded, data):
    """A tensor of equal rows may arrive dense."""
    first = {name: torch.stack([value[0], value[0]]) for name, value in data.items()}
    weights, _ = response_weights(embedded.model, embedded.tokenizer, first, Credit(), device="cpu")
    jagged, _ = response_weights(embedded.model, embedded.tokenizer, data, Credit(), device="cpu")
    assert torch.equal(weights[1], jagged[0])


def test_a_batch_without_any_advantage_makes_no_forward(embedded, data):
    calls = []
    handle = embedded.model.model.layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
    still = {**data, "advantages": data["advantages"] * 0}
    weights, _ = response_weights(embedded.model, embedded.tokenizer, still, Credit(), device="cpu")
    handle.remove()
    assert not calls and bool((weights.values() == 1).all())
