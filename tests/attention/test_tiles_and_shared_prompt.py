"""Attention in tiles, and prompts that several responses share, against the plain way."""

from dataclasses import replace

import pytest
import torch
from helpers.models import ARCHITECTURES, random_model, texts
from torch.utils._python_dispatch import TorchDispatchMode

from flowtracer import answer_flow, mean_attention
from flowtracer.attention import (
    AttentionCaptureError,
    shared_prompt_attention,
    tiled_attention,
)
from flowtracer.attention.auto import needs_tiles
from flowtracer.attention.memory import _container_bytes, dense_limit
from flowtracer.attention.shared_prompt import can_share
from flowtracer.attention.tiles import can_tile, causal_attention
from flowtracer.credit import Credit, ScoreBatch, ScoreOptions, score_tokens, token_credit
from flowtracer.credit.chunks import chunks
from flowtracer.credit.limits import SHARED
from flowtracer.flow import select_backbone, send_flow, smallest_edge_set, strongest_routes
from flowtracer.scorers.evidence import gather_evidence


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tiles_give_the_rows_of_the_matrix(name):
    model = random_model(name)
    ids, _ = texts("none")
    dense = mean_attention(model, ids)
    tiled = replace(tiled_attention(model, ids), queries=5, keys=7)
    assert tiled.shape == dense.shape
    for start, stop in ((0, 24), (3, 11), (23, 24)):
        torch.testing.assert_close(
            tiled.rows(start, stop), dense[:, start:stop, :stop], atol=1e-5, rtol=1e-4
        )


def test_attention_of_a_long_text_is_cut_into_calls_that_end_soon():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(2, heads, 1000, 16, generator=generator) for heads in (4, 2, 2)
    )
    whole, logsumexp = causal_attention(query, key, value, 0.25)
    with record_calls() as calls:
        parts, sums = causal_attention(query, key, value, 0.25, products=2 * 4 * 300 * 1000 * 16)
    later = [(300, 300), (300, 300), (300, 300), (300, 600), (100, 100), (100, 900)]
    assert calls == [(300, 300), *later]
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(sums, logsumexp)


class record_calls(TorchDispatchMode):
    """Queries and keys of each of PyTorch's attention calls."""

    def __enter__(self):
        super().__enter__()
        self.calls = []
        return self.calls

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "flash_attention" in str(func):
            self.calls.append((args[0].shape[2], args[1].shape[2]))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("name", ["embedded", "smollm2", "gemma3-270m"])
def test_flow_from_tiles_is_the_flow(embedded, real_model, name):
    loaded = embedded if name == "embedded" else real_model(name)
    model, length = loaded.model, 700 if name != "gemma3-270m" else 540  # beyond its window of 512
    generator = torch.Generator().manual_seed(0)
    vocabulary = min(len(loaded.tokenizer), 1000)
    ids = torch.randint(3, vocabulary, (1, length), generator=generator)
    question = torch.arange(length)[None] < 200
    answer = torch.arange(length)[None] >= length - 5
    whole = answer_flow(mean_attention(model, ids), question, answer)
    tiled = send_flow(tiled_attention(model, ids), question, answer)
    torch.testing.assert_close(tiled.throughput, whole.throughput, rtol=1e-4, atol=1e-9)
    same = select_backbone(tiled.throughput, ~question) == select_backbone(
        whole.throughput, ~question
    )
    assert (~same).sum() <= 2  # at most one pair of ties changes places
    edges = [smallest_edge_set(flow, ratio=0.5) for flow in (whole, tiled)]
    assert abs(len(edges[0]) - len(edges[1])) <= 2
    routes = [strongest_routes(flow, ~question).routes for flow in (whole, tiled)]
    assert [route.probability for route in routes[0]] == pytest.approx(
        [route.probability for route in routes[1]], rel=1e-4
    )


def test_tiles_do_not_round_under_autocast(embedded):
    ids = torch.randint(3, 60, (1, 200), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        whole = mean_attention(embedded.model, ids)
        tiled = tiled_attention(embedded.model, ids).rows(0, 200)
    assert torch.allclose(tiled.sum(-1), torch.ones(1), atol=5e-3)
    # Queries and keys are the same numbers of half precision on both sides.
    torch.testing.assert_close(tiled, whole, atol=2e-3, rtol=2e-2)


def test_tiles_and_shared_prompts_are_for_masks_that_they_know(monkeypatch):
    model = random_model("qwen3")
    assert can_tile(model) and can_share(model) and needs_tiles(model, 11, 10)
    assert not needs_tiles(model, 10, 10)
    monkeypatch.setattr(model.config, "layer_types", ["chunked_attention"] * 6)
    assert not can_tile(model) and not can_share(model) and not needs_tiles(model, 11, 10)
    with pytest.raises(AttentionCaptureError, match="attends in chunks"):
        tiled_attention(model, texts("none")[0])
    monkeypatch.setattr(model.config, "layer_types", ["linear_attention"] * 6)
    assert can_tile(model) and not can_share(model)
    monkeypatch.setattr(model.config, "layer_types", ["sliding_attention"] * 6)
    monkeypatch.setattr(model.model, "has_sliding_layers", True)
    monkeypatch.setattr(model.config, "sliding_window", 8)
    with pytest.raises(AttentionCaptureError, match="does not say how far it sees"):
        tiled_attention(model, texts("none")[0])


def test_credit_reads_a_long_text_in_tiles_and_others_as_a_matrix(embedded):
    batch = group(responses=1)
    model, options = embedded.model, ScoreOptions(tile_above=100)
    dense = token_credit(model, batch, Credit())
    tiled = token_credit(model, batch, Credit(options=options))
    assert torch.equal(dense.chosen, tiled.chosen)

    def evidence(batch, **more):
        return gather_evidence(model, batch, frozenset({"attention"}), options, **more)

    assert evidence(batch, tiles=True).tiles is not None
    assert evidence(batch, tiles=False).tiles is None  # a scorer needs the matrix
    assert evidence(group(responses=2), tiles=True).tiles is None
    scores = score_tokens(model, batch, ["flow", "answer_attention"], options=options)["flow"]
    torch.testing.assert_close(scores[batch.candidates], dense.scores[batch.candidates])


def test_the_limit_of_what_is_held_follows_free_memory(monkeypatch):
    device = torch.device("cpu")
    monkeypatch.setattr("flowtracer.attention.memory.available_bytes", lambda device: 16 << 30)
    assert dense_limit(device) == 1 << 14
    monkeypatch.setattr("flowtracer.attention.memory.available_bytes", lambda device: None)
    assert dense_limit(device) > 1 << 20


def test_free_memory_is_that_of_the_container_too(tmp_path):
    for name, text in (
        ("memory.max", "max"),
        ("memory.current", "300"),
        ("memory.stat", "anon 5\n"),
    ):
        (tmp_path / name).write_text(text)
    assert _container_bytes(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert _container_bytes(tmp_path) == 700
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100\n")
    assert _container_bytes(tmp_path) == 800
    assert _container_bytes(tmp_path / "nothing") is None


def group(responses=4, prompt=100, length=50, left=0):
    """Responses of different lengths to one prompt of the embedded model's words, answers near the end."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(3, 60, (responses, left + prompt + length), generator=generator)
    ids[:, : left + prompt] = ids[:1, : left + prompt]
    position = torch.arange(ids.shape[1])[None]
    ends = left + prompt + length - 4 * torch.arange(responses)[:, None]
    mask = ((position >= left) & (position < ends)).long()
    own = (position >= left + prompt) & (mask > 0)
    answer = ((position >= ends - 5) & (position < ends - 2)).float()
    return ScoreBatch(ids, mask, (mask > 0) & ~own, own, answer)


@pytest.mark.parametrize("edges", ["mean", "value", "no-sink"])
@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gemma3", "gpt-oss", "mistral"])
def test_a_shared_prompt_runs_once_and_gives_the_same_attention(name, edges):
    model = random_model(name)
    ids, mask = texts("right")
    ids[:, :10] = ids[0, :10]
    whole = mean_attention(model, ids, mask, edges=edges)
    attention = shared_prompt_attention(model, ids[0, :10], ids[:, 10:], mask[:, 10:], edges=edges)
    assert whole.sum() > 40
    torch.testing.assert_close(attention, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("left", [0, 6])
def test_weights_do_not_depend_on_whether_the_prompt_is_shared(embedded, left):
    batch = group(left=left)
    rows = torch.arange(4)
    parts = chunks(batch, rows, after_answer=False, most=1 << 25, share_from=SHARED)
    assert [part.shared for part in parts] == [100]
    tokens = []
    handle = embedded.model.model.embed_tokens.register_forward_hook(
        lambda module, inputs, output: tokens.append(output.shape[0] * output.shape[1])
    )
    shared = token_credit(embedded.model, batch, Credit())
    handle.remove()
    assert sum(tokens) == 100 + 4 * 48
    plain = token_credit(embedded.model, batch, Credit(), share_prompts=False)
    assert torch.equal(shared.weights, plain.weights)
    torch.testing.assert_close(shared.scores, plain.scores, rtol=1e-4, atol=1e-8)


def test_only_equal_prompts_worth_the_trouble_are_shared():
    batch = group()
    batch.input_ids[1, 50] += 1
    parts = chunks(batch, torch.arange(4), after_answer=False, most=1 << 25, share_from=SHARED)
    assert sorted((sorted(part.rows.tolist()), part.shared) for part in parts) == [
        ([0, 2, 3], 100), ([1], 0),
    ]  # fmt: skip
    short = group(prompt=SHARED - 1)
    assert chunks(short, torch.arange(4), after_answer=False, most=1 << 25, share_from=SHARED)[
        0
    ].shared == 0  # fmt: skip
    broken = group()
    broken.attention_mask[0, 110] = 0  # a gap in the response
    parts = chunks(broken, torch.arange(4), after_answer=False, most=1 << 25, share_from=SHARED)
    assert {tuple(sorted(part.rows.tolist())): part.shared for part in parts} == {
        (1, 2, 3): 100, (0,): 0,
    }  # fmt: skip
