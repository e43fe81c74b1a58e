"""Hidden tokens against one plain forward per condition with a mask written out by hand."""

import pytest
import torch
from helpers.models import ARCHITECTURES, random_model, snapshot

from flowtracer.intervention import attention_knockout, decode, prefill

LENGTH, CONDITIONS = 20, 5
TARGET = [11, 12, 13]
IDS = torch.randint(3, 97, (LENGTH,), generator=torch.Generator().manual_seed(4)).tolist()


def conditions(seed=0):
    """Nothing hidden, the first token, the last token, and two random sets."""
    hidden = torch.zeros(CONDITIONS, LENGTH, dtype=torch.bool)
    hidden[1, 0] = hidden[2, LENGTH - 1] = True
    drawn = torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(seed))
    hidden[3:] = drawn < 0.3
    return hidden


def slow_logits(model, ids, hidden):
    """(T, V), eager attention, a mask of its own for full and for sliding layers, no cache."""
    length = len(ids)
    query, key = torch.arange(length)[:, None], torch.arange(length)[None]
    gone = torch.zeros(length, dtype=torch.bool)
    gone[: len(hidden)] = hidden
    visible = (key <= query) & ~(gone[None] & (key != query))
    window = getattr(model.config, "sliding_window", None)
    near = visible & (query - key < window) if window else visible
    full, sliding = (
        torch.zeros(1, 1, length, length).masked_fill(~allowed, torch.finfo(torch.float32).min)
        for allowed in (visible, near)
    )
    model.set_attn_implementation("eager")
    kinds = getattr(model.config, "layer_types", None) or []
    if model.config.model_type == "mistral":
        mask = sliding
    elif "sliding_attention" in kinds:
        mask = {"full_attention": full, "sliding_attention": sliding}
    else:
        mask = full
    with torch.no_grad():
        logits = model(torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0]
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    return logits


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_knockout_equals_a_forward_with_the_mask_written_out(name):
    model, hidden = random_model(name), conditions()
    with attention_knockout(model) as knockout:
        prefilled = prefill(model, knockout, IDS, hidden, target=TARGET)
    for row in range(CONDITIONS):
        logits = slow_logits(model, IDS + TARGET[:-1], hidden[row])[LENGTH - 1 :]
        torch.testing.assert_close(prefilled.logits[row], logits[0], atol=1e-4, rtol=1e-4)
        expected = logits.log_softmax(-1)[range(3), TARGET].sum()
        torch.testing.assert_close(
            prefilled.log_probability[row].sum(), expected, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("name", ["qwen2", "gemma3", "gpt-oss", "mistral"])
def test_decoding_equals_a_whole_forward_for_every_token(name):
    model = random_model(name)
    short = IDS[:9]
    with attention_knockout(model) as knockout:
        texts = [
            prefill(model, knockout, IDS, conditions()),
            prefill(model, knockout, short, conditions(1)[:, :9]),
        ]
        continuations = decode(model, knockout, texts, limits=[6] * 10, ends=())
    for row, tokens in enumerate(continuations):
        ids = list(IDS if row < CONDITIONS else short)
        hidden = (conditions() if row < CONDITIONS else conditions(1)[:, :9])[row % CONDITIONS]
        for token in tokens:
            logits = slow_logits(model, ids, hidden)[-1]
            assert logits[token] > logits.max() - 1e-3, row
            ids.append(token)


def test_rows_end_by_themselves_and_do_not_disturb_the_others():
    model = random_model("llama")
    with attention_knockout(model) as knockout:
        text = prefill(model, knockout, IDS, conditions())
        free = decode(model, knockout, [text], limits=[8] * 5, ends=())
        end = free[3][4]
        ended = decode(model, knockout, [text], limits=[8, 2, 8, 8, 0], ends=[end])
        wanted = decode(
            model,
            knockout,
            [text],
            limits=[8] * 5,
            ends=(),
            finished=lambda row, new: len(new) > row,
        )
    cut = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in free]
    assert ended == [cut[0], cut[1][:2], cut[2], cut[3], []]
    assert wanted == [tokens[: row + 1] for row, tokens in enumerate(free)]


def test_equal_conditions_share_their_work_and_get_equal_results():
    model = random_model("qwen3")
    rows = []
    model.model.layers[0].register_forward_hook(lambda m, a, out: rows.append(len(out)))
    hidden = conditions()
    with attention_knockout(model) as knockout:
        prefilled = prefill(model, knockout, IDS, torch.cat([hidden, hidden]))
    assert sum(rows) == CONDITIONS  # one for all that hides nothing, and one for each other
    assert torch.equal(prefilled.logits[:CONDITIONS], prefilled.logits[CONDITIONS:])


def test_a_score_alone_keeps_no_keys_and_values():
    model = random_model("qwen3")
    with attention_knockout(model) as knockout:
        kept, scored = (
            prefill(model, knockout, IDS, conditions(), target=TARGET, keep=keep)
            for keep in (True, False)
        )
    assert kept.layers and not scored.layers
    assert torch.equal(kept.log_probability, scored.log_probability)


def test_the_model_is_what_it_was_after_a_knockout():
    model = random_model("gemma2")
    model.train()
    before = snapshot(model)
    with attention_knockout(model) as knockout:
        prefill(model, knockout, IDS, conditions())
    assert snapshot(model) == before
    with pytest.raises(RuntimeError, match="half-way"), attention_knockout(model):
        raise RuntimeError("half-way")
    assert snapshot(model) == before
