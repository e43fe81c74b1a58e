"""A text's answer, and what stands in its place in another text."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from flowtracer.math_answers.equality import same_answer
from flowtracer.regions import decode_text, find_answer
from flowtracer.workbench.diff import common_tokens
from flowtracer.workbench.fields import Refused, Request
from flowtracer.workbench.texts import Text
from flowtracer.workbench.traces import find_answer_weights, read_answer

MARKED_EXTRA = (
    24  # tokens by which what stands in the place of a marked answer may be longer, our choice
)


@dataclass(frozen=True)
class Answer:
    """Response tokens that are the answer, their text, and the rule that found it.

    No tokens where there is no answer; no rule where it was marked by hand.
    """

    tokens: tuple[int, ...] = ()
    text: str = ""
    rule: str = ""

    def same_as(self, other: str) -> bool:
        """Whether another answer is the same, as numbers or as words."""
        return same_answer(self.text, other)

    def complete(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text: Text,
        kept: Sequence[int],
        new: Sequence[int],
    ) -> bool:
        """Whether a response holds an answer and something behind it, so that no token changes it.

        An answer that was marked is complete when as many tokens were written.
        """
        if not self.rule:
            return len(new) >= len(self.tokens)
        response = decode_text(tokenizer, [*kept, *new])
        spans = find_answer(response, self.rule, thinking=text.thinking)
        reaches = bool(spans) and spans[-1].stop > len(decode_text(tokenizer, list(kept)))
        return reaches and spans[-1].stop < len(response.rstrip())


def old_answer(text: Text, request: Request) -> Answer:
    """The answer of a text, by the request's rule or as it was marked. Raises Refused."""
    asked = read_answer(request, text)
    try:
        weights, rule = find_answer_weights(asked, text)
    except Refused:
        if asked != "auto":
            raise
        return Answer()
    tokens = tuple(weights.nonzero()[:, 0].tolist())
    if not isinstance(asked, str):
        return Answer(tokens, _text_of(text, tokens[0], tokens[-1]))
    spans = find_answer(text.answered.text, rule, thinking=text.thinking)
    return Answer(tokens, text.answered.text[spans[0].start : spans[-1].stop], rule)


def answer_behind(text: Text, rule: str, kept: int) -> str | None:
    """The answer of a response if it reaches behind its first `kept` tokens, which may hold another."""
    spans = find_answer(text.answered.text, rule, thinking=text.thinking)
    behind = text.answered.offsets[kept - 1][1] if kept else 0
    if not spans or spans[-1].stop <= behind:
        return None
    return text.answered.text[spans[0].start : spans[-1].stop]


def aligned_text(old: Text, new: Text, answer: Answer) -> str | None:
    """What stands in another text where a marked answer stood: between the same neighbours."""
    pairs = common_tokens(old.answered.ids, new.answered.ids)
    starts = [start for start, _ in pairs]
    before = bisect_left(starts, answer.tokens[0])
    after = bisect_left(starts, answer.tokens[-1] + 1)
    first = pairs[before - 1][1] + 1 if before else 0
    stop = pairs[after][1] if after < len(pairs) else len(new.answered.ids)
    stop = min(stop, first + len(answer.tokens) + MARKED_EXTRA)
    return _text_of(new, first, stop - 1) if stop > first else None


def _text_of(text: Text, first: int, last: int) -> str:
    """Text of response tokens first..last, without blanks around it."""
    start, stop = text.answered.offsets[first][0], text.answered.offsets[last][1]
    return text.answered.text[start:stop].strip()
