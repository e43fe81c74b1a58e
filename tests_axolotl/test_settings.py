"""Settings are read from Axolotl's configuration, and refused in one sentence before a model is read."""

import os
import subprocess
import sys

import pytest
from axolotl.cli.config import load_cfg
from conftest import HERE

from flowtracer.credit import Credit, ScoreOptions, Selection, Weighting
from flowtracer.integrations.axolotl import TRAINER, check_settings


def test_the_plug_in_chooses_the_trainer(config):
    assert load_cfg(config()).trainer_cls == TRAINER
    assert load_cfg(config(flow_credit=None)).trainer_cls == TRAINER
    assert load_cfg(config(trainer_cls="mine.Trainer")).trainer_cls == "mine.Trainer"


def test_the_key_has_the_options_of_credit(config):
    options = {
        "answer": "gsm8k",
        "layers": "1-3",
        "by": "mass",
        "ratio": 0.6,
        "weighting": "sigmoid",
    }
    credit, forward = check_settings(load_cfg(config(flow_credit=options)))
    assert forward == "auto"
    assert credit == Credit(
        answer="gsm8k",
        options=ScoreOptions(layers="1-3"),
        selection=Selection(by="mass", ratio=0.6),
        weighting=Weighting("sigmoid"),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow_credit": {"share": 0.4}}, "flow_credit:.*share"),
        ({"flow_credit": {"answer": "nowhere"}}, "answer rule 'nowhere' is unknown"),
        ({"flow_credit": {"emphasis": 0}}, "it must be above 0"),
        ({"flow_credit": {"scorer": "magic"}}, "scorer 'magic' is unknown"),
        ({"flow_credit": {"credit_forward": "later"}}, "use auto, own or ride"),
        ({"flow_credit": "gsm8k"}, "flow_credit is 'gsm8k'"),
        ({"rl": "gdpo"}, "given by rl: grpo only"),
        ({"trl": {"use_liger_loss": True}}, "takes one advantage for a sequence"),
        ({"trl": {"async_prefetch": True}}, "asynchronous trainer"),
        ({"trl": {"use_data_producer": True}}, "asynchronous trainer"),
        ({"context_parallel_size": 2}, "all of a response on one device"),
    ],
)
def test_what_cannot_work_is_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        load_cfg(config(base_model="/nowhere", **changes))


def test_the_trainer_without_its_plug_in_is_refused(train):
    """Axolotl drops the key then, and its settings with it."""
    with pytest.raises(ValueError, match="FlowCreditPlugin to plugins"):
        train("Flow", plugins=None)


def launched(file, **environment):
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "axolotl.cli.train", file],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )


def test_the_command_trains_with_credit(config, tmp_path):
    """Axolotl's own command, with the configuration that a user would write."""
    ended = launched(config(max_steps=1, output_dir=str(tmp_path)))
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "credit/selected" in ended.stdout + ended.stderr
