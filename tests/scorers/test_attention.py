"""Scores from averaged attention against loops over eager attention."""

import torch
from helpers.models import eager_attentions, texts
from helpers.scores import batch_of, long_batch

from flowtracer.attention import mean_attention
from flowtracer.scorers import ScoreOptions, score_tokens
from flowtracer.scorers.attention import strips_below_diagonal
from flowtracer.scorers.evidence import gather_evidence


def test_scores_from_averaged_attention(model):
    ids, mask = texts("both")
    batch = batch_of(ids, mask)
    names = ["attention_max", "answer_attention", "rollout"]
    scores = score_tokens(model, batch, names, options=ScoreOptions(layers=(1, 4)))
    for row in range(3):
        real = mask[row] > 0
        kept = eager_attentions(model, ids[row, real])
        mean = torch.stack([kept[1], kept[4]]).mean((0, 1))
        inside, answer = batch.candidates[row, real], batch.answer[row, real]
        length = int(real.sum())
        expected = {name: torch.zeros(length) for name in names}
        for t in range(length):
            later = [float(mean[k, t]) for k in range(t + 1, length) if inside[k]]
            expected["attention_max"][t] = max(later, default=0.0)
            looks = [float(answer[k] * mean[k, t]) for k in range(length)]
            expected["answer_attention"][t] = sum(looks) / float(answer.sum())
        step = 0.5 * mean.tril(-1) + 0.5 * torch.eye(length)
        expected["rollout"] = answer / answer.sum() @ step @ step
        for name in names:
            torch.testing.assert_close(
                scores[name][row, real], expected[name], rtol=2e-3, atol=2e-5
            )


def test_the_matrix_is_that_of_mean_attention(model):
    batch = long_batch()
    options, needs = ScoreOptions(layers="early"), frozenset({"attention", "heads"})
    evidence = gather_evidence(model, batch, needs, options)
    expected = mean_attention(model, batch.input_ids, batch.attention_mask, layers="early")
    assert torch.equal(evidence.attention, expected)
    assert evidence.layers == (0, 1)
    alone = gather_evidence(model, batch, frozenset({"attention"}), options)
    assert torch.equal(alone.attention, expected)


def test_strips_are_the_part_below_the_diagonal():
    attention = torch.rand(2, 40, 40)
    strips = list(strips_below_diagonal(attention, block=7))
    assert [rows.start for rows, _ in strips] == [0, 7, 14, 21, 28, 35]
    assert torch.equal(torch.cat([strip for _, strip in strips], 1), attention.tril(-1))
