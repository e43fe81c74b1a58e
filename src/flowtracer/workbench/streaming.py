"""The text of tokens as they come: that of a character is there when its last token is."""

from transformers import PreTrainedTokenizerBase

from flowtracer.regions import decode_text
from flowtracer.regions.offsets import LONGEST_CHARACTER


class StreamedText:
    """Text of a growing list of tokens, decoded in a window that moves on at complete characters.

    The window starts one piece early, because what a token looks like can depend on the one before.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._known = 0  # tokens of the window whose text was given out

    def push(self, token: int) -> str:
        """The text that this token completes; "" within a character."""
        self._window.append(token)
        text = decode_text(self._tokenizer, self._window)
        if text.endswith("\ufffd") and len(self._window) - self._known < LONGEST_CHARACTER:
            return ""
        before = decode_text(self._tokenizer, self._window[: self._known]) if self._known else ""
        del self._window[: self._known]
        self._known = len(self._window)
        return text[len(before) :]
