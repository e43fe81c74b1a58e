"""Models that mix softmax attention with other means: what is chosen, said and refused."""

import json

import pytest
import torch
from helpers.architectures import tiny_config, tiny_model

from flowtracer import load_trace, trace
from flowtracer.attention import (
    AttentionCaptureError,
    mean_attention,
    model_layers,
    observe_layers,
)
from flowtracer.credit import Credit
from flowtracer.intervention import attention_knockout
from flowtracer.models.continuation import continue_prefixes, read_prefix, read_text, sampled
from flowtracer.models.layer_kinds import ranges, softmax_layers, unseen_layers, unseen_note
from flowtracer.render.page_data import page_data


@pytest.mark.parametrize(
    ("name", "softmax", "unseen"),
    [
        ("qwen3_next", (2, 5), (0, 1, 3, 4)),
        ("falcon_h1", (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5)),  # both in each layer
        ("nemotron_h", (1, 4), (0, 3)),  # its other layers pass nothing from token to token
        ("lfm2", (2, 4), (0, 1, 3, 5)),
        ("jamba", (2, 5), (0, 1, 3, 4)),
        ("qwen3", (0, 1, 2, 3, 4, 5), ()),
    ],
)
def test_kinds_of_layers_come_from_the_config(name, softmax, unseen):
    config = tiny_config(name)
    assert (softmax_layers(config), unseen_layers(config)) == (softmax, unseen)


def test_what_is_not_seen_is_said_in_one_sentence():
    assert unseen_note(()) == ""
    assert unseen_note((0, 1, 2, 4)).startswith(
        "what layers 0-2, 4 of this hybrid model pass on by"
    )
    assert unseen_note((3,)).startswith("what layer 3 of")
    assert ranges((0, 1, 2, 5, 7, 8)) == "0-2, 5, 7-8"


def test_numbers_of_layers_stay_strict():
    model = tiny_model("qwen3_next")
    assert model_layers(model, "middle") == (2,)
    with pytest.raises(ValueError, match="layers: 3 has no softmax attention in this hybrid model"):
        mean_attention(model, torch.ones(1, 4, dtype=torch.long), layers="2-3")


def test_a_trace_says_what_it_does_not_see(embedded, tmp_path):
    model = tiny_model("qwen3_next")
    model.resize_token_embeddings(len(embedded.tokenizer))
    with pytest.warns(UserWarning, match="what layers 0-1, 3-4 of this hybrid model pass on"):
        made = trace(
            model, embedded.tokenizer, "Make 4 from 1, 2, 3.", "1 + 3 = 4", answer="last-line"
        )
    assert made.provenance.layers == (2,)
    assert made.provenance.unseen_layers == (0, 1, 3, 4)
    meta = page_data(made)["meta"]
    assert meta["layers"] == "2 (of those with softmax attention)"
    assert meta["not seen"].endswith("a convolution or a state space, here in layers 0-1, 3-4")
    made.save(tmp_path / "one.json")
    assert load_trace(tmp_path / "one.json") == made
    older = made.to_json()
    del older["provenance"]["unseen_layers"]
    (tmp_path / "older.json").write_text(json.dumps(older))
    assert load_trace(tmp_path / "older.json").provenance.unseen_layers == ()


def test_a_plain_model_is_not_warned_of(embedded, recwarn):
    made = trace(
        embedded.model, embedded.tokenizer, "Make 4 from 1, 2, 3.", "1 + 3 = 4", answer="last-line"
    )
    assert made.provenance.unseen_layers == () and "not seen" not in page_data(made)["meta"]
    Credit().check_model(embedded.model)
    assert not [warning for warning in recwarn if "hybrid" in str(warning.message)]


def test_credit_warns_of_a_hybrid_model():
    with pytest.warns(UserWarning, match="Qwen3NextForCausalLM: what layers 0-1, 3-4"):
        Credit().check_model(tiny_model("qwen3_next"))


def test_a_token_cannot_be_hidden_in_a_hybrid_model():
    message = (
        "attention knockout hides a token from softmax attention, and layers 0-1, 3-4 would pass"
    )
    with (
        pytest.raises(AttentionCaptureError, match=message),
        attention_knockout(tiny_model("jamba")),
    ):
        pass


def test_hybrid_models_go_on_from_a_prefix_but_not_from_within_a_text():
    model = tiny_model("qwen3_next")
    ids = [5, 9, 31, 7, 40, 11]
    plain = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    texts = (ids, ids[:4])
    expected = [model.generate(torch.tensor([t]), **plain)[0, len(t) :].tolist() for t in texts]
    prefixes = [read_prefix(model, text) for text in texts]
    new = continue_prefixes(
        model, prefixes, copies=2, limits=[6, 6], ends=(), choose=sampled(0.0, torch.Generator())
    )
    assert new == [expected[0], expected[0], expected[1], expected[1]]
    with pytest.raises(AttentionCaptureError, match="cannot be continued from within"):
        read_text(model, ids)


def test_copies_of_a_prefix_part_ways_with_their_own_states():
    model = tiny_model("falcon_h1")
    ids = [5, 9, 31, 7, 40, 11]
    generator = torch.Generator().manual_seed(0)
    logits = []
    draw = sampled(1.0, generator)

    def choose(of_rows, rows):
        logits.append((of_rows, rows))
        return draw(of_rows, rows)

    new = continue_prefixes(
        model, [read_prefix(model, ids)], copies=4, limits=[5], ends=(), choose=choose
    )
    assert len({tuple(tokens) for tokens in new}) > 1
    last, rows = logits[-1]
    for copy, row in enumerate(rows.tolist()):
        with torch.no_grad():
            alone = model(torch.tensor([ids + new[copy][:4]])).logits[0, -1]
        torch.testing.assert_close(last[row], alone, atol=1e-4, rtol=1e-4)


def test_a_pass_that_is_observed_still_attends_to_selected_tokens_only():
    model = tiny_model("deepseek_v32")
    ids = torch.randint(3, 97, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(ids, use_cache=False).logits
        with observe_layers(model, [2, 3], lambda call: None):
            observed = model(ids, use_cache=False).logits
    torch.testing.assert_close(observed, expected)
    assert int((mean_attention(model, ids, layers=[2])[0, -1] > 0).sum()) <= 8
