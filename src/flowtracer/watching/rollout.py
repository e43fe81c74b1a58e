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
