"""Rollouts that TRL's trainers keep: what is kept is what the loss was given, and nothing else changes."""

import copy

import pyarrow.parquet as parquet
import pytest
import torch

pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
from helpers.grpo import distinct_letters, grpo_trainer
from trl import GRPOTrainer

from flowtracer.credit import Calibrated, Credit, Weighting
from flowtracer.integrations import trl_tables
from flowtracer.integrations.trl import FlowCreditMixin
from flowtracer.integrations.trl_parts import LengthSortedMixin
from flowtracer.integrations.trl_rollouts import RELIED_ON, RolloutsMixin
from flowtracer.integrations.trl_rows import summed
from flowtracer.tasks import load_task
from flowtracer.watching.formats import read_rollouts
from flowtracer.watching.parts import logged_steps, part_path, read_part

ANYWHERE = Credit(answer=lambda text: [(len(text) // 2, len(text) // 2 + 4)])


class Recording:
    """Keeps what the loss was given, by the tokens of the response."""

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        for ids, mask, advantages in zip(
            inputs["completion_ids"], inputs["completion_mask"], inputs["advantages"], strict=True
        ):
            seen = self.__dict__.setdefault("seen", {})
            width = advantages.expand(mask.shape) if advantages.dim() == 0 else advantages
            seen.setdefault(tuple(ids[mask > 0].tolist()), width[mask > 0])
        return loss


class Credited(Recording, LengthSortedMixin, FlowCreditMixin, GRPOTrainer):
    pass


class Plain(RolloutsMixin, Recording, LengthSortedMixin, GRPOTrainer):
    pass


@pytest.fixture
def trained(embedded, tmp_path):
    def train(kind=Credited, name="out", **options):
        if kind is Credited:
            options = {"credit": ANYWHERE} | options
        trainer = grpo_trainer(
            kind, copy.deepcopy(embedded.model), embedded.tokenizer, tmp_path / name, **options
        )
        trainer.train()
        return trainer, tmp_path / name

    return train


def parameters(trainer):
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


def test_what_is_relied_on_in_trl(trained):
    trainer, _ = trained(GRPOTrainer)
    missing = [name for name in RELIED_ON if not hasattr(trainer, name)]
    assert not missing, f"TRL's trainer no longer has {missing}"
    assert {"advantages", "rewards", *trl_tables.RELIED_ON} <= trainer._logs.keys()
    (name,) = trainer.reward_func_names
    assert len(trainer._logs["rewards"][name]) == len(trainer._logs["advantages"]) == 8
    assert trainer._logs["extra"]["anything"].maxlen == trainer._logs["prompt"].maxlen == 8
    assert trainer._logs["advantages"][0] != trainer._logs["advantages"][1]


@pytest.mark.parametrize("forward", ["ride", "own"])
def test_what_is_kept_is_what_the_loss_was_given(trained, embedded, forward):
    """In micro-batches, shuffled by TRL, with several updates on one batch."""
    trainer, folder = trained(
        credit_forward=forward,
        rollouts_count=5,
        config={
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "num_iterations": 2,
        },
    )
    kept = read_part(part_path(folder, 1))
    assert len(kept) == 5 and len({rollout.row for rollout in kept}) == 5
    for rollout in kept:
        loss_advantages = trainer.seen[tuple(rollout.token_ids)]
        assert rollout.advantages == pytest.approx(loss_advantages.tolist())
        assert rollout.advantages == pytest.approx(
            [rollout.advantage * weight for weight in rollout.weights]
        )
        assert "".join(rollout.tokens) == embedded.tokenizer.decode(rollout.token_ids)
        assert rollout.rewards == {"distinct_letters": rollout.reward}
        text = embedded.tokenizer.decode(rollout.token_ids, skip_special_tokens=True)
        assert rollout.reward == len(set(text)) and "Make" in rollout.prompt
        assert rollout.answered and sum(rollout.answer) > 0 and max(rollout.scores) > 0
        assert set(rollout.weights) == {1.0, 1.5}
    assert {rollout.advantage > 0 for rollout in kept} == {True, False}


def test_every_so_many_steps_and_with_a_page(trained):
    _, folder = trained(rollouts_every=2, config={"max_steps": 5})
    assert logged_steps(folder) == [1, 3, 5]
    assert "rollouts" in (folder / "rollouts.html").read_text()
    assert len(read_rollouts(folder).rollouts) == 3 * 8


def test_steps_that_learn_from_one_batch_count_as_such(trained):
    """A batch every third step: the first of each window of two steps that has one."""
    _, folder = trained(rollouts_every=2, config={"max_steps": 7, "num_iterations": 3})
    assert logged_steps(folder) == [1, 4, 7]


@pytest.mark.parametrize("kind", [Credited, Plain])
def test_keeping_them_changes_nothing_and_never_is_never(trained, kind):
    trainer, folder = trained(kind, name="a", rollouts_every=1)
    other, empty = trained(kind, name="b", rollouts_every=0)
    assert torch.equal(parameters(trainer), parameters(other))
    assert logged_steps(folder) == [1]
    assert not (empty / "rollouts").exists() and not (empty / "rollouts.html").exists()


def test_plain_grpo_is_kept_with_even_weights(trained):
    trainer, folder = trained(Plain)
    for rollout in read_part(part_path(folder, 1)):
        assert set(rollout.weights) == {1.0} and rollout.scores is None and rollout.answered is None
        assert rollout.advantages == pytest.approx(trainer.seen[tuple(rollout.token_ids)].tolist())


def test_neutral_and_calibrated_credit_are_kept(trained):
    _, folder = trained(credit=Credit(weighting=Weighting(emphasis=1)))
    assert {
        weight for rollout in read_part(part_path(folder, 1)) for weight in rollout.weights
    } == {1.0}
    trainer, folder = trained(
        credit=Credit(rule=Calibrated(rules=("position",), parts=4)), name="b"
    )
    for rollout in read_part(part_path(folder, 1)):
        assert rollout.advantages == pytest.approx(trainer.seen[tuple(rollout.token_ids)].tolist())
        assert rollout.answered is not None


def test_a_run_begun_anew_removes_what_is_there(trained):
    trained(rollouts_every=1, config={"max_steps": 3})
    _, folder = trained(rollouts_every=1, config={"max_steps": 2})
    assert logged_steps(folder) == [1, 2]


@pytest.mark.parametrize("changes", [{"rollouts_every": -1}, {"rollouts_count": 0}])
def test_settings_without_meaning_are_refused(trained, changes):
    with pytest.raises(ValueError, match="rollouts_every is"):
        trained(**changes)


def test_a_full_disk_costs_the_rollouts_and_not_the_run(trained, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rollouts").write_text("no folder")
    with pytest.warns(UserWarning, match="rollouts of step 1 are lost"):
        trained()


def test_tokens_and_weights_are_columns_of_the_table_of_completions(trained, capsys):
    trainer, folder = trained(
        config={
            "log_completions": True, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
        },
    )  # fmt: skip
    path = folder / "completions" / "completions_00001.parquet"
    table = parquet.read_table(path).to_pylist()
    assert len(table) == 8
    for row in table:
        (loss_advantages,) = [
            advantages
            for ids, advantages in trainer.seen.items()
            if trainer.processing_class.decode(ids) == "".join(row["credit_tokens"])
        ]
        assert loss_advantages.tolist() == pytest.approx(
            [row["advantage"] * w for w in row["credit_weights"]]
        )
    assert "above 1" in capsys.readouterr().out
    watched = read_rollouts(path)
    assert len(watched.rollouts) == 8 and watched.rollouts[0].weights == table[0]["credit_weights"]


def test_an_evaluation_between_updates_on_one_batch(trained, embedded):
    """TRL's table then holds the evaluation's rows, and the batch's rollouts are kept nevertheless."""
    _, folder = trained(
        rollouts_every=1,
        eval_dataset=load_task("countdown", split="train", limit=2).dataset(),
        config={
            "log_completions": True, "max_steps": 3, "eval_strategy": "steps", "eval_steps": 1,
            "per_device_train_batch_size": 4, "per_device_eval_batch_size": 4,
            "steps_per_generation": 2, "gradient_accumulation_steps": 1,
        },
    )  # fmt: skip
    assert logged_steps(folder) == [1]  # the batch of step 3 is half used
    assert len(read_part(part_path(folder, 1))) == 8
    table = parquet.read_table(folder / "completions" / "completions_00002.parquet").to_pylist()
    for row in table:
        tokens = row["credit_tokens"]
        assert tokens is None or "".join(tokens).startswith(row["completion"][0]["content"])


def test_a_damaged_file_of_rollouts_does_not_end_a_run(trained, tmp_path):
    path = part_path(tmp_path / "out", 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1")
    _, folder = trained()
    assert logged_steps(folder) == [0, 1] and "1 of 2 files are left out" in (
        (folder / "rollouts.html").read_text()
    )


def test_rewards_are_summed_as_trl_does():
    nan = float("nan")
    totals = summed({"a": [1.0, nan, nan], "b": [0.5, 2.0, nan]}, [2.0, 1.0], 3)
    assert totals[:2] == [2.5, 2.0] and totals[2] != totals[2]
    assert distinct_letters([[{"content": "aab"}]]) == [2.0]


def test_what_cannot_be_kept_does_not_end_training(embedded, tmp_path):
    """Such as a tokenizer that fails on the odd response."""
    trainer = grpo_trainer(
        Credited,
        copy.deepcopy(embedded.model),
        embedded.tokenizer,
        tmp_path,
        credit=ANYWHERE,
        rollouts_every=1,
    )

    def fails(output, rows):
        raise OverflowError("out of range")

    trainer.rollout_log._texts = fails
    with pytest.warns(UserWarning, match="not kept.*OverflowError"):
        trainer.train()
    assert trainer.state.global_step == trainer.args.max_steps
