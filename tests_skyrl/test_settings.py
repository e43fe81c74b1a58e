"""Settings are read, and refused in one sentence before Ray is started."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("skyrl", reason="SkyRL is not installed; `make test-skyrl` does that")

from conftest import make_trainer

from flowtracer.credit import Credit, Selection
from flowtracer.integrations.skyrl import FlowRayPPOTrainer, check_settings


def test_options_of_credit_stand_beside_the_model(config):
    assert check_settings(config()).credit == Credit()
    settings = check_settings(config("flow_credit.answer=gsm8k", "flow_credit.ratio=0.2"))
    assert settings.model == "embedded"
    assert settings.credit == Credit(answer="gsm8k", selection=Selection(ratio=0.2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("flow_credit.model=null", "flow_credit needs model or url"),
        ("flow_credit.url=http://h", "flow_credit needs model or url, one of them"),
        ("flow_credit.share=0.4", "flow_credit.*'share'"),
        ("flow_credit.answer=nowhere", "answer rule 'nowhere' is unknown"),
        ("flow_credit.emphasis=0", "it must be above 0"),
        ("trainer.algorithm.advantage_batch_normalize=true", "set it to false"),
        ("trainer.algorithm.policy_loss_type=clip_cov", "policy_loss_type is 'clip_cov'"),
        ("trainer.algorithm.policy_loss_type=kl_cov", "use one of regular"),
        ("generator.vision_language_generator=true", "the scorer reads text only"),
    ],
)
def test_what_cannot_work_is_refused(config, embedded, change, message):
    with pytest.raises(ValueError, match=message) as refused:
        check_settings(config(change))
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=message):
        make_trainer(FlowRayPPOTrainer, config(change), embedded.tokenizer)


START = """
import sys, typing, typing_extensions
typing.TypedDict = typing_extensions.TypedDict
sys.argv = ["main_base", "trainer.override_entrypoint=flowtracer.integrations.skyrl", *sys.argv[1:]]
from skyrl.train.entrypoints.main_base import main
main()
"""


def test_skyrls_command_refuses_before_ray_is_started():
    ended = subprocess.run(
        [sys.executable, "-c", START, "flow_credit.model=embedded", "flow_credit.share=0.4"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode != 0
    assert "flow_credit" in ended.stderr and "'share'" in ended.stderr, ended.stderr[-2000:]
    assert "Started a local Ray instance" not in ended.stderr
