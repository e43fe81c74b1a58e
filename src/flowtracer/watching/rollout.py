"""One response with what is known of its tokens, wherever it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class WatchedRollout:
    """One response; sequences have one entry for each of its tokens, None where the source has none."""

    token_ids: Sequence[int]
    tokens: Sequence[str]  # texts; tokens that are one character together: the first has it
    prompt: str = ""
    step: int | None = None  # the optimizer step that learns from it, 1 first
    row: int = 0  # in its batch, or in its file
    weights: Sequence[float] | None = None
    scores: Sequence[float] | None = None
    advantages: Sequence[float] | None = None  # as the loss multiplies them, weights included
    advantage: float | None = None  # of the response, before weights
    reward: float | None = None
    rewards: Mapping[str, float | None] = field(default_factory=dict)  # by reward function
    candidates: Sequence[bool] | None = None  # tokens that the policy wrote
    answer: Sequence[float] | None = None  # how strongly each token is the answer, 0 outside
    answered: bool | None = None  # whether an answer was found


NUMBER = frozenset({int, float})
NUMBER_OR_NONE = NUMBER | {type(None)}
# What the entries of a rollout's sequences may be, and what its other fields may be.
ENTRIES: Mapping[str, frozenset[type]] = {
    "tokens": frozenset({str}),
    "token_ids": frozenset({int}),
    "weights": NUMBER,
    "scores": NUMBER,
    "advantages": NUMBER,
    "candidates": frozenset({bool}),
    "answer": NUMBER,
}
FIELDS: Mapping[str, frozenset[type]] = {
    "prompt": frozenset({str}),
    "step": frozenset({int, type(None)}),
    "row": frozenset({int}),
    "advantage": NUMBER_OR_NONE,
    "reward": NUMBER_OR_NONE,
    "answered": frozenset({bool, type(None)}),
}


def check_rollout(rollout: WatchedRollout) -> None:
    """Raise ValueError, which names the field, unless a rollout that was read is what its fields say."""
    for name, kinds in FIELDS.items():
        if type(getattr(rollout, name)) not in kinds:
            raise ValueError(f"{name} is {getattr(rollout, name)!r:.40}")
    if not set(map(type, rollout.rewards.values())) <= NUMBER_OR_NONE:
        raise ValueError("rewards holds something else than numbers")
    for name, kinds in ENTRIES.items():
        values = getattr(rollout, name)
        if (values is None and name != "tokens") or (name == "token_ids" and not values):
            continue
        if not isinstance(values, list | tuple) or not set(map(type, values)) <= kinds:
            names = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(f"{name} holds something else than values of type {names}")
        if len(values) != len(rollout.tokens):
            raise ValueError(f"{name} has {len(values)} entries for {len(rollout.tokens)} tokens")


@dataclass(frozen=True)
class WatchedFile:
    """Rollouts that were read, and what there is to say of them."""

    rollouts: Sequence[WatchedRollout]
    title: str  # what they are, such as "flowtracer score"
    notes: Sequence[str] = ()  # what was left out or is missing
    score_name: str = "score"


def texts_of_tokens(text: str, offsets: Sequence[tuple[int, int]]) -> list[str]:
    """The text of each token; of tokens with the same characters only the first has them.

    offsets: characters of `text` that each token represents, see `regions.offsets`.
    """
    texts = []
    furthest = 0
    for start, stop in offsets:
        texts.append(text[max(start, furthest) : stop])
        furthest = max(furthest, stop)
    return texts
