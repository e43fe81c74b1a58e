"""Code that comes with a model runs in a study only if the command line allows it."""

import json
import sys

import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")

from flowtracer.cli.main import main


@pytest.mark.parametrize("study", ["causal", "formats", "shape", "value"])
def test_a_study_names_an_option_that_it_has(embedded, tmp_path, study, monkeypatch, capsys):
    embedded.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w')\nclass A: ...\n")
    classes = {"AutoConfig": "evil.A", "AutoModelForCausalLM": "evil.A"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": classes}))
    monkeypatch.chdir(tmp_path)
    words = ["flowtracer", "study", study, "--model", str(tmp_path), "--out", "out"]

    def run(*options):
        monkeypatch.setattr(sys, "argv", [*words, *options])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    status, said = run()
    assert status == 1 and "allow it with trust_remote_code (--trust-remote-code)" in said
    assert not (tmp_path / "ran").exists()
    status, said = run("--trust-remote-code")
    assert status == 1 and "No such option" not in said and "brings code" not in said
