"""A model with code of its own: refused with the option named, whatever is piped into the command."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from flowtracer.models import ModelError, load_tokenizer, model_path

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")


@pytest.fixture
def with_code(tmp_path):
    """A folder whose configuration names a class of its own, which writes a file when it is imported."""
    folder = tmp_path / "model"
    shutil.copytree(model_path("embedded"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "odd"
    config["auto_map"] = {
        "AutoConfig": "odd.OddConfig",
        "AutoModelForCausalLM": "odd.OddModel",
        "AutoTokenizer": ["odd.OddTokenizer", None],
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "odd.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    return folder


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["eval", "--problems", "1"], "--trust-remote-code"),
        (["train", "c.yaml"], "--trust-remote-code true"),
    ],
)
def test_a_piped_yes_does_not_run_the_code(with_code, tmp_path, words, option):
    (tmp_path / "c.yaml").write_text("task: countdown\nuse_cpu: true\nbf16: false\n")
    name = "--model" if words[0] == "eval" else "--model_name_or_path"
    ended = subprocess.run(
        [sys.executable, "-m", "flowtracer", *words, name, str(with_code)],
        cwd=tmp_path, input="y\n" * 5, capture_output=True, text=True, timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 1 and not (tmp_path / "ran").exists()
    assert (
        f"brings code of its own; if you trust it, allow it with trust_remote_code ({option})"
        in (ended.stderr)
    )
    assert "[y/N]" not in ended.stdout + ended.stderr


def test_neither_paths_nor_tokenizers_ask(with_code, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda text: 1 / 0)
    with pytest.raises(ModelError, match="brings code of its own"):
        model_path(str(with_code))
    assert load_tokenizer(str(with_code)).vocab_size  # transformers' own class reads its files
    assert not (tmp_path / "ran").exists()


def test_weights_outside_of_the_folder_are_not_trained(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_path("embedded"), folder)
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="only safetensors files inside its folder"):
        model_path(str(folder))
