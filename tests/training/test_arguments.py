"""Settings of training runs: files that load, overrides that win, mistakes that get one sentence."""

import os
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from flowtracer.credit import Selection, Weighting
from flowtracer.training.arguments import read_settings

CONFIGS = Path(__file__).parents[2] / "configs"
HERE = ["--use_cpu", "true", "--bf16", "false"]


@pytest.mark.parametrize("path", sorted((CONFIGS / "paper").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_papers_runs_load_with_its_settings(path):
    settings = read_settings(path, HERE)
    trainer, model = settings.trainer, settings.model.model_name_or_path
    devices = 16 if "8B" in model else 8
    device_batch = trainer.per_device_train_batch_size * trainer.gradient_accumulation_steps
    assert device_batch * devices == 512
    assert f"on a device x {trainer.gradient_accumulation_steps}" in path.read_text()
    assert trainer.max_completion_length == (8192 if path.stem.endswith("8k") else 1024)
    assert trainer.max_steps == (600 if "8B" in model else 500)
    assert (trainer.learning_rate, trainer.beta, trainer.epsilon) == (1e-6, 0.0, 0.2)
    assert (trainer.temperature, trainer.top_p, trainer.top_k) == (0.99, 1.0, 100)
    assert trainer.loss_type == "grpo" and trainer.scale_rewards == "group"
    assert not trainer.vllm_importance_sampling_correction
    credit = settings.credit.credit_of_run(answer="boxed", seed=0)
    assert credit.scorer == "flow" and credit.options.layers == "middle"
    assert credit.selection == Selection(ratio=0.4) and credit.weighting == Weighting(emphasis=1.5)


@pytest.mark.parametrize("name", ["countdown", "countdown4", "one-gpu-lora"])
def test_small_configs_load(name):
    settings = read_settings(CONFIGS / f"{name}.yaml", HERE)
    assert settings.credit.method == "flow"
    assert settings.model.use_peft == (name == "one-gpu-lora")


@pytest.mark.parametrize("method", ["grpo", "uniform"])
def test_the_command_line_wins_over_the_file(method):
    overrides = ["--method", method, "--learning_rate", "1e-4", "--emphasis", "2", *HERE]
    settings = read_settings(CONFIGS / "countdown.yaml", overrides)
    assert settings.credit.method == method and settings.trainer.learning_rate == 1e-4
    assert settings.credit.credit_of_run(answer="boxed", seed=0) is None
    assert settings.task.task == "countdown"


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("learning_rte: 1.0e-5\n", [], "learning_rte"),
        (
            "method: magic\n",
            [],
            "method 'magic' is unknown; use one of grpo, uniform, value, calibrated, flow",
        ),
        ("task: [\n", [], "c.yaml"),
        ("- a\n- b\n", [], "mapping"),
        ("emphasis: -1\n", [], "emphasis is -1"),
        ("end: left\n", [], "'top' or 'bottom'"),
        ("learning_rate: fast\n", [], "fast"),
        ("", ["--max_steps", "many"], "many"),
        ("num_generations: 7\nper_device_train_batch_size: 8\n", [], "num_generations"),
    ],
)
def test_mistakes_get_one_sentence(text, overrides, message, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(text or "task: countdown\n")
    with pytest.raises(ValueError, match=message) as raised:
        read_settings(path, [*overrides, *HERE])
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.yaml is not a file"):
        read_settings(tmp_path / "none.yaml")


def test_a_file_may_not_set_environment_variables(tmp_path, monkeypatch):
    monkeypatch.delenv("PLANTED", raising=False)
    path = tmp_path / "c.yaml"
    path.write_text("env: {PLANTED: '1'}\ntask: countdown\n")
    with pytest.raises(ValueError, match=r"c\.yaml: env sets environment variables.*--allow-env"):
        read_settings(path, HERE)
    assert "PLANTED" not in os.environ
    read_settings(path, HERE, allow_env=True)
    assert os.environ.pop("PLANTED") == "1"


@pytest.mark.parametrize(
    "text",
    [
        "trust_remote_code: true\n",
        "model_init_kwargs: {trust_remote_code: true}\n",
        "model_init_kwargs: '{\"trust_remote_code\": true}'\n",
        "attn_implementation: someone/kernels\n",
        "model_init_kwargs: {use_kernels: true}\n",
    ],
)
def test_only_the_command_line_allows_code_of_a_model(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="pass --trust-remote-code true on the command line"):
        read_settings(path, HERE)
    read_settings(path, ["--trust_remote_code", "true", *HERE])


def test_calibrated_is_a_method_with_settings_of_its_own():
    words = ["--method", "calibrated", "--calibrated_rules", "flow position@end=bottom"]
    words += ["--calibrated_choice", "mixed", "--use_cpu", "true", "--bf16", "false"]
    settings = read_settings(None, words)
    rule = settings.calibrated.rule()
    assert rule.rules == ("flow", "position@end=bottom") and rule.choice == "mixed"
    credit = settings.credit.credit_of_run(answer="choice", seed=0, calibrated=rule)
    assert credit.rule is rule and credit.answer == "choice"
    with pytest.raises(ValueError, match="choice is 'soft'"):
        read_settings(None, [*words, "--calibrated_choice", "soft"])
