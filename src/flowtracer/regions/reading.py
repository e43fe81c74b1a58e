"""Reading tokens from a table: the text and the offsets of many responses without decoding them.

The result is that of `decode_all_with_offsets`, which reads what the table cannot. Where tokens share
a character, offsets depend on whether the tokenizer would encode the text to the same tokens; that is
looked up only for an answer that begins or ends there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import numpy as np
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from flowtracer.regions.offsets import LONGEST_CHARACTER, TokenizedText, decode_all_with_offsets
from flowtracer.regions.pieces import (
    NO_BLANK_AFTER,
    NO_BLANK_BEFORE,
    Spelling,
    pipeline,
    spelling,
)
from flowtracer.regions.spans import Span

_UNREAD, _WHOLE, _PART, _ODD = range(4)  # kinds of tokens; a part is bytes of a character
_ENTRY = np.dtype(
    [
        ("kind", "i1"),
        ("length", "i8"),
        ("text", "O"),
        ("spaced", "O"),
        ("closes", "?"),
        ("opens", "?"),
    ],
    align=True,
)
_LARGEST_ID = 2**32 - 1  # that a vocabulary takes
_REPLACEMENT = "\ufffd"  # what decoders write for bytes that are no character


@dataclass(frozen=True)
class ReadTokens:
    """A text, its token ids (T,), and for each the characters start..stop it represents, (T, 2).

    doubtful: ranges of tokens whose offsets within the range only the tokenizer's encoder tells.
    """

    tokenizer: PreTrainedTokenizerBase
    text: str
    ids: np.ndarray
    offsets: np.ndarray
    doubtful: Sequence[tuple[int, int]] = ()

    def offsets_for(self, spans: Sequence[Span]) -> np.ndarray:
        """Offsets that say which tokens overlap these spans."""
        for first, stop in self.doubtful:
            start, end = self.offsets[first, 0], self.offsets[stop - 1, 1]
            cut = (
                span.start > start or span.stop < end
                for span in spans
                if span.start < end and span.stop > start
            )
            if any(cut):
                return self._exact().offsets
        return self.offsets

    def blanked(self, kept: np.ndarray) -> "ReadTokens":
        """A line break for every character of tokens that are not kept, (T,) bool; same offsets."""
        if kept.all():
            return self
        if any(len(set(kept[first:stop].tolist())) > 1 for first, stop in self.doubtful):
            return self._exact().blanked(kept)
        edges = np.flatnonzero(np.diff(kept, prepend=True, append=True))
        pieces, position = [], 0
        for first, stop in edges.reshape(-1, 2).tolist():
            start = max(position, int(self.offsets[first:stop, 0].min()))
            end = max(start, int(self.offsets[first:stop, 1].max()))
            pieces += [self.text[position:start], "\n" * (end - start)]
            position = end
        return replace(self, text="".join([*pieces, self.text[position:]]))

    def _exact(self) -> "ReadTokens":
        decoded = decode_all_with_offsets(self.tokenizer, [self.ids.tolist()])[0]
        # The text is the same, but may be blanked already.
        return replace(_from_decoder(self.tokenizer, decoded), text=self.text)


def read_all(tokenizer: PreTrainedTokenizerBase, rows: Sequence[np.ndarray]) -> list[ReadTokens]:
    """Rows of ids, none of them empty, with the text and the offsets that decoding gives."""
    read: list[ReadTokens | None] = [None] * len(rows)
    if isinstance(tokenizer, PreTrainedTokenizerFast) and (table := _table(tokenizer)):
        read = [table.read(tokenizer, ids) for ids in rows]
    left = [number for number, row in enumerate(read) if row is None]
    decoded = decode_all_with_offsets(tokenizer, [rows[number].tolist() for number in left])
    for number, text in zip(left, decoded, strict=True):
        read[number] = _from_decoder(tokenizer, text)
    return [row for row in read if row is not None]


def _from_decoder(tokenizer: PreTrainedTokenizerBase, text: TokenizedText) -> ReadTokens:
    offsets = np.array(text.offsets, dtype=np.int64).reshape(-1, 2)
    return ReadTokens(tokenizer, text.text, np.array(text.ids), offsets)


@dataclass
class _Table:
    """Kind, text and length of the tokens that were met so far, and where no blank is before and after.

    It is filled as tokens are met, so that it costs nothing at first, and tokens may be added later.
    """

    spelling: Spelling
    entries: np.ndarray = field(default_factory=lambda: np.zeros(0, _ENTRY))

    def read(self, tokenizer: PreTrainedTokenizerFast, ids: np.ndarray) -> ReadTokens | None:
        """The row's text; None if it has a token or bytes that the table cannot tell."""
        kinds = self._kinds(tokenizer, ids)
        if kinds is None:
            return None
        lengths, pieces = self.entries["length"][ids], self.entries["text"][ids]
        if self.spelling.blanks:
            joined = self.entries["closes"][ids[1:]] | self.entries["opens"][ids[:-1]]
            blank = np.append(False, ~joined)
            lengths, pieces = lengths + blank, np.where(blank, self.entries["spaced"][ids], pieces)
        texts = pieces.tolist()
        groups = _join_parts(np.flatnonzero(kinds == _PART), texts)
        if groups is None:
            return None
        for first, stop in groups:
            lengths[first:stop] = 0
            lengths[first] = len(texts[first])
        bounds = np.empty((2, len(ids)), dtype=np.int64)  # a column in one piece, for speed
        np.cumsum(lengths, out=bounds[1])
        np.subtract(bounds[1], lengths, out=bounds[0])
        offsets = bounds.T
        for first, stop in groups:
            offsets[first:stop] = offsets[first]
        doubtful = [group for group in groups if len(texts[group[0]]) > 1]
        return ReadTokens(tokenizer, "".join(texts), ids, offsets, doubtful)

    def _kinds(self, tokenizer: PreTrainedTokenizerFast, ids: np.ndarray) -> np.ndarray | None:
        """Look up the tokens that are new; None unless all can be read."""
        name, last = tokenizer.backend_tokenizer.id_to_token, int(ids.max())
        if ids.min() < 0 or last > _LARGEST_ID:
            return None
        if last >= len(self.entries):
            if name(last) is None:
                return None
            more = np.zeros(last + 1 - len(self.entries), _ENTRY)
            self.entries = np.concatenate([self.entries, more])
        kinds = self.entries["kind"][ids]
        if kinds.min() == _UNREAD:
            for token in np.unique(ids[kinds == _UNREAD]).tolist():
                self.entries[token] = self._entry(name(token))
            kinds = self.entries["kind"][ids]
        return kinds if kinds.min() > _UNREAD and kinds.max() < _ODD else None

    def _entry(self, name: str | None) -> tuple[int, int, str | bytes, str, bool, bool]:
        if name is None:  # it may be added to the vocabulary later
            return _UNREAD, 0, "", "", False, False
        piece = self.spelling.piece(name)
        try:
            text = piece.decode() if piece else ""
        except UnicodeDecodeError:
            return _PART, 0, piece or b"", "", False, False
        kind = _WHOLE if text and _REPLACEMENT not in text else _ODD
        closes, opens = text[:1] in NO_BLANK_BEFORE, text[-1:] in NO_BLANK_AFTER
        return kind, len(text), text, f" {text}", closes, opens


_Pipeline = tuple[bytes, ...]
_tables: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[_Pipeline, _Table | None]] = (
    WeakKeyDictionary()
)


def _table(tokenizer: PreTrainedTokenizerFast) -> _Table | None:
    """The tokenizer's table; None if it needs its decoder."""
    states = pipeline(tokenizer)
    if states is None:
        return None
    known = _tables.get(tokenizer)
    if known is None or known[0] != states:
        written = spelling(tokenizer, states)
        known = _tables[tokenizer] = (states, _Table(written) if written else None)
    return known[1]


def _join_parts(parts: np.ndarray, texts: list[str | bytes]) -> list[tuple[int, int]] | None:
    """Put the characters of which tokens are parts together, in place; None if some are incomplete.

    Of the tokens that make up characters, the first gets the text and the others none. Returns the
    range of each.
    """
    groups: list[tuple[int, int]] = []
    for first in parts.tolist():
        if groups and first < groups[-1][1]:
            continue
        spelled = b""
        for stop in range(first + 1, min(first + LONGEST_CHARACTER, len(texts)) + 1):
            piece = texts[stop - 1]
            spelled += piece if isinstance(piece, bytes) else piece.encode()
            try:
                text = spelled.decode()
            except UnicodeDecodeError:
                continue
            if _REPLACEMENT in text:
                return None
            texts[first:stop] = [text] + [""] * (stop - first - 1)
            groups.append((first, stop))
            break
        else:
            return None
    return groups
