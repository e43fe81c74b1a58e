"""Rows that branch, and attention to a text that many rows share."""

import pytest
import torch
from helpers.models import random_model

from flowtracer.models.branching import rows_of_children
from flowtracer.models.cache import cache_of
from flowtracer.models.shared_text import attend_shared, can_share


@pytest.mark.parametrize("seed", range(20))
def test_children_get_rows_of_their_own_and_only_further_ones_move(seed):
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 12, (), generator=generator))
    parent = torch.randint(0, count, (int(torch.randint(1, 30, (), generator=generator)),))
    parent = parent.sort().values
    target, after = rows_of_children(parent, count)
    assert len(set(target.tolist())) == len(parent) and int(target.max()) < after
    assert after == max(count, len(parent))
    moved = target != parent
    assert int(moved.sum()) == len(parent) - len(parent.unique())
    # What is overwritten is nobody's row, so that the order of copying does not matter.
    assert not set(target[moved].tolist()) & set(parent.tolist())


def test_rows_of_a_cache_are_copied_and_grow():
    states = torch.randn(2, 3, 4, 5)
    cache = cache_of([(states, states + 1)], 2)
    layer = cache.layers[0]
    layer.copy_rows(torch.tensor([1, 0, 1]), torch.tensor([2, 3, 4]), 5)
    for expected, stored in ((states, layer.keys), (states + 1, layer.values)):
        torch.testing.assert_close(stored, expected[[0, 1, 1, 0, 1]])
    new = torch.randn(5, 3, 40, 5)
    keys, _ = cache.update(new, new, 0)
    torch.testing.assert_close(keys, torch.cat([states[[0, 1, 1, 0, 1]], new], 2))
    room, _ = layer.room
    assert room.is_contiguous() and len(room) == 5 and not room[:, :, keys.shape[2] :].any()


def test_attention_to_a_shared_text_is_softmax_attention():
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    text_keys, text_values, keys, values = (random(*s, 8) for s in [(2, 7)] * 2 + [(5, 2, 3)] * 2)
    query, lengths = random(5, 6, 1, 8), torch.tensor([7, 1, 3, 5, 2])
    hidden = torch.cat([torch.arange(7) >= lengths[:, None], torch.zeros(5, 3, dtype=bool)], 1)
    bias = torch.zeros(5, 10, dtype=torch.float64).masked_fill(hidden, float("-inf"))
    output = attend_shared(query, (text_keys, text_values), (keys, values), bias, scaling=0.3)
    for row, length in enumerate(lengths.tolist()):
        for head in range(6):
            seen = torch.cat([text_keys[head // 3, :length], keys[row, head // 3]])
            weights = (0.3 * seen @ query[row, head, 0]).softmax(0)
            expected = weights @ torch.cat(
                [text_values[head // 3, :length], values[row, head // 3]]
            )
            torch.testing.assert_close(output[row, 0, head], expected)


def test_only_plain_attention_shares_a_text():
    assert can_share(random_model("qwen3").base_model, 100)
    assert not can_share(random_model("gemma2").base_model, 100)
    assert not can_share(random_model("gpt-oss").base_model, 100)
