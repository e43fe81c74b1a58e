"""The recipe for tinker-cookbook on its own data: trajectories become data with weighted advantages."""

import pytest
import torch
from conftest import recipe

train = pytest.importorskip(
    "tinker_cookbook.rl.train", reason="tinker-cookbook is not installed; `make test-recipes` does"
)

import tinker  # noqa: E402
from tinker_cookbook.completers import TokensWithLogprobs  # noqa: E402
from tinker_cookbook.rl.data_processing import compute_advantages  # noqa: E402
from tinker_cookbook.rl.types import Trajectory, TrajectoryGroup, Transition  # noqa: E402

from flowtracer import Scorer  # noqa: E402


def group(prompt, responses, rewards):
    """What rollouts of one prompt come to, as the cookbook keeps them."""
    trajectories = [
        Trajectory(
            transitions=[
                Transition(
                    ob=tinker.ModelInput.from_ints(prompt),
                    ac=TokensWithLogprobs(tokens=one, maybe_logprobs=[-0.5] * len(one)),
                    reward=reward,
                    episode_done=True,
                )
            ],
            final_ob=tinker.ModelInput.empty(),
        )
        for one, reward in zip(responses, rewards, strict=True)
    ]
    return TrajectoryGroup(trajectories, [0.0] * len(rewards), [{}] * len(rewards))


@pytest.fixture
def assembled(embedded, rows, monkeypatch):
    """Data of three trajectories without the recipe, and with it."""
    plain = train.assemble_training_data
    monkeypatch.setattr(train, "assemble_training_data", plain)  # undone afterwards
    names = {}
    exec(recipe("tinker-cookbook"), names)
    names["scorer"] = Scorer(embedded)

    def make(rewards):
        groups = [group(*rows, rewards)]
        advantages = compute_advantages(groups)
        return plain(groups, advantages), train.assemble_training_data(groups, advantages)

    return make


def test_each_tokens_advantage_is_multiplied_by_its_weight(assembled, expected, rows):
    (plain, _), (data, metadata) = assembled((1.0, 0.0, 0.5))
    assert metadata == [{"group_idx": 0, "traj_idx": number} for number in range(3)]
    for number, weights in enumerate(expected):
        before, after = (one[number].loss_fn_inputs for one in (plain, data))
        advantages = before["advantages"].to_torch()
        whole = torch.cat([torch.ones(len(rows[0]) - 1), weights])
        torch.testing.assert_close(after["advantages"].to_torch(), advantages * whole)
        for name in ("target_tokens", "logprobs", "mask"):
            assert after[name].data == before[name].data
    assert data[0].loss_fn_inputs["advantages"].data != plain[0].loss_fn_inputs["advantages"].data


def test_a_group_without_any_advantage_is_left_alone(assembled):
    (plain, _), (data, _) = assembled((1.0, 1.0, 1.0))
    for before, after in zip(plain, data, strict=True):
        assert after.loss_fn_inputs["advantages"].data == before.loss_fn_inputs["advantages"].data


def test_the_cookbook_calls_the_function_by_the_name_that_is_replaced():
    import inspect

    text = inspect.getsource(train.prepare_minibatch)
    call = text.index("assemble_training_data(")
    assert text.index("compute_advantages(") < call < text.index("incorporate_kl_penalty(")
