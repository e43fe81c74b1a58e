"""The scorer in this process: its weights are those of `token_credit`, and one odd row ends nothing."""

import threading

import numpy as np
import pytest
import torch
from helpers.scoring import save_checkpoint, token_rows

from flowtracer import Calibrated, Credit, Scorer, Selection, sequence_credit
from flowtracer.models import ModelError, load
from flowtracer.models.padding import pad_rows


@pytest.fixture(scope="module")
def scorer():
    return Scorer("embedded")


@pytest.fixture
def fresh():
    """A scorer for one test, whose weights a test may change."""
    return Scorer("embedded")


def expected(loaded, ids, lengths, credit=None):
    padded, real = pad_rows(ids, left=True)
    start = padded.shape[1] - torch.tensor([len(row) for row in ids]) + torch.tensor(lengths)
    mask = (torch.arange(padded.shape[1]) >= start[:, None]) & real.bool()
    token_credit = sequence_credit(
        loaded.model, loaded.tokenizer, padded, mask, attention_mask=real, credit=credit
    )
    return [
        row[row.numel() - len(row_ids) :].tolist()
        for row, row_ids in zip(token_credit.weights, ids, strict=True)
    ]


@pytest.mark.parametrize(
    "rule, credit",
    [
        ("flow", Credit()),
        ("flow@end=bottom,emphasis=3", None),
        ("entropy", Credit(scorer="entropy")),
        ("flow@among=structural", Credit(selection=Selection(among="structural"))),
    ],
)
def test_weights_are_those_of_token_credit(embedded, rule, credit):
    ids, lengths = token_rows(embedded)
    scorer = Scorer(embedded, rule=rule)
    scored = scorer.weights(ids, lengths)
    assert scored.weights == expected(embedded, ids, lengths, credit or scorer.credit)
    assert scored.states == ["scored", "scored", "no answer"] * 2
    assert [len(row) for row in scored.weights] == [len(row) for row in ids]
    assert [len(row) for row in scored.responses] == [
        len(row) - n for row, n in zip(ids, lengths, strict=True)
    ]


def test_windows_change_nothing_and_order_is_kept(embedded):
    ids, lengths = token_rows(embedded, 12)
    one_window = Scorer(embedded).weights(ids, lengths)
    many = Scorer(embedded, window_tokens=200).weights(ids, lengths)
    backwards = Scorer(embedded).weights(ids[::-1], lengths[::-1])
    assert one_window.weights == many.weights == backwards.weights[::-1]
    assert one_window.counts["scored"] == 8 and one_window.counts["no answer"] == 4


def test_masks_hold_tool_output_out(scorer, embedded):
    ids, lengths = token_rows(embedded, 2)
    masks = [[0] * n + [1] * (len(row) - n) for row, n in zip(ids, lengths, strict=True)]
    same = scorer.weights(ids, response_masks=masks)
    assert same == scorer.weights(ids, lengths)
    masks[0][lengths[0] + 3 : lengths[0] + 9] = [0] * 6
    tool = scorer.weights([list(np.array(ids[0])), torch.tensor(ids[1])], response_masks=masks)
    assert tool.weights[0][lengths[0] + 3 : lengths[0] + 9] == [1.0] * 6
    assert tool.weights[1] == same.weights[1]


def test_odd_rows_weigh_1_and_are_counted(embedded):
    ids, lengths = token_rows(embedded, 3)
    scorer = Scorer(embedded, max_tokens=len(ids[0]) + 20)
    odd = [*ids, [], [5, 6], ids[0] * 3, ids[0]]
    scored = scorer.weights(
        odd, [*lengths, 0, 2, lengths[0], lengths[0]], row_mask=[True] * 6 + [False]
    )
    assert scored.states[3:] == ["empty", "empty", "too long", "skipped"]
    assert all(set(row) <= {1.0} for row in scored.weights[3:])
    assert scored.weights[:3] == scorer.weights(ids, lengths).weights
    assert sum(scored.counts.values()) == 7


def test_a_row_on_which_the_model_fails_is_counted_and_the_others_are_scored(embedded):
    ids, lengths = token_rows(embedded, 4)
    loaded = load("embedded")
    scorer = Scorer(loaded)
    plain = scorer.weights(ids, lengths)

    bad = torch.tensor(ids[2][: lengths[2]])  # the prompt of the last two rows

    def fail(module, inputs, named):
        tokens = named.get("input_ids", inputs[0] if inputs else None)
        if any(torch.equal(row[: len(bad)], bad) for row in tokens):
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = loaded.model.model.register_forward_pre_hook(fail, with_kwargs=True)
    scored = scorer.weights(ids, lengths)
    handle.remove()
    assert scored.states == ["scored", "scored", "no answer", "failed"]
    assert scored.weights[:2] == plain.weights[:2]
    assert all(set(row) == {1.0} for row in scored.weights[2:])


@pytest.mark.parametrize(
    "arguments, said",
    [
        (([[1, 2]],), "give prompt_lengths or response_masks, one of them"),
        ((5, [1]), "input_ids is 5; it must be a list"),
        (([5, 6], [1, 1]), r"input_ids\[0\] is 5; it must be a list of whole numbers"),
        (([[1, "a"]], [1]), r"input_ids\[0\] holds 'a'; it must be"),
        (([[1, True]], [1]), r"input_ids\[0\] holds True"),
        (([[1, 2]], [1, 1]), "prompt_lengths has 2 entries for 1 rows"),
        (([[1, 2]], [3]), r"prompt_lengths\[0\] is 3, and row 0 of input_ids has 2 tokens"),
        (([[1, 2]], ["1"]), "prompt_lengths holds '1'"),
        (([[1, -100]], [1]), r"input_ids\[0\] holds -100, which is not in the model's vocabulary"),
        (([[1, 1 << 40]], [1]), "which is not in the model's vocabulary"),
    ],
)
def test_malformed_arguments_get_one_sentence(scorer, arguments, said):
    with pytest.raises(ValueError, match=said) as caught:
        scorer.weights(*arguments)
    assert "\n" not in str(caught.value)


def test_masks_that_do_not_fit_get_one_sentence(scorer):
    for masks, said in (
        ([[1]], "has 1 entries for 2 tokens"),
        ([[0, 2]], "holds 2; it must be a list of 0 and 1"),
        ([[0, 1], [1]], "has 2 entries for 1 rows"),
    ):
        with pytest.raises(ValueError, match=said):
            scorer.weights([[1, 2]], response_masks=masks)
    with pytest.raises(ValueError, match="row_mask has 2 entries for 1 rows"):
        scorer.weights([[1, 2]], [1], row_mask=[1, 1])


def test_rules_that_a_scorer_cannot_have_are_refused():
    for rule, said in (
        ("flow@emphasis=1/2", "stands for 2 rules"),
        ("nothing", "unknown"),
        (Credit(rule=Calibrated()), "while a TRL trainer runs"),
        (Credit(question="user"), "do not say what the user wrote"),
    ):
        with pytest.raises(ValueError, match=said):
            Scorer("embedded", rule=rule)


def test_uniform_weights_are_1(embedded):
    ids, lengths = token_rows(embedded, 2)
    scored = Scorer(embedded, rule="uniform").weights(ids, lengths)
    assert all(set(row) == {1.0} for row in scored.weights)


def test_refresh_takes_the_weights_of_a_checkpoint(embedded, fresh, tmp_path):
    ids, lengths = token_rows(embedded)
    before = fresh.weights(ids, lengths)
    assert (before.revision, before.step) == ("embedded", None)
    save_checkpoint(embedded, tmp_path / "checkpoint-20", scale=-3.0)
    fresh.refresh(tmp_path / "checkpoint-20")
    after = fresh.weights(ids, lengths)
    assert (after.revision, after.step) == ("checkpoint-20", 20)
    assert after.weights == Scorer(tmp_path / "checkpoint-20").weights(ids, lengths).weights
    assert after.weights != before.weights


def test_a_checkpoint_that_does_not_fit_changes_nothing(embedded, fresh, tmp_path):
    ids, lengths = token_rows(embedded, 2)
    before = fresh.weights(ids, lengths)
    other = load("embedded")
    other.model.model.layers = other.model.model.layers[:4]
    other.model.config.num_hidden_layers = 4
    other.model.config.layer_types = None
    other.model.save_pretrained(tmp_path / "other-1")
    other.tokenizer.save_pretrained(tmp_path / "other-1")
    for folder in (tmp_path / "other-1", tmp_path / "missing"):
        with pytest.raises(ModelError):
            fresh.refresh(folder)
    assert fresh.weights(ids, lengths) == before


def test_threads_share_a_scorer_while_it_is_refreshed(embedded, fresh, tmp_path):
    """A result is of one revision, whatever is refreshed meanwhile."""
    ids, lengths = token_rows(embedded, 3)
    for step, scale in ((1, 1.0), (2, -3.0)):
        save_checkpoint(embedded, tmp_path / f"step-{step}", scale=scale)
    known = {}
    for step in (1, 2):
        fresh.refresh(tmp_path / f"step-{step}")
        known[step] = fresh.weights(ids, lengths).weights
    results, errors = [], []

    def ask():
        try:
            results.extend(fresh.weights(ids, lengths) for _ in range(4))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in (1, 2, 1, 2):
        fresh.refresh(tmp_path / f"step-{step}")
    for thread in threads:
        thread.join()
    assert not errors and len(results) == 12
    assert all(result.weights == known[result.step] for result in results)
