"""Which rollouts are kept: different rewards, both signs of advantage, the same every time."""

import pytest

from flowtracer.watching.choice import chosen_rows


def signs(rows, advantages):
    return [(advantages[row] > 0) - (advantages[row] < 0) for row in rows]


def test_half_of_them_are_of_either_sign():
    rewards = [1.0, 0, 0, 0] * 8
    advantages = [1.5, -0.5, -0.5, -0.5] * 8
    rows = chosen_rows(rewards, advantages, 8)
    assert signs(rows, advantages).count(1) == signs(rows, advantages).count(-1) == 4
    assert len({row // 4 for row in rows if rewards[row]}) == 4  # of different prompts


def test_what_one_sign_lacks_the_other_has():
    advantages = [3.0] + [-0.1] * 31
    rows = chosen_rows([1.0] + [0.0] * 31, advantages, 8)
    assert 0 in rows and len(rows) == 8


def test_every_reward_is_seen_where_there_is_room():
    rewards = [1.0] * 20 + [0.5] + [0.0] * 20 + [0.1]
    advantages = [1.0 if reward >= 0.5 else -1.0 for reward in rewards]
    rows = chosen_rows(rewards, advantages, 8)
    assert {rewards[row] for row in rows} == {0.0, 0.1, 0.5, 1.0}


def test_many_rewards_are_seen_from_end_to_end():
    rewards = [float(row) for row in range(100)]
    advantages = [reward - 49.5 for reward in rewards]
    rows = chosen_rows(rewards, advantages, 8)
    assert rows[0] == 0 and rows[-1] == 99 and 49 in rows and 50 in rows


def test_rows_that_nothing_is_learned_from_fill_up():
    assert chosen_rows([0.0] * 6, [0.0] * 6, 4) == [0, 2, 3, 5]
    assert chosen_rows([0.0, 1.0, 0.0], [0.0, 1.0, -1.0], 8) == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_small_counts(count):
    rows = chosen_rows([1.0, 0.0, float("nan")], [1.0, -1.0, 0.0], count)
    assert len(rows) == count
    assert count != 1 or rows == [0]
