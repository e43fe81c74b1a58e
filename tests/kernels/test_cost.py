"""The count of what credit costs, bench/cost.py, against what the code does."""

import json
from pathlib import Path

import pytest
import torch
from helpers.costs import cost, cost_rates, cost_tables
from helpers.kernels import Counting, interpreted
from transformers import Qwen3Config, Qwen3ForCausalLM

from flowtracer.attention import memory, select_layers
from flowtracer.attention.mean import MeanReader
from flowtracer.attention.observe import observe_layers
from flowtracer.flow import send_flow
from flowtracer.flow.solve import BLOCK, BLOCK_ON_GPU
from flowtracer.kernels import solve
from flowtracer.kernels.availability import kernels_everywhere
from flowtracer.kernels.head_sum import add_head_sum, tile_of
from flowtracer.kernels.sequences import Sequences

ROOT = Path(__file__).parents[2]
TEXTS, LENGTH = 4, 24


def small_model(layers):
    config = Qwen3Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return Qwen3ForCausalLM(config).to(torch.bfloat16).eval()


def launches(part):
    with kernels_everywhere(), Counting(skip_kernels=True) as counting, torch.no_grad():
        part()
    return counting.counts.launches


@interpreted
@pytest.mark.parametrize("layers", [6, 36])
def test_launches_are_those_of_the_code(layers):
    model, shape = small_model(layers), cost.Shape("small", layers, 16, 16, 2, 1, 8, 32)
    chosen = select_layers("middle", layers)
    ids = torch.randint(0, 32, (TEXTS, LENGTH))
    position = torch.arange(LENGTH).expand(TEXTS, -1)
    question, answer = position < 5, (position > 18).float()

    def plain():
        model(input_ids=ids, use_cache=False, logits_to_keep=1)

    def ridden():
        reader = MeanReader(torch.ones_like(ids), chosen)
        with observe_layers(model, chosen, reader.read_layer):
            plain()
        send_flow(reader.finish(), question, answer)

    counted = cost.riding(shape, TEXTS, LENGTH, cost_rates.H100)
    assert shape.chosen == len(chosen)
    assert shape.whole == max(chosen)
    forward = launches(plain)
    assert forward == cost_rates.launches(cost.forward(shape, TEXTS, LENGTH))
    # A CPU's attention gives no logsumexp, so that a kernel runs for it in every chosen layer.
    assert launches(ridden) - forward == cost_rates.launches(counted) + len(chosen)


@pytest.mark.parametrize("blocks", [2, 5])
def test_launches_of_the_solves_are_those_of_pytorch_s_way(blocks):
    length = blocks * BLOCK - 3
    attention = torch.rand(TEXTS, length, length).tril_()
    position = torch.arange(length).expand(TEXTS, -1)
    question, answer = position < 5, (position > length - 8).float()
    with Counting() as counting:
        send_flow(attention, question, answer)
    counted = cost.pytorch_solves(TEXTS, length, BLOCK)
    assert counting.counts.launches == cost_rates.launches(counted)


@interpreted
@pytest.mark.parametrize("length", [100, 200])
def test_the_kernel_writes_the_tiles_that_are_counted(length):
    query, key = torch.randn(2, 1, 2, length, 16, dtype=torch.bfloat16)
    untouched = -0.0  # what is added to it is 0 at least, and leaves no negative sign
    out = torch.full((1, length, length), untouched)
    sequences = Sequences.padded(torch.ones(1, length, dtype=torch.bool))
    add_head_sum(out, query, key, torch.zeros(1, 2, length), sequences, scaling=1.0, weight=1.0)
    assert int((~out.signbit()).sum()) == cost.pairs_in_tiles(length)


@pytest.mark.parametrize("model", cost_tables.MODELS.values(), ids=lambda model: model.name)
@pytest.mark.parametrize("length", [1024, 8192, 32_768])
def test_a_layer_moves_little_more_than_its_result_and_its_queries_and_keys(model, length):
    work = cost.head_sum(model, 1, length, cost_rates.H100)
    again = cost.read_again(model, length, cost_rates.H100, cost.QUERIES)
    states = (2 * model.queries + 4 * model.heads) * length
    assert work.bytes - again - states <= 1.2 * 4 * length**2
    if length <= 8192:  # longer keys than that do not stay in the cache
        assert work.bytes <= 1.2 * 4 * length**2 + states + 2 * model.keys * length


def test_sizes_are_those_of_the_code():
    tile = tile_of(128, half=True, heads=True, capability=90)
    assert (tile.queries, tile.keys) == (cost.QUERIES, cost.KEYS)
    tile = tile_of(128, half=True, heads=False, capability=90)
    assert (tile.queries, tile.keys) == (cost.LOGSUMEXP_QUERIES, cost.LOGSUMEXP_KEYS)
    assert (solve.FEW, solve.SHORT, BLOCK_ON_GPU) == (cost.FEW, cost.SHORT, cost.STRIP)
    assert cost.DENSE_RATIO == memory.DENSE_RATIO


def test_seconds_are_those_of_the_slowest_and_of_the_launches():
    work = cost_rates.Work(products=2e12, bytes=1e9, launches=2, steps=3)
    device = cost_rates.Device("", 1e12, 1e12, 1e12, 1e12, 1e9, 1e12, launch=0.1, step=0.01)
    assert cost_rates.seconds_of(work, device) == pytest.approx(2 + 0.2 + 0.03)
    assert cost_rates.seconds_of(work.each(3), device) == pytest.approx(6 + 0.2 + 0.03)
    assert cost_rates.seconds_of(work.times(3), device) == pytest.approx(3 * (2 + 0.2 + 0.03))


def test_the_page_has_the_tables_as_they_are_counted():
    page = (ROOT / "docs" / "scale.md").read_text()
    for title, text in cost_tables.tables(json.loads(cost_tables.MEASURED.read_text())).items():
        assert text in page, f"{title}: run python bench/cost_tables.py"
