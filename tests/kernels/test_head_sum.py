"""The kernels that average heads, in Triton's interpreter, against float64."""

import pytest
import torch
from helpers.kernels import CASES, case_errors, interpreted
from helpers.models import ARCHITECTURES, random_model, texts

from flowtracer.attention import mean_attention, select_layers, tiled_attention
from flowtracer.attention.maskless import maskless_mean_attention
from flowtracer.attention.mean import MeanReader
from flowtracer.attention.readers import read_attention
from flowtracer.kernels.availability import kernels_everywhere

pytestmark = interpreted
FLOAT32, BFLOAT16 = 2e-6, 2e-2


@pytest.mark.parametrize("name", CASES)
def test_the_mean_over_heads_is_that_of_float64(name):
    errors = case_errors(torch.device("cpu"), torch.float32, 70, **CASES[name])
    assert max(errors.values()) < FLOAT32, errors


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_without_loss(dtype):
    errors = case_errors(torch.device("cpu"), dtype, 70, window=20)
    assert max(errors.values()) < FLOAT32, errors  # of inputs that were rounded before


@pytest.mark.parametrize("least_real", [0.0, 1.0], ids=["moved to the left", "packed"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_without_a_mask_are_read_like_padded_ones(name, least_real):
    model = random_model(name)
    ids, mask = texts("both")
    expected = mean_attention(model, ids, mask)
    with kernels_everywhere():
        layers = select_layers("middle", model.config.num_hidden_layers)
        mean = maskless_mean_attention(model, ids, mask > 0, layers, least_real=least_real)
    # Rounding of the model's own sums: another order of the same numbers.
    assert (mean - expected).abs().max() < 5e-6
    assert mean[mask == 0].abs().max() == 0


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gpt-oss"])
def test_a_reader_takes_whole_layers(name):
    model = random_model(name)
    ids, mask = texts("both")
    expected = mean_attention(model, ids, mask)
    with kernels_everywhere():
        reader = MeanReader(mask, select_layers("middle", 6))
        reader.read = lambda *block: pytest.fail("a layer was read in blocks")
        read_attention(model, ids, mask, [reader])
    assert (reader.finish() - expected).abs().max() < FLOAT32


@pytest.mark.parametrize("name", ["qwen3", "gemma3"])
def test_strips_of_rows_are_rows_of_the_matrix(name):
    model = random_model(name)
    ids, _ = texts("none")
    expected = mean_attention(model, ids)
    with kernels_everywhere():
        strip = tiled_attention(model, ids).rows(9, 20)
    assert (strip - expected[:, 9:20, :20]).abs().max() < FLOAT32


def test_padding_between_tokens_takes_pytorch_s_way():
    model = random_model("qwen3")
    ids, mask = texts("none")
    mask[0, 5] = 0
    expected = mean_attention(model, ids, mask)
    with kernels_everywhere():
        assert torch.equal(mean_attention(model, ids, mask), expected)


def test_edges_of_other_kinds_take_pytorch_s_way():
    model = random_model("qwen3")
    ids, mask = texts("both")
    expected = mean_attention(model, ids, mask, edges="value")
    with kernels_everywhere():
        assert torch.equal(mean_attention(model, ids, mask, edges="value"), expected)


def test_edges_without_the_sink_are_cut_after_the_kernels():
    model = random_model("qwen3")
    ids, mask = texts("both")
    expected = mean_attention(model, ids, mask, edges="no-sink")
    with kernels_everywhere():
        mean = mean_attention(model, ids, mask, edges="no-sink")
    assert (mean - expected).abs().max() < 5e-6


def test_a_model_that_the_kernels_cannot_read_takes_pytorch_s_way():
    model = random_model("qwen3").double()
    ids, mask = texts("both")
    expected = mean_attention(model, ids, mask)
    with kernels_everywhere():
        assert torch.equal(mean_attention(model, ids, mask), expected)


def test_a_batch_of_padding_has_no_attention():
    model = random_model("qwen3")
    ids, mask = texts("none")
    with kernels_everywhere():
        assert mean_attention(model, ids, 0 * mask).abs().max() == 0
