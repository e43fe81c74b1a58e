"""What a run leaves to be watched: also of values, and when it is interrupted."""

import copy
import sys
import types

import pytest

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.grpo import grpo_trainer
from helpers.settings import CONFIG

from flowtracer.training.arguments import read_settings
from flowtracer.training.run import WatchedValueTrainer, train
from flowtracer.training.value import ValueArguments
from flowtracer.watching.formats import read_rollouts

calls, pages = [], []


def interrupts(response, example):
    """A reward that is interrupted in the second step."""
    calls.append(response)
    if len(calls) > 16:
        pages[0].unlink()  # the one of the first step
        raise KeyboardInterrupt
    return float(len(calls) % 2)


def test_an_interrupted_run_has_its_page(tmp_path, monkeypatch):
    module = types.ModuleType("interrupting")
    module.interrupts = interrupts
    monkeypatch.setitem(sys.modules, "interrupting", module)
    (tmp_path / "c.yaml").write_text(CONFIG)
    options = ["--output_dir", str(tmp_path / "out"), "--reward", "interrupting:interrupts"]
    pages.append(tmp_path / "out" / "rollouts.html")
    with pytest.raises(KeyboardInterrupt):
        train(read_settings(tmp_path / "c.yaml", [*options, "--rollouts_every", "1"]))
    assert [rollout.step for rollout in read_rollouts(tmp_path / "out").rollouts] == [1] * 8
    assert pages[0].exists()


def test_values_are_advantages_of_tokens(embedded, tmp_path):
    trainer = grpo_trainer(
        WatchedValueTrainer,
        copy.deepcopy(embedded.model),
        embedded.tokenizer,
        tmp_path / "out",
        reward=lambda completions, **_: [
            float(len(set(str(completion)))) for completion in completions
        ],
        values=ValueArguments(value_continuations=1),
        config={"max_completion_length": 8, "per_device_train_batch_size": 4},
    )
    trainer.train()
    for rollout in read_rollouts(tmp_path / "out").rollouts:
        assert rollout.weights is None and rollout.advantage is None and rollout.reward is not None
        assert len(rollout.advantages) == len(rollout.tokens)
