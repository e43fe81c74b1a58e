"""One name for one thing: spellings, misspelt and earlier names, and help that loads nothing heavy."""

import subprocess
import sys

import pytest
from helpers.commands import call

from flowtracer.cli.main import describe
from flowtracer.option_names import meant, read_settings_file


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trace --max_new_token 3", "did you mean --max-new-tokens"),
        ("trace --layer 3", "did you mean --layers"),
        ("score x --select-ratio 0.3", "it is called --ratio here"),
        ("score x --method flow", "it is called --scorer here"),
        ("study causal --share 0.3", "it is called --ratio here"),
        ("eval --limit 3", "it is called --problems here"),
        ("eval --samples 3", "it is called --responses here"),
        ("trace --xyzzy", "there is no option --xyzzy; see"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_the_one_that_does(words, message, tmp_path):
    result = call(*words.split(), cwd=tmp_path)
    assert result.returncode == 2 and message in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--max_step 3", "did you mean --max-steps"),
        ("--select-end top", "it is called --end here"),
        ("--scorer flow", "it is called --method here"),
        ("--out x", "it is called --output-dir here"),
        ("--task_limit 3", "it is called --problems here"),
    ],
)
def test_train_takes_no_abbreviations(words, message, tmp_path):
    pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
    (tmp_path / "c.yaml").write_text("task: countdown\nuse-cpu: true\nbf16: false\n")
    result = call("train", "c.yaml", *words.split(), cwd=tmp_path)
    assert result.returncode == 1 and message in result.stderr, result.stderr


def test_keys_of_a_file_may_be_spelt_either_way(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("max-new-tokens: 3\ntask: gsm8k\n")
    assert read_settings_file(path) == {"max_new_tokens": 3, "task": "gsm8k"}
    path.write_text("max-new-tokens: 3\nmax_new_tokens: 4\n")
    with pytest.raises(ValueError, match="'max_new_tokens' is given twice"):
        read_settings_file(path)
    assert meant("max_step", ["max_steps", "seed"]) == "max_steps" and meant("", ["seed"]) is None


def test_a_missing_package_is_named_with_its_extra():
    error = ModuleNotFoundError("No module named 'datasets'", name="datasets")
    assert describe(error) == (
        "this needs the package datasets; install it with `pip install 'flowtracer[train]'`", 1,
    )  # fmt: skip
    error = ImportError("data sets need datasets; install it with pip install 'flowtracer[train]'")
    assert describe(error) == (str(error), 1)


def test_help_and_a_missing_file_load_no_torch(tmp_path):
    program = (
        "import sys; from flowtracer.cli import main as cli; sys.argv = ['flowtracer', {}]\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "assert not {{'torch', 'transformers', 'matplotlib'}} & set(sys.modules)"
    )
    for words in ("'--help'", "'trace', '--help'", "'train', 'nope.yaml'"):
        command = [sys.executable, "-c", program.format(words)]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
