"""Our decoding loop against transformers' own: the same tokens from the same random numbers."""

import copy

import pytest
import torch
from helpers.models import ARCHITECTURES, random_model
from transformers import AutoModelForCausalLM, GenerationConfig, MambaConfig

from flowtracer.models import decoding, graphed
from flowtracer.models.decoding import can_decode, decode, decode_fast


def prompts(copies=3):
    """Prompts of different lengths, padded on the left, some of them twice."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 97, (4, 9), generator=generator)
    mask = torch.ones_like(ids)
    for row, gap in enumerate((0, 4, 2, 0)):
        mask[row, :gap] = 0
        ids[row, :gap] = 0
    return {
        "input_ids": ids.repeat_interleave(copies, 0),
        "attention_mask": mask.repeat_interleave(copies, 0),
    }


def config(**changes):
    settings = {
        "max_new_tokens": 20,
        "do_sample": True,
        "temperature": 0.9,
        "top_k": 0,
        "top_p": 1.0,
        "pad_token_id": 0,
        "eos_token_id": list(range(3, 12)),
        "disable_compile": True,
    }
    return GenerationConfig(**settings | changes)


def both(model, inputs, settings, seed=0):
    torch.manual_seed(seed)
    theirs = model.generate(**inputs, generation_config=settings)
    after = torch.get_rng_state()
    torch.manual_seed(seed)
    ours = model.generate(**inputs, generation_config=settings, custom_generate=decode)
    return theirs, ours, torch.equal(after, torch.get_rng_state())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tokens_and_random_numbers_are_those_of_generate(name):
    theirs, ours, same_state = both(random_model(name), prompts(), config())
    assert torch.equal(theirs, ours) and same_state


@pytest.mark.parametrize(
    "changes",
    [
        {"do_sample": False, "temperature": None, "top_p": None, "top_k": None},
        {"top_k": 5},
        {"top_p": 0.6},
        {"temperature": 3.0},
        {"repetition_penalty": 1.5},
        {"eos_token_id": 5},
        {"eos_token_id": None},
        {"max_new_tokens": 1},
        {"min_new_tokens": 6},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_way_of_sampling_gives_the_same_tokens(changes, seed):
    theirs, ours, same_state = both(random_model("qwen3"), prompts(), config(**changes), seed)
    assert torch.equal(theirs, ours) and same_state


def test_prompts_without_padding_give_the_same_tokens():
    ids = torch.randint(3, 97, (5, 6), generator=torch.Generator().manual_seed(2))
    theirs, ours, _ = both(random_model("llama"), {"input_ids": ids}, config())
    assert torch.equal(theirs, ours)


def test_ended_rows_and_equal_rows_do_not_run():
    model = random_model("qwen3")
    rows = []
    handle = model.register_forward_hook(
        lambda module, arguments, kwargs, output: rows.append(len(output.logits)), with_kwargs=True
    )
    torch.manual_seed(0)
    model.generate(**prompts(8), generation_config=config(), custom_generate=decode)
    handle.remove()
    assert rows[0] == 4 and rows[-1] < max(rows) <= 32


ONE_MASK = ("qwen2", "qwen3", "llama", "phi3")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_windows_are_not_put_under_one_mask(name):
    assert graphed.has_one_mask(random_model(name)) == (name in ONE_MASK)


@pytest.mark.parametrize("name", ONE_MASK)
@pytest.mark.parametrize("columns", [3, 256])
def test_buffers_of_fixed_shape_give_the_tokens_of_generate(name, columns, monkeypatch):
    monkeypatch.setattr(decoding, "runs_in_graphs", lambda model: True)
    monkeypatch.setattr(graphed, "COLUMNS", columns)
    theirs, ours, same_state = both(random_model(name), prompts(), config())
    assert torch.equal(theirs, ours) and same_state


@pytest.mark.parametrize("name", ["qwen3", "gemma3"])
def test_steps_are_recorded_only_on_a_gpu(name):
    assert not graphed.runs_in_graphs(random_model(name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
@pytest.mark.parametrize("name", ONE_MASK)
def test_graphs_give_the_tokens_of_generate_on_a_gpu(name, monkeypatch):
    recorded = []
    record = graphed.FixedTexts._record
    monkeypatch.setattr(
        graphed.FixedTexts, "_record", lambda self: (record(self), recorded.append(self.replay))
    )
    model = random_model(name).cuda()
    inputs = {key: value.cuda() for key, value in prompts(8).items()}
    torch.manual_seed(0)
    theirs = model.generate(**inputs, generation_config=config())
    after = torch.cuda.get_rng_state()
    torch.manual_seed(0)
    ours = model.generate(**inputs, generation_config=config(), custom_generate=decode)
    assert torch.equal(theirs, ours) and torch.equal(after, torch.cuda.get_rng_state())
    assert recorded and all(recorded)


def test_a_model_told_to_decode_fast_still_does_all_else():
    model = random_model("qwen3")
    inputs = prompts()
    torch.manual_seed(0)
    sampled = model.generate(**inputs, generation_config=config())
    beams = {"num_beams": 2, "do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    searched = model.generate(**inputs, generation_config=config(**beams))
    decode_fast(model)
    torch.manual_seed(0)
    assert torch.equal(model.generate(**inputs, generation_config=config()), sampled)
    assert torch.equal(model.generate(**inputs, generation_config=config(**beams)), searched)
    output = model.generate(
        **inputs, generation_config=config(return_dict_in_generate=True, output_scores=True)
    )
    assert len(output.scores) > 0
    assert can_decode(model)


def test_tokens_follow_the_models_distribution():
    model = random_model("qwen3")
    ids = torch.randint(3, 97, (1, 6), generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    settings = config(max_new_tokens=1, temperature=2.0, eos_token_id=None)
    tokens = model.generate(
        input_ids=ids.repeat(20_000, 1), generation_config=settings, custom_generate=decode
    )[:, -1]
    with torch.no_grad():
        expected = (model(ids).logits[0, -1].double() / 2.0).softmax(-1) * len(tokens)
    likely = expected >= 5
    counts = torch.bincount(tokens, minlength=len(expected)).double()
    bins = torch.cat([expected[likely], expected[~likely].sum()[None]])
    seen = torch.cat([counts[likely], counts[~likely].sum()[None]])
    freedom = len(bins) - 1
    statistic = float(((seen - bins).square() / bins.clamp(min=1e-9)).sum())
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5


def test_a_copy_of_the_model_decodes_with_its_own_weights():
    model = random_model("qwen3")
    decode_fast(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.lm_head.weight.neg_()
    settings = config(do_sample=False, temperature=None, top_p=None, top_k=None)
    expected = twin.generate(**prompts(), generation_config=settings, custom_generate=decode)
    assert torch.equal(twin.generate(**prompts(), generation_config=settings), expected)
    assert not torch.equal(model.generate(**prompts(), generation_config=settings), expected)


def test_models_that_prepare_inputs_in_their_own_way_are_left_to_it():
    assert not can_decode(random_model("phi3"))
    state_space = AutoModelForCausalLM.from_config(
        MambaConfig(vocab_size=99, hidden_size=16, num_hidden_layers=1, state_size=4)
    )
    assert not can_decode(state_space)
