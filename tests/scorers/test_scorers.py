"""What all scorers have in common."""

import pytest
import torch
from helpers.models import ARCHITECTURES, SIZE, random_model, texts
from helpers.scores import alone, batch_of, long_batch, odd_rows, padded, stacked
from transformers import AutoModel, LlamaConfig

from flowtracer import AttentionCaptureError
from flowtracer.credit import Credit, token_credit
from flowtracer.scorers import SCORERS, Scorer, score_tokens


@pytest.mark.parametrize("name", SCORERS)
def test_padding_and_batch_mates_change_nothing(name, model):
    batch = long_batch()
    together = score_tokens(model, batch, [name])[name]
    assert together.shape == batch.input_ids.shape and together.is_floating_point()
    assert float(together.sum()) > 0
    for row in range(3):
        single = alone(batch, row)
        for left, right in ((0, 0), (9, 0), (0, 9), (4, 5)):
            mate = torch.randint(3, 97, (1, 40 + left + right))
            rows = stacked(padded(single, left, right), batch_of(mate))
            got = score_tokens(model, rows, [name])[name][0]
            inside = rows.candidates[0]
            expected = together[row, batch.candidates[row]]
            slack = 1e-4 * float(expected.max())
            torch.testing.assert_close(got[inside], expected, rtol=2e-3, atol=slack)


@pytest.mark.parametrize("name", [name for name in SCORERS if not SCORERS[name].after_answer])
def test_what_follows_the_answer_neither_scores_nor_matters(name, model):
    batch = long_batch()
    whole = score_tokens(model, batch, [name])[name]
    cut = score_tokens(model, batch.take(torch.arange(3), slice(0, 14)), [name])[name]
    slack = 1e-4 * float(whole.max())
    torch.testing.assert_close(cut, whole[:, :14], rtol=2e-3, atol=slack)
    assert float(whole[:, 14:].abs().sum()) == 0


@pytest.mark.parametrize("name", [name for name in SCORERS if SCORERS[name].after_answer])
def test_what_follows_the_answer_is_needed(name, model):
    batch = long_batch()
    assert float(score_tokens(model, batch, [name])[name][:, 14:].sum()) > 0


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2", "gpt-oss"])
def test_odd_rows_are_finite_and_not_negative(architecture):
    batch = odd_rows()
    scores = score_tokens(random_model(architecture), batch, list(SCORERS))
    for name, values in scores.items():
        assert values.shape == batch.input_ids.shape, name
        assert bool(values.isfinite().all() & (values >= 0).all()), name


def test_a_broken_model_gives_finite_scores():
    model = random_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = torch.nan
    batch = batch_of(texts("none")[0])
    batch.input_ids[0, 8] = 7
    sound = batch.take(torch.arange(1, 3))
    expected = score_tokens(model, sound, list(SCORERS))
    for name, scores in score_tokens(model, batch, list(SCORERS)).items():
        assert bool(scores.isfinite().all() & (scores >= 0).all()), name
        slack = 1e-4 * float(expected[name].max())
        torch.testing.assert_close(scores[1:], expected[name], rtol=2e-3, atol=slack)


def test_all_scorers_together_are_each_alone(model):
    batch = long_batch()
    together = score_tokens(model, batch, list(SCORERS))
    for name in SCORERS:
        torch.testing.assert_close(together[name], score_tokens(model, batch, [name])[name])


def test_half_precision(model):
    half = random_model("qwen3").bfloat16()
    for name, scores in score_tokens(half, long_batch(), list(SCORERS)).items():
        assert scores.dtype == torch.float32, name
        assert bool(scores.isfinite().all() & (scores >= 0).all()), name


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gives_every_score(name):
    short = name in ("mistral", "gemma3")  # their middle layers see 8 tokens, FAI begins at 10
    for scorer, scores in score_tokens(random_model(name), long_batch(), list(SCORERS)).items():
        assert (float(scores.sum()) > 0) != (short and scorer in ("fai", "rhythm")), scorer


def test_models_that_cannot_be_scored_are_named():
    batch = long_batch()
    headless = AutoModel.from_config(LlamaConfig(**SIZE))
    with pytest.raises(AttentionCaptureError, match="LlamaModel has no language-model head"):
        score_tokens(headless, batch, ["entropy"])
    assert float(score_tokens(headless, batch, ["correlation"])["correlation"].sum()) > 0
    sharded = random_model("llama")
    next(sharded.parameters()).ds_id = 0
    with pytest.raises(AttentionCaptureError, match="sharded by FSDP or ZeRO-3"):
        score_tokens(sharded, batch, ["gradient"])
    with pytest.raises(ValueError, match="scorer 'luck' is unknown; use one of flow, random"):
        score_tokens(sharded, batch, ["luck"])


def test_a_new_scorer_is_one_function_and_one_line_of_the_table(model, monkeypatch):
    def early(evidence, options):
        """Early tokens of the response score high."""
        return 1 / evidence.batch.candidates.cumsum(1).clamp(min=1)

    monkeypatch.setitem(SCORERS, "early", Scorer(early))
    batch = long_batch()
    scores = score_tokens(model, batch, ["early", "position"])
    torch.testing.assert_close(1 / scores["early"], scores["position"].clamp(min=1))
    chosen = token_credit(model, batch, Credit(scorer="early")).chosen
    assert chosen[0].nonzero()[:, 0].tolist() == list(range(6, 6 + 14))  # the first 40% of 34
