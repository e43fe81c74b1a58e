"""Settings are read from a plug-in file, and refused in one sentence before anything is started."""

import os
import subprocess
import sys
import types

import pytest
from swift.trainers import TrainerFactory
from swift.utils import import_external_file

from flowtracer.credit import Credit, ScoreOptions, Selection, Weighting
from flowtracer.integrations.swift import use_credit
from flowtracer.integrations.swift.registration import TRAINER
from flowtracer.integrations.swift.settings import PLUGIN, options_in, read_credit
from flowtracer.integrations.swift.trainer import FlowGRPOTrainer


def chosen():
    """The class that swift would train with."""
    return TrainerFactory.get_trainer_cls(types.SimpleNamespace(rlhf_type="grpo"))


def test_the_plug_in_puts_the_trainer_into_swifts_table():
    use_credit()
    assert TrainerFactory.TRAINER_MAPPING["grpo"] == TRAINER
    assert chosen() is FlowGRPOTrainer and FlowGRPOTrainer.credit == Credit()


def test_a_plug_in_file_of_ones_own_has_the_options_of_credit(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from flowtracer.integrations.swift import use_credit\n"
        "use_credit(answer='gsm8k', layers='1-3', by='mass', ratio=0.6, weighting='sigmoid')\n"
    )
    import_external_file(str(file))
    assert chosen().credit == Credit(
        answer="gsm8k",
        options=ScoreOptions(layers="1-3"),
        selection=Selection(by="mass", ratio=0.6),
        weighting=Weighting("sigmoid"),
    )


@pytest.mark.parametrize(
    "text", ['{"answer": "gsm8k", "ratio": 0.3}', "{answer: gsm8k, ratio: 0.3}"]
)
def test_the_environment_has_them_as_json_or_yaml(text):
    assert read_credit(options_in(text)) == Credit(answer="gsm8k", selection=Selection(ratio=0.3))
    assert options_in("") == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{share: 0.4}", "options of credit:.*share"),
        ("{answer: nowhere}", "answer rule 'nowhere' is unknown"),
        ("{emphasis: 0}", "it must be above 0"),
        ("{question: user}", "do not say what the user wrote; use 'prompt'"),
        ("{scorer: magic}", "scorer 'magic' is unknown"),
        ("answer=gsm8k", "FLOW_CREDIT is 'answer=gsm8k'; write options such as"),
        ("{answer: gsm8k", "write options such as"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message) as refused:
        use_credit(**options_in(options))
    assert "\n" not in str(refused.value)
    assert TrainerFactory.TRAINER_MAPPING["grpo"] != TRAINER


def test_megatron_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "swift.megatron", types.ModuleType("swift.megatron"))
    with pytest.raises(ValueError, match="not `megatron rlhf`"):
        use_credit()


def launched(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )


def test_the_command_trains_with_credit(arguments, tmp_path):
    """`swift rlhf` as a user would start it, with the plug-in file that the package has."""
    where = launched("flowtracer.integrations.swift").stdout.strip()
    assert where == str(PLUGIN) and os.listdir(PLUGIN.parent)[0] == PLUGIN.name
    words = arguments(max_steps=1, output_dir=tmp_path)
    place = words.index("--external_plugins")
    ended = launched(
        "swift.cli.rlhf",
        *words[: place + 2],
        where,
        *words[place + 2 :],
        FLOW_CREDIT="{ratio: 0.3}",
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    (log,) = tmp_path.glob("*/logging.jsonl")
    assert "credit/selected" in log.read_text()


def test_the_command_refuses_before_it_reads_a_model(arguments):
    words = arguments(external_plugins=PLUGIN, model="/nowhere")
    ended = launched("swift.cli.rlhf", *words, FLOW_CREDIT="{share: 0.3}")
    assert ended.returncode != 0
    assert "ValueError: options of credit:" in ended.stderr and "share" in ended.stderr
