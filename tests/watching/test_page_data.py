"""The data of the page: bounded, with a note on what was left out."""

from helpers.watched import watched_rollout

from flowtracer.watching.page_data import MOST_TOKENS_OF_ONE, bounded, page_data
from flowtracer.watching.rollout import WatchedFile


def test_whole_steps_are_left_out_evenly_and_it_is_said():
    rollouts = [
        watched_rollout(["a"] * 100, step=step, row=row)
        for step in range(1, 51)
        for row in range(2)
    ]
    kept, notes = bounded(rollouts, 2000)
    steps = sorted({rollout.step for rollout in kept})
    assert steps[0] == 1 and steps[-1] == 50 and len(kept) == 2 * len(steps) <= 20
    assert notes == [
        f"{100 - len(kept)} of 100 rollouts, {50 - len(steps)} of 50 steps, are left out to keep the page "
        "small; the files have all"
    ]
    assert bounded(rollouts, 10**6) == (rollouts, [])


def test_a_long_response_keeps_its_ends():
    tokens = [f"t{i}" for i in range(20_000)]
    data = page_data(WatchedFile([watched_rollout(tokens)], "x"))
    row = data["rollouts"][0]
    assert len(row["t"]) == MOST_TOKENS_OF_ONE and row["tokens"] == 20_000
    assert (
        data["vocabulary"][row["t"][0]][1] == "t0"
        and data["vocabulary"][row["t"][-1]][1] == "t19999"
    )
    assert row["gap"] == MOST_TOKENS_OF_ONE // 2 and len(row["w"]) == len(row["t"])
    assert row["answer"] == [MOST_TOKENS_OF_ONE - 1]


def test_numbers_that_are_none_stay_out():
    rollout = watched_rollout(
        ["a", "b"], reward=float("nan"), scores=[float("inf"), 1.0], advantages=None
    )
    row = page_data(WatchedFile([rollout], "x"))["rollouts"][0]
    assert row["reward"] is None and row["s"] == [0, 1] and "a" not in row


def test_a_word_of_any_length_keeps_its_ends():
    data = page_data(WatchedFile([watched_rollout(["a" + "x" * 1_000_000 + "b"])], "x"))
    (text,) = (entry[1] for entry in data["vocabulary"])
    assert len(text) < 2_100 and text.startswith("ax") and text.endswith("xb")
    assert "998002 characters left out" in text
