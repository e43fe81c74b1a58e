"""Continuations against a slow oracle that runs every text anew from its first token."""

import pytest
import torch
from helpers.models import ARCHITECTURES, random_model

from flowtracer.models import continuation
from flowtracer.models.branching import MOST_SHARED, Prefix
from flowtracer.models.continuation import (
    continue_in_parts,
    continue_prefixes,
    draw,
    read_text,
    sampled,
)

TEXT = torch.randint(3, 97, (20,), generator=torch.Generator().manual_seed(3)).tolist()


def greedy(logits, rows):
    return logits.argmax(-1)[rows]


def prefixes_of(model, lengths):
    text = read_text(model, TEXT)
    return [text.prefix(length) for length in lengths]


def greedy_by_rerunning(model, ids, limit, ends):
    tokens = []
    while len(tokens) < limit and not (tokens and tokens[-1] in ends):
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *tokens]]), use_cache=False).logits[0, -1]
        tokens.append(int(logits.argmax()))
    return tokens


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prefixes_of_different_lengths_go_on_as_if_each_ran_alone(name):
    model = random_model(name)
    lengths, limits = [4, 11, 20], [6, 1, 12]
    prefixes = prefixes_of(model, lengths)
    rows = continue_prefixes(model, prefixes, copies=2, limits=limits, ends={2}, choose=greedy)
    for number, (length, limit) in enumerate(zip(lengths, limits, strict=True)):
        alone = greedy_by_rerunning(model, TEXT[:length], limit, {2})
        assert rows[2 * number] == rows[2 * number + 1] == alone


@pytest.mark.parametrize("count", [2, MOST_SHARED + 1])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prefixes_of_several_texts_go_on_as_if_each_ran_alone(name, count):
    """A few texts are shared by all rows, more of them are copied to theirs."""
    model = random_model(name)
    texts = [TEXT[number:] + TEXT[:number] for number in range(count)]
    lengths = [(text, length) for text in texts for length in (5, 13)]
    read = {tuple(text): read_text(model, text) for text in texts}
    rows = continue_prefixes(
        model,
        [read[tuple(text)].prefix(length) for text, length in lengths],
        copies=2,
        limits=[8] * len(lengths),
        ends={2},
        choose=greedy,
    )
    for number, (text, length) in enumerate(lengths):
        alone = greedy_by_rerunning(model, text[:length], 8, {2})
        assert rows[2 * number] == rows[2 * number + 1] == alone


def test_in_parts_each_prefix_gets_its_own_continuations(monkeypatch):
    """Prefixes of a length go together, in an order that is not the caller's."""
    model = random_model("qwen3")
    lengths, limits = [15, 4, 20, 9, 4], [3, 6, 2, 5, 1]
    prefixes = prefixes_of(model, lengths)
    monkeypatch.setattr(continuation, "MOST_ROWS", 4)  # two prefixes at a time
    rows = continue_in_parts(
        model, prefixes, copies=2, limits=limits, ends={2}, temperature=0, seed=0
    )
    assert len(rows) == 2 * len(lengths)
    for number, (length, limit) in enumerate(zip(lengths, limits, strict=True)):
        alone = greedy_by_rerunning(model, TEXT[:length], limit, {2})
        assert rows[2 * number] == rows[2 * number + 1] == alone


def test_probabilities_are_those_of_a_plain_forward_pass():
    model = random_model("qwen3")
    logs = read_text(model, TEXT).log_probability
    with torch.no_grad():
        plain = model(torch.tensor([TEXT])).logits[0].log_softmax(-1)
    expected = plain[:-1].gather(1, torch.tensor(TEXT[1:])[:, None])[:, 0]
    torch.testing.assert_close(logs, expected)


def test_finished_rows_leave_and_the_others_are_not_disturbed():
    """Half of the vocabulary ends a text, so that rows leave at every step."""
    model = random_model("llama")
    prefixes = prefixes_of(model, [7, 15])
    ends = set(range(3, 50))
    rows = continue_prefixes(
        model,
        prefixes,
        copies=40,
        limits=[30, 30],
        ends=ends,
        choose=sampled(1.0, torch.Generator().manual_seed(0)),
    )
    assert len({len(row) for row in rows}) > 4
    for number, row in enumerate(rows):
        assert all(token not in ends for token in row[:-1])
        assert row[-1] in ends or len(row) == 30
        prefix = TEXT[: (7, 15)[number // 40]]
        with torch.no_grad():
            logits = model(torch.tensor([[*prefix, *row]])).logits[0, len(prefix) - 1 : -1]
        probability = logits.softmax(-1).gather(1, torch.tensor(row)[:, None])
        assert bool((probability > 1e-9).all())


def test_sampling_follows_the_models_distribution():
    model = random_model("qwen3")
    prefixes = prefixes_of(model, [9])
    rows = continue_prefixes(
        model,
        prefixes,
        copies=4_000,
        limits=[1],
        ends=set(),
        choose=sampled(2.0, torch.Generator().manual_seed(0)),
    )
    counts = torch.bincount(torch.tensor(rows)[:, 0], minlength=97) / 4_000
    expected = (prefixes[0].logits / 2.0).softmax(-1)
    assert float((counts - expected).abs().max()) < 0.03


def test_the_same_seed_gives_the_same_tokens():
    model = random_model("qwen3")
    prefixes = prefixes_of(model, [9, 12])

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return continue_prefixes(
            model,
            prefixes,
            copies=8,
            limits=[9, 9],
            ends={2},
            choose=sampled(1.0, generator),
        )

    assert run(1) == run(1) != run(2)


def test_a_prefix_without_room_gets_no_tokens():
    model = random_model("qwen3")
    prefixes = prefixes_of(model, [9, 12])
    rows = continue_prefixes(model, prefixes, copies=1, limits=[0, 3], ends=set(), choose=greedy)
    assert rows[0] == [] and len(rows[1]) == 3


@pytest.mark.parametrize("name", ["qwen3", "llama", "phi3"])
def test_a_shared_text_gives_the_tokens_of_copied_prefixes(name):
    model = random_model(name)
    prefixes = prefixes_of(model, [4, 11, 20])
    copied = [Prefix(list(prefix.text), prefix.length, prefix.logits) for prefix in prefixes]

    def run(prefixes):
        choose = sampled(1.5, torch.Generator().manual_seed(5))
        return continue_prefixes(
            model, prefixes, copies=20, limits=[25, 18, 9], ends={2, 3, 4, 5}, choose=choose
        )

    assert run(prefixes) == run(copied)


def test_copies_with_the_same_tokens_run_as_one_row():
    model = random_model("qwen3")
    prefixes = prefixes_of(model, [4, 11])
    rows = []
    handle = model.register_forward_hook(
        lambda module, inputs, kwargs, output: rows.append(len(kwargs["position_ids"])),
        with_kwargs=True,
    )
    continue_prefixes(model, prefixes, copies=50, limits=[6, 6], ends=set(), choose=greedy)
    handle.remove()
    assert rows == [2] * 5


def test_drawing_follows_the_probabilities_and_never_takes_what_has_none():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(5, 12, dtype=torch.float64, generator=generator)
    probabilities[:, [0, 4, 11]] = 0
    probabilities /= probabilities.sum(1, keepdim=True)
    rows = torch.arange(5).repeat_interleave(40_000)
    uniform = torch.rand(len(rows), dtype=torch.float64, generator=generator)
    tokens = draw(probabilities, rows, uniform)
    counts = torch.zeros(5, 12).index_put_((rows, tokens), torch.ones(()), accumulate=True)
    assert not counts[:, [0, 4, 11]].any()
    expected = probabilities * 40_000
    likely = probabilities > 0
    statistic = ((counts - expected).square() / expected)[likely].sum()
    assert float(statistic) < 68  # 40 degrees of freedom, a chance of 0.4% to be above


@pytest.mark.parametrize("vocabulary", [5, 127, 128, 129, 1000])
def test_drawing_is_inversion_of_the_whole_row(vocabulary):
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 4 * torch.randn(6, vocabulary, generator=generator)
    logits[torch.rand(6, vocabulary, generator=generator) < 0.3] = -torch.inf
    logits[:, 2] = 0
    probabilities = logits.softmax(-1)
    rows = torch.randint(0, 6, (500,), generator=generator)
    uniform = torch.rand(500, dtype=torch.float64, generator=generator)
    cumulative = probabilities.double().cumsum(-1)
    cumulative /= cumulative[:, -1:].clone()
    expected = [
        int(torch.searchsorted(cumulative[row], value, right=True))
        for row, value in zip(rows.tolist(), uniform, strict=True)
    ]
    assert draw(probabilities, rows, uniform).tolist() == expected
    edges = torch.tensor([0, 2**-60, 1 - 2**-33, 1 - 2**-53], dtype=torch.float64).repeat(6)
    rows = torch.arange(6).repeat_interleave(4)
    assert (probabilities[rows, draw(probabilities, rows, edges)] > 0).all()


def test_drawing_in_parts_is_drawing_at_once(monkeypatch):
    logits = torch.randn(7, 30, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([6, 0, 3, 3, 5, 1, 2, 4, 0])

    def run():
        return sampled(0.8, torch.Generator().manual_seed(1))(logits, rows)

    at_once = run()
    monkeypatch.setattr("flowtracer.models.continuation.PROBABILITIES_AT_ONCE", 60)
    assert torch.equal(run(), at_once)


def test_drawing_at_the_ends_of_the_unit_interval():
    probabilities = torch.tensor([[0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    ends = torch.tensor([0.0, 1 - 2**-53, 0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(probabilities, torch.tensor([0, 0, 1, 1]), ends).tolist() == [1, 2, 2, 2]
