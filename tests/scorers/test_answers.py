"""Answers found without decoding: the same weights as by decoding and encoding everything."""

import copy
import gc
import random
import weakref

import pytest
import torch
from helpers.byte_tokenizer import ByteTokenizer
from helpers.odd_rows import odd_batch
from helpers.slow_answers import slow_find_answers
from helpers.small_tokenizers import SMALL_TOKENIZERS, SMILES, byte_level, metaspace
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from flowtracer.regions import ANSWER_RULES
from flowtracer.scorers.responses import LONGEST_TAG, find_answers, step_scores

RULES = [*ANSWER_RULES, r"regex:[^\w\s]+", "regex:(?s)."]
REAL = ("smollm2", "qwen-coder-0.5b", "gemma3-270m")
DECODED = {"bytes, trimmed offsets", "metaspace, stripped", "code of its own"}


@pytest.fixture
def calls(monkeypatch):
    """The number of tokens of each decoding by a fast tokenizer, and 0 for each encoding."""
    seen = []
    decode, encode = PreTrainedTokenizerFast._decode, PreTrainedTokenizerFast._encode_plus

    def counted_decode(self, token_ids, *args, **kwargs):
        seen.append(len(token_ids))
        return decode(self, token_ids, *args, **kwargs)

    def counted_encode(self, *args, **kwargs):
        seen.append(0)
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(PreTrainedTokenizerFast, "_decode", counted_decode)
    monkeypatch.setattr(PreTrainedTokenizerFast, "_encode_plus", counted_encode)
    return seen


def one_row(tokenizer, text, before="Q"):
    """A batch of one prompt and one response."""
    prompt, response = (
        tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, text)
    )
    ids = torch.tensor([prompt + response])
    mask = torch.tensor([[0] * len(prompt) + [1] * len(response)])
    return ids, mask, mask


def assert_the_same(tokenizer, seed, batches):
    draw = random.Random(seed)
    answered = 0
    for _ in range(batches):
        batch = odd_batch(tokenizer, draw)
        for rule in draw.sample(RULES, 3):
            weights = find_answers(tokenizer, *batch, rule)
            assert torch.equal(weights, slow_find_answers(tokenizer, *batch, rule)), rule
            answered += int((weights > 0).any())
    assert answered > batches / 4


@pytest.mark.parametrize("name", SMALL_TOKENIZERS)
def test_odd_responses_of_small_tokenizers(name):
    assert_the_same(SMALL_TOKENIZERS[name](), seed=1, batches=30)


@pytest.mark.parametrize("name", REAL)
def test_odd_responses_of_real_tokenizers(real_tokenizer, name):
    assert_the_same(real_tokenizer(name), seed=2, batches=15)


def test_odd_responses_of_the_embedded_and_of_a_slow_tokenizer(embedded):
    assert_the_same(embedded.tokenizer, seed=3, batches=30)
    assert_the_same(ByteTokenizer(), seed=4, batches=15)


@pytest.mark.parametrize(
    "added",
    ["<think>", AddedToken("<think>", rstrip=True), AddedToken("<a>", lstrip=True), "(the)", "a b"],
)
def test_tokens_that_are_added_to_words(embedded, added):
    tokenizer = copy.deepcopy(embedded.tokenizer)
    tokenizer.add_tokens([added])
    assert_the_same(tokenizer, seed=5, batches=10)
    text = f"18 - ( 7 ) {added} , {added} * \\boxed{{ (the) }}\n\n{added} ."
    batch = one_row(tokenizer, text)
    for rule in (*RULES, "regex: ", "regex:[<>]"):
        weights = find_answers(tokenizer, *batch, rule)
        assert torch.equal(weights, slow_find_answers(tokenizer, *batch, rule))


def test_no_response_is_decoded_or_encoded(embedded, calls):
    for tokenizer in (byte_level(), metaspace(), embedded.tokenizer):
        words = "" if tokenizer is embedded.tokenizer else "日 \U0001f642"
        batch = one_row(tokenizer, f"18 - {words} \\boxed{{12}}. " * 20)
        calls.clear()
        for rule in ANSWER_RULES:
            find_answers(tokenizer, *batch, rule)
        assert calls and all(0 < count <= LONGEST_TAG for count in calls)


@pytest.mark.parametrize("name", REAL)
def test_no_response_of_a_real_tokenizer_is_decoded(real_tokenizer, calls, name):
    tokenizer = real_tokenizer(name)
    batch = one_row(tokenizer, "Step 1: 3 + 4 = 7. 日本語 🙂 so \\boxed{12}.\n" * 20)
    calls.clear()
    assert bool(find_answers(tokenizer, *batch, "auto").any())
    assert calls and all(0 < count <= LONGEST_TAG for count in calls)


@pytest.mark.parametrize("name", sorted(DECODED))
def test_tokenizers_whose_text_is_no_sum_of_tokens_are_asked(calls, name):
    tokenizer = SMALL_TOKENIZERS[name]()
    batch = one_row(tokenizer, "the answer is \\boxed{12}. " * 20)
    calls.clear()
    find_answers(tokenizer, *batch, "auto")
    assert 0 in calls


def test_an_answer_that_cuts_tokens_of_one_character_asks_the_tokenizer(calls):
    tokenizer = byte_level(corpus=SMILES)
    batch = one_row(tokenizer, "so \U0001f642 x")
    for rule, asked in (("regex:so", False), ("last-line", False), ("regex:\U0001f642", True)):
        calls.clear()
        weights = find_answers(tokenizer, *batch, rule)
        assert (0 in calls) == asked
        assert torch.equal(weights, slow_find_answers(tokenizer, *batch, rule))


def test_tokens_that_are_added_later_are_read():
    tokenizer = byte_level()
    for word in ("", "<think>", "</think>", "<née 日>"):
        if word:
            tokenizer.add_tokens([word])
        batch = one_row(tokenizer, f"\\boxed{{12}} {word} \\boxed{{12}} the rest")
        for rule in ("auto", "last-line", "regex:<.*>"):
            weights = find_answers(tokenizer, *batch, rule)
            assert torch.equal(weights, slow_find_answers(tokenizer, *batch, rule))


def test_ids_beyond_the_vocabulary_have_no_text():
    tokenizer = byte_level()
    ids, mask, _ = one_row(tokenizer, "the answer is \\boxed{12}.")
    ids[0, -3] = len(tokenizer) + 5
    weights = find_answers(tokenizer, ids, mask, mask, "last-line")
    assert torch.equal(weights, slow_find_answers(tokenizer, ids, mask, mask, "last-line"))


def test_a_decoder_that_is_changed_is_noticed():
    tokenizer, other = metaspace(), metaspace(strip=True)
    batch = one_row(tokenizer, " the answer")
    find_answers(tokenizer, *batch, "last-line")
    tokenizer.backend_tokenizer.decoder = other.backend_tokenizer.decoder
    weights = find_answers(tokenizer, *batch, "regex:^.")
    assert torch.equal(weights, slow_find_answers(other, *batch, "regex:^."))


def test_tokenizers_are_not_kept():
    tokenizer = byte_level()
    find_answers(tokenizer, *one_row(tokenizer, "\\boxed{12}"), "auto")
    gone = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert gone() is None


def test_rows_of_special_tokens_and_of_nothing_have_no_answer():
    tokenizer = byte_level()
    ids = torch.zeros(2, 4, dtype=torch.long)
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])
    assert not bool(find_answers(tokenizer, ids, mask, mask, "last-line").any())


def test_a_step_that_cuts_tokens_of_one_character(embedded):
    for tokenizer in (byte_level(corpus=SMILES), embedded.tokenizer):
        ids, mask, _ = one_row(tokenizer, "so \U0001f642 x")
        scores = step_scores(tokenizer, ids, mask, lambda text: [(0, 3, 2.0), (4, len(text), 3.0)])
        assert set(scores[mask > 0].tolist()) <= {1.0, 2.0, 3.0}
