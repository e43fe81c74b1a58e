"""The text of single tokens, for tokenizers whose decoder only joins it, some with blanks.

Such a tokenizer reads the same from a table as from its decoder. All other tokenizers, and tokens that
mean something to a decoder, are left to it.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Spelling:
    """How a decoder writes tokens.

    piece: from a token, as the vocabulary writes it, to its own bytes; None if they depend on others.
    blanks: whether a blank separates two tokens, except where NO_BLANK_* say otherwise.
    """

    piece: Callable[[str], bytes | None]
    blanks: bool = False


NO_BLANK_AFTER, NO_BLANK_BEFORE = "({\n", ",.)}\n"  # as the decoder in _WORDS
_OURS = ("decode", "_decode", "__call__", "_encode_plus")
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_SPACE, _META = " ", "\u2581"
_METASPACE_BPE = {  # Gemma
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": _META}, "content": _SPACE},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ],
}
_TO_METASPACE = {"type": "Replace", "pattern": {"String": _SPACE}, "content": _META}
_WORDS = {  # the embedded model's
    "type": "Sequence",
    "decoders": [
        {"type": "WordPiece", "prefix": "##", "cleanup": False},
        {"type": "Fuse"},
        {"type": "Replace", "pattern": {"Regex": r" +(?=[,.)}\n])"}, "content": ""},
        {"type": "Replace", "pattern": {"Regex": r"(?<=[({\n]) +"}, "content": ""},
    ],
}
_TO_WORDS = {
    "type": "Split",
    "pattern": {"Regex": r"\\boxed\{|[0-9]+|[A-Za-z]+|\n|[^\s]"},
    "behavior": "Removed",
    "invert": True,
}
_TAG = re.compile(r"<[\w|/]+>")
_WORD = re.compile(r"\\boxed\{|[0-9]+|[A-Za-z]+|\n|[!-~]")  # what _TO_WORDS does not split
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def pipeline(tokenizer: PreTrainedTokenizerFast) -> tuple[bytes, ...] | None:
    """What a tokenizer does around its vocabulary, as JSON; None if it has code of its own for it."""
    plain = all(
        getattr(type(tokenizer), name, None) is getattr(PreTrainedTokenizerFast, name)
        and name not in vars(tokenizer)
        for name in _OURS
    )
    if not plain:
        return None
    backend = tokenizer.backend_tokenizer
    parts = (getattr(backend, name) for name in _PARTS)
    states = [b"null" if part is None else bytes(part.__getstate__()) for part in parts]
    if type(backend.model).__name__ == "WordLevel":  # which finds added tokens inside of words
        states.append(repr(backend.get_added_tokens_decoder()).encode())
    return tuple(states)


def spelling(tokenizer: PreTrainedTokenizerFast, states: Sequence[bytes]) -> Spelling | None:
    """How the tokenizer with these states decodes one token; None if it decodes them together.

    It does one by one for BPE over bytes, or over characters with bytes for those that it lacks. Its encoder
    must add no text: then a text that it encodes to the ids that were decoded has every token where
    the token's own text begins.
    """
    normalizer, before, after, decoder = (json.loads(state) for state in states[: len(_PARTS)])
    model = tokenizer.backend_tokenizer.model
    if type(model).__name__ == "WordLevel" and (normalizer, before, decoder) == (
        None,
        _TO_WORDS,
        _WORDS,
    ):
        return (
            Spelling(_spell_word, blanks=True)
            if _keeps_offsets(after) and _plain_tags(tokenizer)
            else None
        )
    if type(model).__name__ != "BPE" or not (_keeps_text(before) and _keeps_offsets(after)):
        return None
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        return None
    if decoder == _METASPACE_BPE and normalizer == _TO_METASPACE and model.byte_fallback:
        all_bytes = map("<0x{:02X}>".format, range(256))
        return Spelling(_spell_metaspace) if _knows(tokenizer, all_bytes) else None
    bytewise = decoder is not None and decoder["type"] == "ByteLevel"
    if bytewise and normalizer in (None, {"type": "NFC"}) and _uses_bytes(before):
        # Without a token for the unknown, a byte that has none is left out.
        complete = model.unk_token is None or _knows(tokenizer, _BYTES)
        return Spelling(_spell_bytes) if complete else None
    return None


def _knows(tokenizer: PreTrainedTokenizerFast, tokens: Iterable[str]) -> bool:
    """No text is unknown if each byte has a token."""
    known = tokenizer.backend_tokenizer.token_to_id
    return all(known(token) is not None for token in tokens)


def _plain_tags(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether added tokens represent only themselves, wherever words are joined."""
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    return all(_TAG.fullmatch(token.content) and not token.rstrip for token in added)


def _steps(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """A part of the pipeline as the list of its steps."""
    if part is None:
        return []
    return list(part[key]) if part["type"] == "Sequence" else [part]


def _keeps_text(before: dict[str, Any] | None) -> bool:
    return all(
        (step["type"] == "ByteLevel" and not step["add_prefix_space"])
        or (step["type"] == "Split" and step["behavior"] != "Removed")
        or step["type"] == "Digits"
        for step in _steps(before, "pretokenizers")
    )


def _uses_bytes(before: dict[str, Any] | None) -> bool:
    return any(step["type"] == "ByteLevel" for step in _steps(before, "pretokenizers"))


def _keeps_offsets(after: dict[str, Any] | None) -> bool:
    return all(
        step["type"] == "TemplateProcessing"
        or (step["type"] == "ByteLevel" and not step["trim_offsets"])
        for step in _steps(after, "processors")
    )


def _byte_characters() -> dict[str, int]:
    """The character that represents each byte in a byte-level vocabulary, as GPT-2 chose them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    shifted = {chr(256 + number): byte for number, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | shifted


_BYTES = _byte_characters()


def _spell_bytes(token: str) -> bytes:
    try:
        return bytes([_BYTES[character] for character in token])
    except KeyError:  # an added token with a character that represents no byte is written as it is
        return token.encode()


def _spell_metaspace(token: str) -> bytes | None:
    if byte := _BYTE.fullmatch(token):
        return bytes([int(byte[1], 16)])
    if token.startswith("<0x") and len(token.encode()) == 6:
        return None  # may be a byte to the decoder
    return token.replace(_META, _SPACE).encode()


def _spell_word(token: str) -> bytes | None:
    return token.encode() if _WORD.fullmatch(token) or _TAG.fullmatch(token) else None
