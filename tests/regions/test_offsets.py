"""Which characters tokens stand for, with every kind of tokenizer, and what follows for regions."""

import random

import pytest
from helpers.byte_tokenizer import ByteTokenizer
from helpers.small_tokenizers import byte_level
from tokenizers import processors

from flowtracer.regions import (
    Span,
    TokenizedText,
    TokenPositions,
    answer_weights,
    decode_with_offsets,
    encode_with_offsets,
    render_prompt,
    token_weights,
    tokenize_prompt,
    user_spans,
)
from flowtracer.regions.offsets import _decode_step_by_step
from flowtracer.tasks.countdown import held_out_problems

TEXTS = [
    "the answer is \\boxed{12}.",
    " the  rest\n\n\tof it ",
    "naïve ½ + 🙂🙂 = 日本語 שלום",
    "\x00\u202e </script> '\"",
    "",
]


TOKENIZERS = {
    "fast": lambda: byte_level(trim=False),
    "trimming": lambda: byte_level(trim=True),
    "slow": ByteTokenizer,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back_and_spans_tile_them(tokenizer, text):
    for encoded in (
        encode_with_offsets(tokenizer, text),
        decode_with_offsets(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"]),
    ):
        assert encoded.text == text
        assert len(encoded.ids) == len(encoded.offsets)
        end = 0
        for start, stop in encoded.offsets:
            assert start <= end <= max(stop, end)  # no gap; an overlap only inside one character
            end = max(end, stop)
        assert end == len(text)


def test_tokens_of_one_character_share_its_span(tokenizer):
    _, ids, offsets = encode_with_offsets(tokenizer, "a🙂b")
    assert len(ids) == 6
    assert offsets == [(0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)]


@pytest.mark.parametrize("text", TEXTS[:2])
def test_step_by_step_decoding_agrees_with_the_tokenizer(text):
    encoded = encode_with_offsets(byte_level(trim=False), text)
    assert _decode_step_by_step(byte_level(trim=False), encoded.ids) == encoded


def test_ids_that_no_tokenizer_would_choose_still_have_offsets():
    tokenizer = byte_level(trim=False)
    ids = [tokenizer.convert_tokens_to_ids(letter) for letter in "banana"]
    assert len(tokenizer("banana")["input_ids"]) < 6
    decoded = decode_with_offsets(tokenizer, ids)
    assert decoded == TokenizedText("banana", ids, [(i, i + 1) for i in range(6)])


def test_bytes_that_never_become_a_character_do_not_swallow_the_rest():
    decoded = decode_with_offsets(ByteTokenizer(), [0xF0] * 30 + list(b"ok"))
    assert decoded.text.endswith("ok")
    assert decoded.offsets[-1] == (len(decoded.text) - 1, len(decoded.text))
    assert len(decoded.offsets) == 32


def test_the_embedded_tokenizer_round_trips_what_it_is_for(embedded):
    generator = random.Random(0)
    for problem in held_out_problems(50, seed=0):
        a, b, c = generator.sample(problem.numbers, 3)
        text = f"{a} + {b} = {a + b}, {a + b} * {c} = 7, not {problem.target}.\n\\boxed{{({a} - {b}) / {c}}}"
        for piece in (problem.prompt, text):
            encoded = encode_with_offsets(embedded.tokenizer, piece)
            assert decode_with_offsets(embedded.tokenizer, encoded.ids) == encoded
            assert embedded.tokenizer.unk_token_id not in encoded.ids


def test_tokens_that_straddle_the_edge_belong_to_the_answer():
    text = "x \\boxed{12}."
    offsets = [(0, 2), (2, 8), (8, 10), (10, 12), (12, 13)]  # "{1" and "2}" straddle
    weights = answer_weights("boxed", TokenizedText(text, [0] * 5, offsets))
    assert weights.tolist() == [0, 0, 1, 1, 0]


def test_weights_of_several_spans_and_of_empty_tokens():
    offsets = [(0, 0), (0, 3), (3, 5), (5, 5), (5, 9)]
    assert token_weights([Span(1, 4, 0.5), Span(3, 9, 2.0)], offsets).tolist() == [0, 0.5, 2, 0, 2]
    assert token_weights([], offsets).tolist() == [0] * 5
    assert token_weights([Span(0, 1)], []).tolist() == []


def test_given_positions():
    response = TokenizedText("abc", [1, 2, 3], [(0, 1), (1, 2), (2, 3)])
    assert answer_weights(TokenPositions((0, -1)), response).tolist() == [1, 0, 1]
    assert answer_weights("boxed", response).tolist() == [0, 0, 0]
    for wrong in (3, -4):
        with pytest.raises(ValueError, match=f"position {wrong} does not exist"):
            answer_weights(TokenPositions((wrong,)), response)


def test_the_user_is_found_inside_the_template(embedded):
    conversation = [
        {"role": "user", "content": " Make 3 from 1, 2. "},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "Make 4 from 2, 2."},
    ]
    prompt = render_prompt(embedded.tokenizer, conversation)
    asked = tokenize_prompt(embedded.tokenizer, prompt)
    users = [
        asked.text[s.start : s.stop]
        for s in user_spans(embedded.tokenizer, asked.text, prompt.messages)
    ]
    assert users == ["Make 3 from 1, 2.", "Make 4 from 2, 2."]
    assert asked.text.endswith("<|assistant|>")


def test_without_template_the_prompt_is_the_user_and_special_tokens_are_seen():
    tokenizer = byte_level(trim=False)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    prompt = render_prompt(tokenizer, "the rest")
    asked = tokenize_prompt(tokenizer, prompt)
    assert asked.text == "<s>the rest"
    assert asked.offsets[0] == (0, 3)
    assert user_spans(tokenizer, asked.text, prompt.messages) == [Span(3, 11)]
    assert render_prompt(tokenizer, "q", chat=False).text == "q"


@pytest.mark.parametrize(
    ("prompt", "chat", "message"),
    [
        ("", None, "prompt is empty"),
        (" \n", None, "prompt is empty"),
        ([], None, "list of"),
        ([{"role": "user"}], None, "list of"),
        (["hello"], None, "list of"),
        ([{"role": "user", "content": "x"}], None, "no chat template"),
        ("x", True, "no chat template"),
    ],
)
def test_prompts_that_make_no_sense_are_refused(prompt, chat, message):
    with pytest.raises(ValueError, match=message):
        render_prompt(byte_level(trim=False), prompt, chat=chat)
