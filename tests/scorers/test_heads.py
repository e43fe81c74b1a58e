"""Scores of local and global heads against loops over explicit attention."""

import statistics
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from helpers.models import eager_attentions, random_model

from flowtracer.scorers import ScoreOptions, score_tokens
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.head_rhythm import change, couple, group_heads
from flowtracer.scorers.head_statistics import HeadStatistics, rhythm_layers


def reference(heads, inside):
    """waad, fai and rhythm of one text by loops; heads: list of (T, T), inside: list of places."""
    length = heads[0].shape[0]
    spans = [
        sum(sum(float(a[t, s]) * (t - s) for s in range(t + 1)) for t in inside) / len(inside)
        for a in heads
    ]
    order = sorted(range(len(heads)), key=lambda head: spans[head])
    count = max(1, len(heads) * 3 // 10)
    local = torch.stack([heads[head] for head in order[:count]]).mean(0)
    wide = torch.stack([heads[head] for head in order[-count:]]).mean(0)

    near = {t: sum(float(local[t, s]) * min(t - s, 10) for s in range(t + 1)) for t in inside}
    delta = {t: abs(near[t] - near[following]) for t, following in pairwise(inside)}
    delta[inside[-1]] = 0.0
    ahead = {}
    for s in inside:
        looks = [float(wide[t, s]) for t in inside if s + 10 <= t <= s + 100]
        ahead[s] = sum(looks) / len(looks) if looks else 0.0

    low, steep = statistics.median_low(near.values()), statistics.median_low(delta.values())
    credit = dict(ahead)
    for number, t in enumerate(inside):
        before = inside[max(0, number - 3) : number]
        if before and near[t] <= low and max(delta[u] for u in before) >= steep:
            first = max(before, key=lambda u: (delta[u], -u))
            credit[first] += 0.5 * ahead[t]
            credit[t] -= 0.5 * ahead[t]
    return [
        torch.tensor([values.get(t, 0.0) for t in range(length)])
        for values in (delta, ahead, credit)
    ]


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gpt-oss"])
@pytest.mark.parametrize("layers", ["middle", (0, 5)])
def test_scores_of_heads(name, layers):
    model = random_model(name)
    # Longer than a block of queries, of which there are 64.
    ids = torch.randint(3, 97, (3, 70), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[1, :6] = 0
    mask[2, -8:] = 0
    candidates = (mask > 0) & ((mask.cumsum(1) - 1) >= 5)
    candidates[0, 20:23] = False  # a tool's output in between
    batch = ScoreBatch(ids, mask, (mask > 0) & ~candidates, candidates, candidates.float())
    scores = score_tokens(
        model, batch, ["waad", "fai", "rhythm"], options=ScoreOptions(layers=layers)
    )
    for row in range(3):
        real = mask[row] > 0
        kept = eager_attentions(model, ids[row, real])
        chosen = (2, 3, 4) if layers == "middle" else layers
        heads = [head for layer in chosen for head in kept[layer]]
        inside = candidates[row, real].nonzero()[:, 0].tolist()
        for score, expected in zip(
            ("waad", "fai", "rhythm"), reference(heads, inside), strict=True
        ):
            assert float(expected.sum()) > 0
            torch.testing.assert_close(scores[score][row, real], expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(scores["rhythm"][row].sum(), scores["fai"][row].sum())
        assert not torch.equal(scores["rhythm"][row], scores["fai"][row])


def test_attention_ahead_ends_after_100_tokens():
    from flowtracer.scorers.head_statistics import HeadReader

    length = 130
    weights = torch.rand(1, 2, length, length).tril()
    every = torch.ones(1, length)
    reader = HeadReader(every, every.bool(), (3,))
    call = SimpleNamespace(layer=3)
    for start in range(0, length, 32):
        stop = min(start + 32, length)
        reader.read(call, start, weights[:, :, start:stop, :stop])
    head_statistics = reader.finish()
    expected = torch.stack(
        [weights[0, :, s + 10 : min(length, s + 101), s].mean(1) for s in range(length - 10)], 1
    )
    torch.testing.assert_close(head_statistics.fai[0, :, :-10], expected)
    assert float(head_statistics.fai[0, :, -10:].abs().sum()) == 0


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (1, (0,)),
        (2, (0, 1)),
        (6, (2, 3, 4)),
        (12, (4, 5, 6, 7, 8)),
        (28, (9, 11, 13, 15, 18)),
        (36, (12, 15, 18, 21, 24)),
    ],
)
def test_middle_means_five_evenly_spaced_layers(depth, expected):
    assert rhythm_layers("middle", depth) == expected


def test_other_layers_are_used_as_given():
    assert rhythm_layers("0-2", 6) == (0, 1, 2)
    assert rhythm_layers([5, -6], 6) == (0, 5)


def test_heads_are_grouped_row_by_row_with_at_least_one_each():
    span = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
    values = torch.arange(6.0).view(2, 3, 1)
    local, ahead = group_heads(HeadStatistics(span, values, 10 * values))
    assert local[:, 0].tolist() == [1.0, 3.0]  # of equals the earlier head
    assert ahead[:, 0].tolist() == [0.0, 30.0]
    many = HeadStatistics(torch.arange(10.0)[None], *2 * [torch.arange(10.0).view(1, 10, 1)])
    assert [float(group) for group in group_heads(many)] == [1.0, 8.0]


def test_a_dominated_anchor_passes_half_to_the_earlier_of_equal_introductions():
    held = torch.tensor([[True, True, True, True, True, False]])
    local = torch.tensor([[5.0, 4.0, 5.0, 1.0, 1.0, 9.0]])
    ahead = torch.tensor([[0.0, 0.0, 0.0, 8.0, 2.0, 7.0]])
    assert change(held, local).tolist() == [[1.0, 1.0, 4.0, 0.0, 0.0, 0.0]]
    assert couple(held, local, ahead).tolist() == [[0.0, 0.0, 5.0, 4.0, 1.0, 0.0]]
    flat = torch.tensor([[3.0, 2.0, 1.0, 0.0, 0.0, 0.0]])
    last = torch.tensor([[0.0, 0.0, 0.0, 8.0, 0.0, 0.0]])
    assert couple(held, flat, last).tolist() == [[4.0, 0.0, 0.0, 4.0, 0.0, 0.0]]
