"""Settings are read, and refused in one sentence before anything is started."""

import os
import subprocess
import sys

import pytest
from conftest import HERE

from flowtracer.credit import Credit, ScoreOptions, Selection, Weighting
from flowtracer.integrations.verl.launch import check_mode
from flowtracer.integrations.verl.settings import check_settings, read_credit

PAPER = HERE.parent / "configs" / "verl" / "qwen3-4b-1k.yaml"


def test_left_out_settings_are_the_papers(verl_config):
    assert read_credit(None) == Credit()
    assert check_settings(verl_config()) == Credit()


def test_the_key_has_the_options_of_credit(verl_config):
    config = verl_config(
        "+flow_credit={answer: gsm8k, layers: 10-20, edges: value, heads: far, by: mass, "
        "ratio: 0.6, weighting: sigmoid}"
    )
    assert check_settings(config) == Credit(
        answer="gsm8k",
        options=ScoreOptions(layers="10-20", edges="value", heads="far"),
        selection=Selection(by="mass", ratio=0.6),
        weighting=Weighting("sigmoid"),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("+flow_credit={share: 0.4}", "flow_credit in the configuration.*share"),
        ("+flow_credit={answer: nowhere}", "answer rule 'nowhere' is unknown"),
        ("+flow_credit={emphasis: 0}", "it must be above 0"),
        ("+flow_credit={question: user}", "do not say what the user wrote; use 'prompt'"),
        ("+flow_credit={scorer: entropy}", "unsharded model"),
        ("+flow_credit={edges: bent}", "edges is 'bent'"),
        ("+flow_credit={scorer: magic}", "scorer 'magic' is unknown"),
        ("+flow_credit={credit_forward: auto}", "credit_forward is 'auto'; use own or ride"),
        ("trainer.use_v1=false", "older trainer gives no credit"),
        ("actor_rollout_ref.actor.strategy=megatron", "'megatron'.*choose fsdp or fsdp2"),
        ("actor_rollout_ref.actor.ulysses_sequence_parallel_size=2", "set it to 1"),
        ("actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size=2", "set it to 1"),
        ("actor_rollout_ref.actor.policy_loss.loss_mode=geo_mean", "'geo_mean'"),
    ],
)
def test_what_cannot_work_is_refused(verl_config, change, message):
    with pytest.raises(ValueError, match=message) as refused:
        check_settings(verl_config(change))
    assert "\n" not in str(refused.value)


def test_riding_needs_the_pass_that_bypass_mode_leaves_out(verl_config):
    rides = "+flow_credit={credit_forward: ride}"
    assert check_settings(verl_config(rides)) == Credit()
    with pytest.raises(ValueError, match="bypass_mode leaves out the pass"):
        check_settings(verl_config(rides, "algorithm.rollout_correction.bypass_mode=true"))


def test_asynchronous_trainers_are_refused(verl_config):
    check_mode(verl_config())
    for mode in ("colocate_async", "separate_async"):
        with pytest.raises(ValueError, match="synchronous trainer only"):
            check_mode(verl_config(f"trainer.v1.trainer_mode={mode}"))


def launched(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "flowtracer.integrations.verl", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,  # hydra writes a folder where it is started
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_the_command_refuses_before_ray_is_started(tmp_path):
    ended = launched(tmp_path, "trainer.use_v1=false")
    assert ended.returncode != 0
    assert "older trainer gives no credit" in ended.stderr and "ray init" not in ended.stdout


def test_the_config_of_the_paper_is_whole_and_the_papers(tmp_path):
    ended = launched(
        tmp_path, "--config-dir", str(PAPER.parent), "--config-name", PAPER.stem, "--cfg", "job"
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    from omegaconf import OmegaConf

    config = OmegaConf.create(ended.stdout)
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert check_settings(config) == Credit(answer="boxed")  # what the prompts ask for
    assert config.data.train_batch_size * rollout.n == 512
    assert config.algorithm.adv_estimator == "grpo" and config.algorithm.norm_adv_by_std_in_grpo
    assert (actor.loss_agg_mode, actor.clip_ratio, actor.optim.lr) == (
        "seq-mean-token-mean",
        0.2,
        1e-6,
    )
    assert not actor.use_kl_loss and not config.algorithm.use_kl_in_reward
    assert actor.entropy_coeff == 0 and actor.clip_ratio_c > 1e3
    assert (rollout.temperature, rollout.top_k, rollout.top_p) == (0.99, 100, 1.0)
    assert config.trainer.total_training_steps == 500 and config.trainer.n_gpus_per_node == 8
    assert config.data.max_response_length == 1024
