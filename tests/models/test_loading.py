"""Where models come from, and what is refused."""

import json

import pytest
import torch
from conftest import MODELS
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from flowtracer import ModelError, load
from flowtracer.models.generation import respond
from flowtracer.models.loading import emulates
from flowtracer.regions import render_prompt


def test_the_embedded_model_loads_ready_to_use(embedded):
    assert embedded.name == "embedded"
    assert not embedded.model.training
    assert embedded.model.config.model_type == "qwen3"
    assert (
        embedded.tokenizer.decode(embedded.tokenizer("(7 - 3) * 2")["input_ids"]) == "(7 - 3) * 2"
    )


def test_auto_dtype_is_the_stored_one_unless_it_would_be_emulated(embedded, tmp_path):
    embedded.tokenizer.save_pretrained(tmp_path)
    load("embedded", dtype="bfloat16").model.save_pretrained(tmp_path)
    expected = torch.float32 if emulates(torch.device("cpu"), torch.bfloat16) else torch.bfloat16
    assert load(tmp_path).model.dtype == expected
    assert load("embedded").model.dtype == torch.float32
    assert load("embedded", dtype="float32").model.dtype == torch.float32
    assert load("embedded", dtype="bfloat16").model.dtype == torch.bfloat16


def test_a_local_folder_loads(embedded, tmp_path):
    embedded.model.save_pretrained(tmp_path)
    embedded.tokenizer.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert torch.equal(again.model.lm_head.weight, embedded.model.lm_head.weight)


def test_weights_that_can_run_code_are_refused(embedded, tmp_path):
    embedded.tokenizer.save_pretrained(tmp_path)
    embedded.model.config.save_pretrained(tmp_path)
    torch.save(embedded.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load(tmp_path)


@pytest.mark.parametrize("shard", ["w.bin", "../outside.safetensors", "/tmp/outside.safetensors"])
def test_an_index_may_only_name_safetensors_inside_the_folder(shard, embedded, tmp_path):
    folder = tmp_path / "model"
    embedded.tokenizer.save_pretrained(folder)
    embedded.model.config.save_pretrained(folder)
    state = {name: value.clone() for name, value in embedded.model.state_dict().items()}
    torch.save(state, folder / "w.bin")
    save_file(state, tmp_path / "outside.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(state, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"only safetensors files inside its folder are read"):
        load(folder)
    save_file(state, folder / "part.safetensors")
    index["weight_map"] = dict.fromkeys(state, "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(load(folder).model.lm_head.weight, embedded.model.lm_head.weight)


@pytest.mark.parametrize("named", ["adapter_model.bin", "other.safetensors.index.json"])
def test_a_configuration_may_only_name_safetensors(named, embedded, tmp_path):
    embedded.tokenizer.save_pretrained(tmp_path)
    embedded.model.config.save_pretrained(tmp_path)
    torch.save(embedded.model.state_dict(), tmp_path / "adapter_model.bin")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "adapter_model.bin"}}
    (tmp_path / "other.safetensors.index.json").write_text(json.dumps(index))
    config = json.loads((tmp_path / "config.json").read_text()) | {"transformers_weights": named}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"'adapter_model.bin' for its weights; only safetensors"):
        load(tmp_path)


def test_an_adapter_that_is_pickled_is_refused(embedded, tmp_path):
    embedded.model.save_pretrained(tmp_path)
    embedded.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "."}')
    torch.save({}, tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"'adapter_model.bin' for its weights; only safetensors"):
        load(tmp_path)


def test_a_device_without_numbers_is_refused():
    with pytest.raises(ModelError, match="device meta holds no numbers; use auto, cpu or cuda"):
        load("embedded", device="meta")


def test_remote_code_runs_only_if_allowed(embedded, tmp_path):
    embedded.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w')\nclass A: ...\n")
    config = {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.A", "AutoModelForCausalLM": "evil.A"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"brings code of its own.*--trust-remote-code"):
        load(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model_type": "nothing-known"}'])
def test_a_damaged_folder_is_one_clear_error(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=str(tmp_path)) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_gguf_file_gives_the_same_model(tmp_path):
    """A tiny Llama written as GGUF by the gguf library, then read by its file name."""
    gguf = pytest.importorskip("gguf")
    path = write_gguf(gguf, tmp_path)
    loaded = load(path, dtype="float32")
    assert isinstance(loaded.model, LlamaForCausalLM)
    assert loaded.model.config.num_hidden_layers == 3
    ids = torch.tensor([[1, 2, 3]])
    assert loaded.model(ids).logits.shape == (1, 3, loaded.model.config.vocab_size)


def write_gguf(gguf, folder):
    """SmolLM2's vocabulary would be needed for a real one; a made-up one tells as much here."""
    torch.manual_seed(0)
    size, heads, layers = 32, 4, 3
    words = ["w", "1", *(f"w{i}" for i in range(50))]
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=size, intermediate_size=64, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=2,
    )  # fmt: skip
    state = {name: value.numpy() for name, value in LlamaForCausalLM(config).state_dict().items()}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(size)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(64)
    writer.add_head_count(heads)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(size // heads)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_merges(["w 1"])
    writer.add_token_types([1] * len(words))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for name, value in state.items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "tiny.gguf"


def test_greedy_answers_are_the_same_and_sampled_ones_follow_their_seed(embedded):
    prompt = render_prompt(embedded.tokenizer, "Make 33 from 3, 7, 18.").text
    ids = embedded.tokenizer(prompt)["input_ids"]
    before = torch.random.get_rng_state()

    def answer(**options):
        return respond(embedded.model, embedded.tokenizer, ids, **options)

    assert answer() == answer()
    assert answer(temperature=1.0, seed=1) == answer(temperature=1.0, seed=1)
    assert len({tuple(answer(temperature=1.0, seed=seed)) for seed in range(4)}) > 1
    counts = []
    assert len(answer(max_new_tokens=7, progress=counts.append)) == 7
    assert counts == list(range(1, 8))
    assert embedded.tokenizer.eos_token_id not in answer()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_real_model_has_a_name_without_its_path(real_model):
    from flowtracer import trace

    loaded = real_model("smollm2")
    made = trace(loaded.model, loaded.tokenizer, "2 + 3?", "\\boxed{5}")
    assert made.provenance.model == "smollm2"
    assert str(MODELS) not in str(made.provenance)
