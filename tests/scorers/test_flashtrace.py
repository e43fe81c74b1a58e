"""FlashTrace as a scorer: what we rely on of the package, and what happens where it is missing or odd."""

import sys
from types import SimpleNamespace

import pytest
import torch
from helpers.models import random_model, snapshot
from helpers.responses import GOOD, NO_BOX, sampled
from helpers.scores import long_batch

from flowtracer import AttentionCaptureError, Credit
from flowtracer.regions import TokenizedText, decode_with_offsets
from flowtracer.scorers import SCORERS, score_tokens
from flowtracer.scorers.flashtrace import KnownTokens
from flowtracer.scorers.responses import score_batch

NAMES = ["flashtrace", "flashtrace_span"]
METHODS = {"flashtrace": "flashtrace", "flashtrace_span": "ifr-span"}


def batch_of(loaded, texts):
    return score_batch(loaded.tokenizer, **sampled(loaded, texts))


@pytest.fixture
def package():
    """The real package."""
    return pytest.importorskip("flashtrace", reason="needs the extra flowtracer[flashtrace]")


@pytest.fixture
def fake(monkeypatch):
    """A package that notes what it is asked, and scores prompt tokens 1, 2, 3, ..."""
    asked = []

    class FlashTrace:
        def __init__(self, model, tokenizer):
            self.model, self.tokenizer = model, tokenizer

        def trace(self, *, prompt, target, output_span, method):
            ids = [
                self.tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids[0]
                for text in (prompt, target + self.tokenizer.eos_token)
            ]
            asked.append((ids[0].tolist(), ids[1].tolist(), output_span, method))
            return SimpleNamespace(scores=[1.0 + n for n in range(len(ids[0]))])

    monkeypatch.setitem(sys.modules, "flashtrace", SimpleNamespace(FlashTrace=FlashTrace))
    return SimpleNamespace(asked=asked, FlashTrace=FlashTrace)


# What we rely on of the real package.


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_package_with_the_models_own_tokenizer(package, embedded, name):
    """`FlashTrace(model, tokenizer).trace(prompt, target, output_span, method).scores`, one hop."""
    batch = batch_of(embedded, [GOOD])
    prompt = ((batch.attention_mask > 0) & ~batch.candidates)[0]
    answer = batch.answer[0].nonzero()[:, 0]
    begin = int(batch.candidates[0].int().argmax())
    ids = batch.input_ids[0]
    decoded = [
        decode_with_offsets(embedded.tokenizer, part.tolist()).text
        for part in (ids[prompt], ids[begin : int(answer[-1]) + 1])
    ]
    before = embedded.model.config._attn_implementation
    embedded.model.set_attn_implementation("eager")
    result = package.FlashTrace(embedded.model, embedded.tokenizer).trace(
        prompt=decoded[0],
        target=decoded[1],
        output_span=(int(answer[0]) - begin, int(answer[-1]) - begin),
        method=METHODS[name],
    )
    embedded.model.set_attn_implementation(before)
    scores = score_tokens(embedded.model, batch, [name])[name][0]
    torch.testing.assert_close(scores[prompt], torch.tensor(result.scores))
    assert float(scores[prompt].sum()) > 0 and float(scores[~prompt].abs().sum()) == 0


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_the_ids_that_were_sampled(package, embedded, name):
    """Ids that no tokenizer would choose reach the model as they are, with one end token behind them."""
    batch = batch_of(embedded, [GOOD])
    odd = batch.candidates[0].nonzero()[3:5, 0]
    batch.input_ids[0, odd] = torch.tensor([1, 1])
    real = batch.input_ids[0, batch.attention_mask[0] > 0].tolist()
    end = int(batch.answer[0].nonzero()[-1, 0] - (batch.attention_mask[0] > 0).int().argmax()) + 1
    seen = []
    handle = embedded.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"][0].tolist()), with_kwargs=True
    )
    score_tokens(embedded.model, batch, [name])
    handle.remove()
    assert [ids[:-1] for ids in seen] == [real[:end]]


@pytest.mark.parametrize("name", NAMES)
def test_padding_batch_mates_and_what_follows_the_answer_change_nothing(package, embedded, name):
    batch = batch_of(embedded, [GOOD, NO_BOX, GOOD])
    longer = batch_of(embedded, [GOOD + GOOD.split("\n")[0]])
    scores = score_tokens(embedded.model, batch, [name])[name]
    assert float(scores[1].sum()) == 0  # no answer
    torch.testing.assert_close(scores[0], scores[2])
    again = score_tokens(embedded.model, longer, [name])[name][0]
    torch.testing.assert_close(again, scores[0])


def test_the_model_is_what_it_was_afterwards(package, embedded):
    embedded.model.train()
    before = snapshot(embedded.model)
    try:
        score_tokens(embedded.model, batch_of(embedded, [GOOD]), NAMES)
        assert snapshot(embedded.model) == before
    finally:
        embedded.model.eval()


def test_a_model_that_the_package_cannot_read_is_named(package, embedded):
    with pytest.raises(AttentionCaptureError, match="FlashTrace cannot read Phi3ForCausalLM"):
        score_tokens(random_model("phi3"), batch_of(embedded, [GOOD]), ["flashtrace"])


# Without it.


@pytest.mark.parametrize("name", NAMES)
def test_the_package_is_given_the_ids_and_the_answers_place(fake, embedded, name):
    batch = batch_of(embedded, [GOOD, NO_BOX])
    scores = score_tokens(embedded.model, batch, [name])[name]
    ((prompt, target, span, method),) = fake.asked
    row, real = batch.input_ids[0], batch.attention_mask[0] > 0
    assert prompt == row[real & ~batch.candidates[0]].tolist() and method == METHODS[name]
    begin = int(batch.candidates[0].int().argmax())
    assert target[:-1] == row[begin : begin + len(target) - 1].tolist()
    answer = batch.answer[0].nonzero()[:, 0] - begin
    assert span == (int(answer[0]), int(answer[-1])) and span[1] == len(target) - 2
    assert scores[0, :begin][real[:begin]].tolist() == [1.0 + n for n in range(len(prompt))]
    assert float(scores[1].sum()) == 0 and float(scores[0, begin:].sum()) == 0


def test_a_missing_package_is_one_sentence(monkeypatch, embedded):
    monkeypatch.setitem(sys.modules, "flashtrace", None)
    with pytest.raises(ValueError, match=r"pip install 'flowtracer\[flashtrace\]'"):
        score_tokens(embedded.model, batch_of(embedded, [GOOD]), ["flashtrace"])


def test_another_number_of_scores_is_refused(fake, embedded, monkeypatch):
    result = SimpleNamespace(scores=[1.0])
    monkeypatch.setattr(fake.FlashTrace, "trace", lambda self, **_: result)
    with pytest.raises(ValueError, match="FlashTrace gave 1 scores for"):
        score_tokens(embedded.model, batch_of(embedded, [GOOD]), ["flashtrace"])


def test_an_error_of_the_package_leaves_the_model_as_it_was(fake, embedded, monkeypatch):
    def fail(self, **_):
        raise IndexError("tuple index out of range")

    monkeypatch.setattr(fake.FlashTrace, "trace", fail)
    before = snapshot(embedded.model)
    with pytest.raises(AttentionCaptureError, match=r"cannot read Qwen3ForCausalLM \(IndexError"):
        score_tokens(embedded.model, batch_of(embedded, [GOOD]), ["flashtrace"])
    assert snapshot(embedded.model) == before


def test_a_batch_without_a_tokenizer_is_refused(fake, model):
    with pytest.raises(ValueError, match="set `tokenizer` of the batch"):
        score_tokens(model, long_batch(), ["flashtrace"])


def test_it_is_no_scorer_of_responses():
    assert not set(NAMES) & set(SCORERS)  # "all scorers" leaves it out
    with pytest.raises(ValueError, match="scores tokens of the prompt only"):
        Credit(scorer="flashtrace")


def test_two_texts_and_no_other_are_known():
    prompt, target = (
        TokenizedText("a b", [5, 6], [(0, 1), (1, 3)]),
        TokenizedText("c", [7], [(0, 1)]),
    )
    known = KnownTokens(prompt, target, end_id=2)
    ended = known("c" + known.eos_token, return_offsets_mapping=True, add_special_tokens=False)
    assert ended["input_ids"] == [7, 2] and ended["offset_mapping"] == [(0, 1), (1, 2)]
    assert known("a b", return_tensors="pt").to("cpu").input_ids.tolist() == [[5, 6]]
    assert known.decode([7, 2], skip_special_tokens=False) == "c" + known.eos_token
    with pytest.raises(ValueError, match="a text that it was not given"):
        known("b")
    with pytest.raises(ValueError, match="cannot tell this prompt from its response"):
        KnownTokens(TokenizedText("c\0", [5], [(0, 2)]), target, end_id=2)
