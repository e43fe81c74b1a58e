"""Texts by name: a prompt and a response as the token ids that the model saw, never changed."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from flowtracer.regions import TokenizedText, decode_with_offsets, opened_thought
from flowtracer.tracing.data import units_of
from flowtracer.workbench.fields import Refused

KEPT = 200  # texts that the server knows, our choice
LETTERS = "tur"  # template, user, response: one letter a token


@dataclass(frozen=True)
class Text:
    """A prompt and a response, P and R tokens.

    user: which prompt tokens the user wrote. cut_off: whether the limit ended the response; None where
    nobody knows. correct: whether it solves its problem; None where nobody knows.
    """

    id: str
    model: str
    asked: TokenizedText
    answered: TokenizedText
    user: tuple[bool, ...]
    cut_off: bool | None = None
    correct: bool | None = None

    @property
    def ids(self) -> list[int]:
        """All token ids."""
        return self.asked.ids + self.answered.ids

    @property
    def start(self) -> int:
        """Number of prompt tokens."""
        return len(self.asked.ids)

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.asked.ids) + len(self.answered.ids)

    @property
    def roles(self) -> str:
        """A letter of `LETTERS` for every token."""
        return "".join("tu"[user] for user in self.user) + "r" * len(self.answered.ids)

    @property
    def thinking(self) -> bool:
        """Whether the prompt opens a thought in which the response begins."""
        return bool(opened_thought(self.asked.text))

    def record(self) -> dict[str, Any]:
        """Plain data for the page."""
        return {
            "id": self.id,
            "model": self.model,
            "text": self.asked.text + self.answered.text,
            "prompt": self.asked.text,
            "response": self.answered.text,
            "prompt_ids": list(self.asked.ids),
            "response_ids": list(self.answered.ids),
            "pieces": pieces(self.asked) + pieces(self.answered, first=self.start),
            "roles": self.roles,
            "cut_off": self.cut_off,
            "correct": self.correct,
        }


def name_of(model: str, prompt_ids: Sequence[int], response_ids: Sequence[int]) -> str:
    """The name of a text: 12 hex digits of a hash of the model's name and the ids."""
    content = repr((model, list(prompt_ids), list(response_ids)))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def make_text(
    tokenizer: PreTrainedTokenizerBase,
    model: str,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    *,
    user: Sequence[bool],
    cut_off: bool | None = None,
) -> Text:
    """A text out of ids alone; nothing is tokenized."""
    return Text(
        name_of(model, prompt_ids, response_ids),
        model,
        decode_with_offsets(tokenizer, list(prompt_ids)),
        decode_with_offsets(tokenizer, list(response_ids)),
        tuple(user),
        cut_off,
    )


def pieces(text: TokenizedText, *, first: int = 0) -> list[dict[str, Any]]:
    """The units to show as plain data, see `units_of`."""
    return [unit._asdict() for unit in units_of(text.text, text.offsets, first=first)]


class TextStore:
    """The texts that were used last, by name. Threads may share it."""

    def __init__(self, *, kept: int = KEPT) -> None:
        self._kept = kept
        self._texts: OrderedDict[str, Text] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, text: Text) -> Text:
        """Keep a text; what is known of one of the same ids, and not of this one, stays known."""
        with self._lock:
            known = self._texts.pop(text.id, None)
            if known is not None:
                text = replace(
                    text,
                    user=text.user if any(text.user) else known.user,
                    cut_off=known.cut_off if text.cut_off is None else text.cut_off,
                    correct=known.correct if text.correct is None else text.correct,
                )
            self._texts[text.id] = text
            while len(self._texts) > self._kept:
                self._texts.popitem(last=False)
        return text

    def find(self, name: str) -> Text:
        """The text of this name. Raises Refused."""
        with self._lock:
            text = self._texts.get(name)
            if text is None:
                raise Refused(
                    f"text {name[:12]!r} is not known here; the server keeps the last {self._kept}: send "
                    "its token ids again (POST /api/texts)",
                    404,
                )
            self._texts.move_to_end(name)
        return text
