"""Requests and results as JSON: plain lists for people, base64 of arrays for programs.

In the compact form all rows stand one after another: `input_ids` as base64 of little-endian int32 with
`lengths`, `response_masks` as base64 of bytes, `weights` as base64 of little-endian float32.
"""

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain, pairwise
from typing import Any

from flowtracer.service.rows import Rows, TokenWeights, read_rows

REQUEST_FIELDS = (
    "id", "input_ids", "lengths", "prompt_lengths", "response_masks", "row_mask", "compact",
)  # fmt: skip
MOST_ROWS = (
    4096  # of a request, our choice: a training step's; more is a mistake or belongs in a file
)
MOST_TOKENS = 1 << 23  # of a request, our choice: 4,096 rows of 2,048 tokens
_ID_TYPE, _WEIGHT_TYPE, _MASK_TYPE = "i", "f", "b"


def too_large(rows: int, tokens: int) -> str | None:
    """Why a request of this size is refused, None for one that is taken."""
    for count, most, what in ((rows, MOST_ROWS, "rows"), (tokens, MOST_TOKENS, "tokens")):
        if count > most:
            return (
                f"the request has {count:,} {what} and at most {most:,} are taken; send several, or score "
                "files with `flowtracer score`"
            )
    return None


def encode_rows(rows: Rows, request: str) -> dict[str, Any]:
    """A request in the compact form. request: its id, the same in every try."""
    data: dict[str, Any] = {
        "id": request,
        "compact": True,
        "lengths": [len(row) for row in rows.input_ids],
        "input_ids": _encode(rows.input_ids, _ID_TYPE),
    }
    if rows.response_masks is None:
        data["prompt_lengths"] = rows.prompt_lengths
    else:
        data["response_masks"] = _encode(rows.response_masks, _MASK_TYPE)
    if rows.row_mask is not None:
        data["row_mask"] = list(map(int, rows.row_mask))
    return data


def decode_rows(data: Mapping[str, Any]) -> Rows:
    """The rows of a request in either form. Raises ValueError, in one sentence."""
    ids, masks = data.get("input_ids"), data.get("response_masks")
    if isinstance(ids, str):
        lengths = data.get("lengths")
        if not isinstance(lengths, list) or not all(type(n) is int and n >= 0 for n in lengths):
            raise ValueError("lengths must be a list of whole numbers beside input_ids in base64")
        ids = _decode(ids, _ID_TYPE, lengths, "input_ids")
        if isinstance(masks, str):
            masks = _decode(masks, _MASK_TYPE, lengths, "response_masks")
    elif "lengths" in data:
        raise ValueError("lengths has no effect beside input_ids as lists; leave it out")
    return read_rows(
        ids,  # type: ignore[arg-type]  # which it checks
        data.get("prompt_lengths"),
        response_masks=masks,
        row_mask=data.get("row_mask"),
    )


def encode_weights(result: TokenWeights, *, compact: bool) -> dict[str, Any]:
    """A result as JSON."""
    weights = _encode(result.weights, _WEIGHT_TYPE) if compact else result.weights
    return {
        "weights": weights,
        "states": result.states,
        "counts": result.counts,
        "prompt_lengths": result.prompt_lengths,
        "revision": result.revision,
        "step": result.step,
    }


def decode_weights(data: Mapping[str, Any], rows: Rows) -> TokenWeights:
    """The result of a compact request. Raises ValueError if it is not one of these rows."""
    try:
        lengths = [len(row) for row in rows.input_ids]
        weights = _decode(data["weights"], _WEIGHT_TYPE, lengths, "weights")
        states = list(map(str, data["states"]))
        result = TokenWeights(weights, states, rows.prompt_lengths, data["revision"], data["step"])
    except (KeyError, TypeError, AttributeError):
        raise ValueError("the answer is not that of a scorer") from None
    if len(states) != len(rows):
        raise ValueError(f"the answer has {len(states)} states for {len(rows)} rows")
    return result


def split(result: TokenWeights, sizes: Sequence[int]) -> list[TokenWeights]:
    """The result of several requests that were scored together, one for each."""
    bounds = pairwise(accumulate(sizes, initial=0))
    return [
        replace(
            result,
            weights=result.weights[start:stop],
            states=result.states[start:stop],
            prompt_lengths=result.prompt_lengths[start:stop],
        )
        for start, stop in bounds
    ]


def _encode(rows: Sequence[Sequence[Any]], kind: str) -> str:
    values = array(kind)
    try:
        for row in rows:
            values.extend(array(kind, row))
    except OverflowError:
        wrong = next(
            value for value in chain.from_iterable(rows) if not -(1 << 31) <= value < 1 << 31
        )
        raise ValueError(f"input_ids holds {wrong}, which is no token id") from None
    if sys.byteorder == "big":
        values.byteswap()
    return b64encode(values.tobytes()).decode("ascii")


def _decode(text: str, kind: str, lengths: Sequence[int], name: str) -> list[list[Any]]:
    values = array(kind)
    try:
        values.frombytes(b64decode(text, validate=True))
    except ValueError:
        raise ValueError(f"{name} is not base64 of {values.itemsize} bytes a token") from None
    if sys.byteorder == "big":
        values.byteswap()
    if len(values) != sum(lengths):
        raise ValueError(f"{name} has {len(values)} numbers for {sum(lengths)} tokens")
    flat = values.tolist()
    return [flat[start:stop] for start, stop in pairwise(accumulate(lengths, initial=0))]
