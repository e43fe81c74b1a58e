"""Rollouts with token weights, made up for tests."""

from flowtracer.watching.rollout import WatchedRollout


def watched_rollout(tokens, *, step=1, row=0, reward=1.0, advantage=1.0, **more):
    """A response of which every other token is chosen, and the last one is the answer."""
    weights = [1.5 if i % 2 else 1.0 for i in range(len(tokens))]
    fields = {
        "token_ids": list(range(10, 10 + len(tokens))),
        "tokens": list(tokens),
        "prompt": "user: how much?\n",
        "step": step,
        "row": row,
        "weights": weights,
        "scores": [i / 8 for i in range(len(tokens))],
        "advantages": [weight * advantage for weight in weights],
        "advantage": advantage,
        "reward": reward,
        "rewards": {"correct": reward, "format": None},
        "candidates": [True] * len(tokens),
        "answer": [0.0] * (len(tokens) - 1) + [1.0],
        "answered": True,
    }
    return WatchedRollout(**fields | more)
