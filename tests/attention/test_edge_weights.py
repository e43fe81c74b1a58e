"""Other weights for the edges of the graph, against attention computed in full."""

import pytest
import torch
from helpers.models import random_model, texts

from flowtracer import mean_attention
from flowtracer.attention.mean import output_norms, without_sink
from flowtracer.credit import ScoreBatch, ScoreOptions
from flowtracer.scorers.evidence import gather_evidence


def every_head(model, ids, mask, layers):
    """Attention (layers, B, H, T, T) and value norms (layers, B, H, T), by hooks and eager attention."""
    values = {}
    handles = [
        model.model.layers[layer].self_attn.v_proj.register_forward_hook(
            lambda m, a, out, layer=layer: values.__setitem__(layer, out)
        )
        for layer in layers
    ]
    model.set_attn_implementation("eager")
    with torch.no_grad():
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        seen = model(
            ids,
            attention_mask=mask,
            position_ids=positions,
            output_attentions=True,
        ).attentions
    for handle in handles:
        handle.remove()
    model.set_attn_implementation("sdpa")
    norms = []
    for layer in layers:
        weight = model.model.layers[layer].self_attn.o_proj.weight
        heads = weight.shape[1] // 16
        value = values[layer].unflatten(2, (-1, 16)).transpose(1, 2)
        value = value.repeat_interleave(heads // value.shape[1], 1)
        parts = weight.unflatten(1, (heads, 16))
        norms.append(
            torch.stack([(value[:, h] @ parts[:, h].T).norm(dim=2) for h in range(heads)], 1)
        )
    return torch.stack([seen[layer] for layer in layers]), torch.stack(norms)


@pytest.mark.parametrize("padding", ["none", "both"])
def test_value_edges_weigh_what_a_source_hands_on(padding):
    model = random_model("llama")
    ids, mask = texts(padding)
    heads, norms = every_head(model, ids, mask, [2, 3])
    weighed = (heads * norms[:, :, :, None]).sum(2)
    expected = (weighed / weighed.sum(-1, keepdim=True)).mean(0)
    expected = expected * mask[:, :, None] * mask[:, None]
    attention = mean_attention(model, ids, mask, edges="value")
    torch.testing.assert_close(attention, expected, atol=1e-5, rtol=1e-4)


def test_output_norms_are_those_of_each_head():
    value, weight = torch.randn(2, 2, 5, 4), torch.randn(7, 16)
    for head in range(4):
        own = value[:, head // 2] @ weight[:, 4 * head : 4 * head + 4].T
        torch.testing.assert_close(output_norms(value, weight)[:, head], own.norm(dim=2))


@pytest.mark.parametrize("padding", ["none", "both"])
def test_without_the_sink_its_share_goes_to_the_others(padding):
    model = random_model("qwen3")
    ids, mask = texts(padding)
    plain = mean_attention(model, ids, mask)
    attention = mean_attention(model, ids, mask, edges="no-sink")
    for row in range(3):
        real = mask[row].nonzero()[:, 0]
        first, later = int(real[0]), real[1:]
        assert (attention[row, :, first] == 0).all()
        torch.testing.assert_close(attention[row, later].sum(1), plain[row, later].sum(1))
        gap = plain[row, later][:, later] / attention[row, later][:, later].clamp(min=1e-9)
        inside = attention[row, later][:, later] > 1e-6
        for ratios, held in zip(gap, inside, strict=True):  # one factor a row
            torch.testing.assert_close(ratios[held], ratios[held][:1].expand(int(held.sum())))


def test_a_token_that_sees_only_the_sink_passes_nothing_on():
    attention = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert without_sink(attention, torch.ones(1, 2, dtype=torch.bool)).sum() == 0


def test_unknown_edges_are_refused():
    ids, mask = texts("none")
    with pytest.raises(ValueError, match="edges is 'norm'; use mean, no-sink, value"):
        mean_attention(random_model("qwen3"), ids, mask, edges="norm")


@pytest.mark.parametrize("edges", ["mean", "value"])
def test_thirds_of_heads_are_told_apart_by_distance_and_make_up_the_whole(edges):
    model = random_model("llama")
    ids, mask = texts("left")
    layers = (1, 2, 3)  # 12 heads, 4 in each third
    answer = torch.zeros(3, 24)
    answer[:, -1] = 1
    own = (torch.arange(24)[None] > 12) & (mask > 0)
    batch = ScoreBatch(ids, mask, (mask > 0) & ~own, own, answer)

    def captured(heads):
        options = ScoreOptions(layers=layers, heads=heads, edges=edges)
        return gather_evidence(model, batch, frozenset({"attention"}), options).attention

    thirds = [captured(heads) for heads in ("near", "middle", "far")]
    if edges == "mean":
        torch.testing.assert_close(sum(thirds) / 3, captured("all"), atol=1e-6, rtol=1e-5)
    distance = (torch.arange(24)[:, None] - torch.arange(24)[None]).clamp(min=0).float()
    reach = [float((third * distance).sum(-1)[own].mean()) for third in thirds]
    assert reach[0] < reach[1] < reach[2]
    for third in thirds:
        torch.testing.assert_close(third.sum(-1)[mask > 0], torch.ones(int(mask.sum())))
