"""Every scorer reads a response with its pictures, or says that it does not."""

from dataclasses import replace

import pytest
import torch
from helpers.pictures import picture_model, picture_rows

from flowtracer import AttentionCaptureError
from flowtracer.credit import Credit, token_credit
from flowtracer.models.pictures import model_inputs
from flowtracer.scorers import SCORERS, ScoreOptions, score_tokens
from flowtracer.scorers.batch import ScoreBatch

NAMES = ("qwen2_5_vl", "qwen3_vl", "gemma3")
PROMPT = 22  # columns


def picture_batch(model, name):
    ids, mask, processed = picture_rows(name)
    column = torch.arange(ids.shape[1])[None]
    real = mask > 0
    return ScoreBatch(
        ids,
        mask,
        question=(column < PROMPT) & real,
        candidates=(column >= PROMPT) & real,
        answer=((column >= 29) & real).float(),
        structural=ids % 5 == 0,
        model_inputs=model_inputs(model, processed, ids),
    )


@pytest.fixture(scope="module", params=NAMES)
def pictured(request):
    model = picture_model(request.param)
    return model, picture_batch(model, request.param)


@pytest.mark.parametrize("name", SCORERS)
def test_scores_of_a_batch_are_those_of_each_row_alone(pictured, name):
    model, batch = pictured
    together = score_tokens(model, batch, [name])[name]
    for row in range(len(batch.input_ids)):
        start = int(batch.attention_mask[row].argmax())
        alone = batch.take(torch.tensor([row]), slice(start, None))
        own = score_tokens(model, alone, [name])[name][0]
        own, batched = own[alone.candidates[0]], together[row, start:][alone.candidates[0]]
        torch.testing.assert_close(batched, own, atol=1e-4, rtol=1e-3)


FAR = {"fai", "rhythm"}  # look 10 tokens ahead; they read what "waad" reads


@pytest.mark.parametrize("name", [n for n, s in SCORERS.items() if s.needs and n not in FAR])
def test_scores_depend_on_the_picture(pictured, name):
    model, batch = pictured
    rows = [dict(row) for row in batch.model_inputs.rows]
    rows[0]["pixel_values"] = -rows[0]["pixel_values"]
    other = replace(batch.model_inputs, rows=tuple(rows))
    changed = ScoreBatch(**{**vars(batch), "model_inputs": other})
    before, after = (score_tokens(model, variant, [name])[name] for variant in (batch, changed))
    assert not torch.allclose(before[0], after[0], rtol=1e-3)
    torch.testing.assert_close(before[1:], after[1:], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("options", [ScoreOptions(edges="value"), ScoreOptions(edges="no-sink"),
                                     ScoreOptions(heads="far")])  # fmt: skip
def test_every_graph_is_read_with_pictures(pictured, options):
    model, batch = pictured
    scores = score_tokens(model, batch, ["flow"], options=options)["flow"]
    assert (scores.amax(1) > 0).all()


def test_a_scorer_of_another_package_refuses_pictures(pictured):
    pytest.importorskip("flashtrace")
    model, batch = pictured
    with pytest.raises(AttentionCaptureError, match="reads texts only, and there are pictures"):
        score_tokens(model, batch, ["flashtrace"])


def test_credit_is_that_of_each_response_alone(pictured):
    model, batch = pictured
    weights = token_credit(model, batch, Credit()).weights
    for row in range(3):
        alone = token_credit(model, batch.take(torch.tensor([row])), Credit()).weights
        torch.testing.assert_close(weights[row], alone[0], atol=1e-4, rtol=0)
    repeated = batch.take(
        torch.tensor([2, 0, 0, 1, 0])
    )  # as a trainer repeats and shuffles prompts
    again = token_credit(model, repeated, Credit()).weights
    torch.testing.assert_close(again, weights[[2, 0, 0, 1, 0]], atol=1e-4, rtol=0)


def test_responses_whose_pictures_are_missing_have_weight_1_and_are_warned_of(pictured):
    model, batch = pictured
    blind = ScoreBatch(**{**vars(batch), "model_inputs": None})
    with pytest.warns(UserWarning, match="2 responses have tokens that stand for pictures"):
        result = token_credit(model, blind, Credit())
    assert (result.weights[[0, 2]] == 1).all() and not result.scored[[0, 2]].any()
    assert result.scored[1]
