"""The text of tokens as they come, where a character is several tokens."""

import pytest
from helpers.byte_tokenizer import ByteTokenizer
from helpers.workbench import result, run, workbench
from hypothesis import given
from hypothesis import strategies as st

from flowtracer.models import Loaded
from flowtracer.regions import decode_with_offsets
from flowtracer.workbench.streaming import StreamedText

TOKENIZER = ByteTokenizer()


def streamed(ids):
    stream = StreamedText(TOKENIZER)
    return [stream.push(token) for token in ids]


@given(st.text(st.characters(exclude_characters="\ufffd", exclude_categories=["Cs"]), max_size=20))
def test_the_text_of_a_character_comes_with_its_last_token(text):
    parts = streamed(text.encode())
    assert "".join(parts) == text and not any("\ufffd" in part for part in parts)
    sizes = [len(sign.encode()) for sign in text]
    assert parts == [
        part for sign, size in zip(text, sizes, strict=True) for part in [""] * (size - 1) + [sign]
    ]


@given(st.lists(st.integers(0, 255), max_size=40))
def test_bytes_that_are_no_text_do_not_hold_up_the_rest(ids):
    parts = streamed(ids)
    silent = 0
    for part in parts:
        silent = 0 if part else silent + 1
        assert silent < 8
    whole = decode_with_offsets(TOKENIZER, [*ids, 65] if ids else []).text
    assert whole.startswith("".join(parts).rstrip("\ufffd"))


def test_an_answer_in_pieces_of_characters_streams_the_text_that_it_becomes(real_model):
    loaded = real_model("smollm2")
    with workbench(Loaded(loaded.model, loaded.tokenizer, "smollm2")) as client:
        prompt = {"prompt": "Repeat: 😀 日本語 😀", "chat": True}
        events = run(client, "answer", **prompt, max_new_tokens=24)
        text = events[-1][1]
        told = "".join(data["text"] for name, data in events if name == "token")
        assert text["response"].startswith(told.rstrip("\ufffd"))
        pasted = result(client, "paste", **prompt, response="日本語 😀")
        pieces = [p["text"] for p in pasted["pieces"] if p["first"] >= len(pasted["prompt_ids"])]
        assert "".join(pieces) == "日本語 😀" and not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("text", ["", "a", "é", "😀😀"])
def test_nothing_is_told_twice(text):
    assert "".join(streamed(text.encode())) == text
