"""Which characters each token represents, for every kind of tokenizer.

Spans tile the text: a gap that a tokenizer leaves (it trims spaces, say) goes to the token after
it. Tokens that together make one character all get that character's span.
"""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

LONGEST_CHARACTER = 8  # tokens; a byte-level token is at least one of at most 4 bytes, with margin


class TokenizedText(NamedTuple):
    """A text, its token ids, and for each token the characters start..stop it represents."""

    text: str
    ids: list[int]
    offsets: list[tuple[int, int]]

    def offsets_for(self, spans: object) -> list[tuple[int, int]]:
        """Offsets that say which tokens overlap these spans: the same for all."""
        return self.offsets


def encode_with_offsets(
    tokenizer: PreTrainedTokenizerBase, text: str, *, add_special_tokens: bool = False
) -> TokenizedText:
    """Tokenize `text`. A tokenizer without offsets may return a normalised text instead of `text`."""
    if tokenizer.is_fast:
        encoded = tokenizer(
            text, add_special_tokens=add_special_tokens, return_offsets_mapping=True
        )
        ids = list(encoded["input_ids"])
        return TokenizedText(text, ids, _tiled(encoded["offset_mapping"], len(text)))
    ids = list(tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"])
    return _decode_step_by_step(tokenizer, ids)


def first_unknown(tokenizer: PreTrainedTokenizerBase, text: TokenizedText) -> str | None:
    """The first part of an encoded text that the tokenizer has no token for; None if it knows all."""
    unknown = tokenizer.unk_token_id
    known = unknown is None or unknown not in text.ids
    if known:
        return None
    start, stop = text.offsets[text.ids.index(unknown)]
    return text.text[start:stop].strip()


def decode_with_offsets(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> TokenizedText:
    """The text of given ids, as sampled by a model, special tokens included.

    If encoding the text again gives the same ids, the tokenizer's own offsets are used; sampled ids
    need not be what the tokenizer would have chosen, and then they are decoded one after another.
    """
    return decode_all_with_offsets(tokenizer, [ids])[0]


def decode_all_with_offsets(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[list[int]]
) -> list[TokenizedText]:
    """`decode_with_offsets` of many texts; a fast tokenizer encodes them together."""
    if not tokenizer.is_fast or not rows:
        return [_decode_step_by_step(tokenizer, list(ids)) for ids in rows]
    texts = [decode_text(tokenizer, ids) for ids in rows]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    again = zip(rows, texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [
        TokenizedText(text, encoded_ids, _tiled(offsets, len(text)))
        if encoded_ids == list(ids)
        else _decode_step_by_step(tokenizer, list(ids))
        for ids, text, encoded_ids, offsets in again
    ]


def decode_text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The text of token ids as it is, special tokens included."""
    decoded = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert isinstance(decoded, str)
    return decoded


def _decode_step_by_step(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> TokenizedText:
    """Decode in a window that moves on at every complete character.

    The window starts one complete piece early, because the text of a token (its leading space)
    can depend on the one before it.
    """
    pieces: list[str] = []
    offsets: list[tuple[int, int]] = []
    position = 0
    context, pending = 0, 0  # window start; first token whose text is not known yet
    for stop in range(1, len(ids) + 1):
        known = decode_text(tokenizer, ids[context:pending]) if pending > context else ""
        window = decode_text(tokenizer, ids[context:stop])
        unfinished = window.endswith("\ufffd") and stop < len(ids)
        if unfinished and stop - pending < LONGEST_CHARACTER:
            continue
        piece = window[len(known) :]
        pieces.append(piece)
        offsets.extend([(position, position + len(piece))] * (stop - pending))
        position += len(piece)
        context, pending = pending, stop
    return TokenizedText("".join(pieces), ids, offsets)


def _tiled(offsets: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Offsets without gaps: each start moves back to the furthest end so far."""
    tiled: list[tuple[int, int]] = []
    furthest = 0
    for start, stop in offsets:
        start = min(start, furthest)
        stop = max(start, stop)
        # Tokens of one character repeat its span; all others start where the last one ended.
        if tiled and (start, stop) != tiled[-1] and stop > furthest:
            start = furthest
        tiled.append((start, stop))
        furthest = max(furthest, stop)
    if tiled and furthest < length:
        tiled[-1] = (tiled[-1][0], length)
    return tiled
