"""Attention of texts with pictures is that of transformers' eager attention on the model's own inputs."""

import pytest
import torch
from helpers.pictures import CONFIGS, GRIDS, eager_of_row, picture_model, picture_rows

from flowtracer import AttentionCaptureError, mean_attention
from flowtracer.attention import attention_by_layer, auto_attention, tiled_attention
from flowtracer.attention.kernel import attend
from flowtracer.models.pictures import model_inputs

LAYERS = (1, 3)


def expected(model, ids, mask, processed):
    mean = torch.zeros(*ids.shape, ids.shape[1])
    for row in range(len(ids)):
        real = (mask[row] > 0).nonzero()[:, 0]
        layers = eager_of_row(model, ids, mask, processed, row)
        own = torch.stack([layers[layer].mean(0) for layer in LAYERS]).mean(0)
        mean[row, real[:, None], real] = own
    return mean


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("name", CONFIGS)
def test_attention_is_eager_attention_of_each_row_with_its_pictures(name, padding):
    model = picture_model(name)
    ids, mask, processed = picture_rows(name, padding=padding)
    attention = mean_attention(model, ids, mask, layers=LAYERS, model_inputs=processed)
    torch.testing.assert_close(attention, expected(model, ids, mask, processed), atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_videos_are_read_beside_pictures(name):
    model = picture_model(name)
    ids, mask, processed = picture_rows(name)
    generator = torch.Generator().manual_seed(3)
    ids[1, 10:18] = 91  # two steps in time of 4 by 4 patches
    if name == "qwen3_vl":  # which has a time stamp between them
        ids[1, 14:19] = torch.tensor([5, 91, 91, 91, 91])
    processed["pixel_values_videos"] = torch.randn(2 * 4 * 4, 96, generator=generator)
    processed["video_grid_thw"] = torch.tensor([[2, 4, 4]])
    processed["mm_token_type_ids"] = (ids == 90).long() + 2 * (ids == 91).long()
    attention = mean_attention(model, ids, mask, layers=LAYERS, model_inputs=processed)
    torch.testing.assert_close(attention, expected(model, ids, mask, processed), atol=2e-5, rtol=0)
    del processed["mm_token_type_ids"]
    again = mean_attention(model, ids, mask, layers=LAYERS, model_inputs=processed)
    assert torch.equal(again, attention)


@pytest.mark.parametrize("name", CONFIGS)
def test_pictures_change_attention(name):
    model = picture_model(name)
    ids, mask, processed = picture_rows(name)
    attention = mean_attention(model, ids, mask, model_inputs=processed)
    others = {**processed, "pixel_values": -processed["pixel_values"]}
    apart = (mean_attention(model, ids, mask, model_inputs=others) - attention).abs().amax((1, 2))
    assert apart[0] > 1e-2
    assert apart[1] < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_without_pictures_are_read_as_texts(name):
    model = picture_model(name)
    ids, mask, processed = picture_rows(name)
    together = mean_attention(model, ids, mask, model_inputs=processed)
    alone = mean_attention(model, ids[1:2], mask[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=2e-5, rtol=0)
    language = mean_attention(model.get_decoder(), ids[1:2], mask[1:2])
    assert torch.equal(alone, language)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_text_that_lacks_its_picture_is_refused_in_one_sentence(name):
    model = picture_model(name)
    ids, mask, _ = picture_rows(name)
    for read in (mean_attention, lambda m, i, k: tiled_attention(m, i)):
        with pytest.raises(AttentionCaptureError, match="tokens stand for a picture that"):
            read(model, ids, mask)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_model_is_as_before(name):
    model = picture_model(name).train()
    ids, mask, processed = picture_rows(name)
    states = {key: value.clone() for key, value in model.state_dict().items()}
    deltas = getattr(model.model, "rope_deltas", None)
    mean_attention(model, ids, mask, model_inputs=processed)
    assert all(module.training for module in model.modules())
    assert model.config.get_text_config()._attn_implementation == "sdpa"
    assert getattr(model.model, "rope_deltas", None) is deltas
    assert all(torch.equal(value, states[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - {"gemma3", "gemma4"}))
def test_tiles_give_the_same(name):
    model = picture_model(name)
    ids, _, processed = picture_rows(name, padding="none", grids=GRIDS[:1])
    dense = mean_attention(model, ids, layers=LAYERS, model_inputs=processed)
    tiles = tiled_attention(model, ids, layers=LAYERS, model_inputs=processed)
    tiles = tiles.rows(0, ids.shape[1])
    torch.testing.assert_close(tiles, dense, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["gemma3", "gemma4"])
def test_pictures_that_look_ahead_are_not_read_in_tiles(name):
    model = picture_model(name)
    ids, _, processed = picture_rows(name, padding="none", grids=GRIDS[:1])
    with pytest.raises(
        AttentionCaptureError, match="lets tokens of a picture attend to later ones"
    ):
        tiled_attention(model, ids, model_inputs=processed)
    inputs = model_inputs(model, processed, ids)
    dense = auto_attention(model, ids, tile_above=4, model_inputs=inputs)
    assert torch.equal(dense, mean_attention(model, ids, model_inputs=processed))


@pytest.mark.parametrize("name", ["gemma3", "gemma4"])
def test_in_gemma_the_tokens_of_a_picture_attend_to_later_ones_and_no_others_do(name):
    model = picture_model(name)
    ids, mask, processed = picture_rows(name)
    above = mean_attention(model, ids, mask, model_inputs=processed).triu(1).sum(2)
    pictured = ids == 90
    last = pictured & ~torch.nn.functional.pad(pictured[:, 1:], (0, 1))
    assert (above[pictured & ~last] > 0.01).all()
    assert above[~pictured | last].abs().max() == 0


def test_a_picture_may_reach_over_the_blocks_that_attention_is_read_in():
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 200, 8, generator=generator)
    picture = (torch.arange(200) >= 50) & (torch.arange(200) < 140)
    mask = torch.ones(200, 200, dtype=torch.bool).tril() | (picture[:, None] & picture[None])
    read = torch.zeros(200, 200)

    def keep(start, weights):
        read[start : start + weights.shape[2], : weights.shape[3]] = weights.mean((0, 1))

    output = attend(
        query, key, value, scaling=0.3, mask=mask[None, None], looks_ahead=True, read=keep
    )
    logits = (0.3 * query @ key.mT).masked_fill(~mask, -torch.inf)
    torch.testing.assert_close(read, logits.softmax(-1).mean((0, 1)), atol=1e-6, rtol=0)
    expected = (logits.softmax(-1) @ value).transpose(1, 2)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_are_shown_one_by_one_and_average_to_the_mean(name):
    model = picture_model(name)
    ids, _, processed = picture_rows(name, padding="none", grids=GRIDS[:1])
    shown = []
    inputs = model_inputs(model, processed, ids)
    mean = attention_by_layer(
        model, ids, lambda layer, part: shown.append(part.clone()), model_inputs=inputs
    )
    torch.testing.assert_close(torch.stack(shown).mean(0), mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(mean, mean_attention(model, ids, model_inputs=processed))


def test_pictures_of_another_batch_are_refused_in_one_sentence():
    model = picture_model("qwen2_5_vl")
    ids, mask, processed = picture_rows("qwen2_5_vl")
    with pytest.raises(ValueError, match=r"the rows hold .* which are not those of 3 pictures"):
        mean_attention(model, ids.roll(1, 0), mask, model_inputs=processed)
    with pytest.raises(ValueError, match="model inputs input_features are not read"):
        mean_attention(model, ids, mask, model_inputs={"input_features": torch.zeros(1)})
    with pytest.raises(ValueError, match="model_inputs are of 3 rows but input_ids has 1"):
        inputs = model_inputs(model, processed, ids)
        mean_attention(model, ids[:1], mask[:1], model_inputs=inputs)
