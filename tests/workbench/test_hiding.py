"""Hide tokens and regenerate: what is hidden, what is written anew, and what is said of the answer."""

import pytest
import torch
from helpers.workbench import PROBLEM, failure, result, run, workbench

from flowtracer.intervention import attention_knockout, prefill


@pytest.fixture(scope="module")
def client(embedded):
    with workbench(embedded) as client:
        yield client


@pytest.fixture(scope="module")
def text(client):
    return result(client, "answer", prompt=PROBLEM)


@pytest.fixture(scope="module")
def top(client, text):
    return result(client, "select", text=text["id"], ratio=0.3)["tokens"]


def test_the_new_text_stands_beside_the_old_one(client, text, top):
    events = run(client, "hide", text=text["id"], tokens=top)
    data = events[-1][1]
    tokens = [token for name, token in events if name == "token"]
    kept, old, new = data["kept"], text["response_ids"], data["response_ids"]
    assert kept == max(top) - len(text["prompt_ids"]) + 1
    assert new[:kept] == old[:kept] and [token["id"] for token in tokens] == new[kept:]
    assert data["unchanged_prefix"] >= kept
    assert client.get(f"/api/texts/{data['id']}").json()["response_ids"] == new
    for ids, ranges in ((old, data["changed"]["old"]), (new, data["changed"]["new"])):
        assert all(kept <= first <= last < len(ids) for first, last in ranges)
    same = [
        [t for i, t in enumerate(ids) if not any(a <= i <= b for a, b in ranges)]
        for ids, ranges in ((old, data["changed"]["old"]), (new, data["changed"]["new"]))
    ]
    assert same[0] == same[1]


@pytest.mark.parametrize("start", ["hidden", "answer", "start"])
def test_where_regeneration_begins(client, text, top, start):
    prompt = [2, 4]
    data = result(client, "hide", text=text["id"], tokens=[*prompt, *top], **{"from": start})
    answer = text["response"].index("{") + 1
    if start == "start":
        assert data["kept"] == 0 and data["tokens"] == prompt and data["ignored"] == len(top)
    if start == "answer":
        assert text["response"].startswith(data["response"][:answer])
        assert data["tokens"] == sorted([*prompt, *top]) and len(data["response_ids"]) < 80


def test_a_position_can_be_given(client, text):
    start = len(text["prompt_ids"])
    data = result(client, "hide", text=text["id"], tokens=[start + 2], **{"from": start + 9})
    assert data["kept"] == 9 and data["tokens"] == [start + 2]


def test_the_drop_is_that_of_the_intervention(client, text, embedded):
    start = len(text["prompt_ids"])
    tokens = list(range(start + 20, start + 30))
    data = result(client, "hide", text=text["id"], tokens=tokens, **{"from": "answer"})
    ids = [*text["prompt_ids"], *text["response_ids"]]
    traced = result(client, "trace", text=text["id"])["roles"]
    answer = [i for i, role in enumerate(traced) if role == "a"]
    hidden = torch.zeros(2, answer[0], dtype=torch.bool)
    hidden[1, tokens] = True
    with attention_knockout(embedded.model) as knockout:
        target = ids[answer[0] : answer[-1] + 1]
        read = prefill(embedded.model, knockout, ids[: answer[0]], hidden, target=target)
    expected = read.log_probability.sum(1).tolist()
    log_probabilities = [data["log_probability_old"], data["log_probability_hidden"]]
    assert log_probabilities == pytest.approx(expected, abs=1e-3)
    assert data["answer_old"] == "16 / (24 - 20)"


def test_hiding_the_numbers_changes_the_answer_and_few_random_tokens_do_not(client, text):
    start = len(text["prompt_ids"])
    every = [*range(1, start - 2), *range(start, start + 34)]
    data = result(client, "hide", text=text["id"], tokens=every, **{"from": "answer"})
    assert data["answer_changed"] is not False
    assert data["log_probability_hidden"] < data["log_probability_old"]


def test_the_control_hides_as_many_tokens_of_the_same_regions(client, text, top):
    tokens = [2, 4, *top]
    drawn = [
        result(client, "hide", text=text["id"], tokens=tokens, control={"seed": seed})["tokens"]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    for positions in drawn:
        assert len(positions) == len(tokens)
        assert [text["roles"][i] for i in positions].count("u") == 2


def test_a_marked_answer_is_looked_for_in_its_place(client, text):
    start = len(text["prompt_ids"])
    marked = {"spans": [[4, 4]]}
    fields = {"text": text["id"], "answer": marked, "from": start + 2}
    data = result(client, "hide", tokens=[start + 1], max_new_tokens=8, **fields)
    assert data["answer_old"] == "8" and data["answer_changed"] in (True, False)
    behind = result(
        client, "hide", tokens=[start + 20], text=text["id"], answer=marked, **{"from": start + 25}
    )
    assert behind["answer_changed"] is None and "in front of" in behind["note"]
    assert behind["log_probability_old"] is None


def test_the_selection_is_the_top_or_bottom_of_any_scorer(client, text):
    data = result(client, "trace", text=text["id"], scorer="rollout")
    scores = data["scorers"]["rollout"]["score"]
    chosen = {
        end: result(client, "select", text=text["id"], scorer="rollout", ratio=0.2, end=end)
        for end in ("top", "bottom")
    }
    top, bottom = chosen["top"]["tokens"], chosen["bottom"]["tokens"]
    assert len(top) == len(bottom) == -(-chosen["top"]["of"] * 2 // 10)
    assert min(scores[i] for i in top) >= max(scores[i] for i in bottom)
    assert all(data["roles"][i] == "r" for i in top + bottom)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tokens": []}, "at least one token"),
        ({"tokens": [9999]}, "not a token of the text"),
        ({"tokens": "all"}, "must be a list"),
        ({"tokens": [14], "from": "start"}, "regenerate from further back"),
        ({"tokens": list(range(20)), "from": 20}, "nothing would be left"),
        ({"tokens": [14], "from": 3}, "from must be a whole number"),
        ({"tokens": [14], "from": "top"}, "from is 'top'"),
        ({"tokens": [14], "control": 3}, "control must be"),
        ({"tokens": [14], "control": {"seed": -1}}, "seed must be"),
        ({"tokens": [14], "answer": "gsm8k"}, "no answer found"),
    ],
)
def test_what_cannot_be_hidden_is_said_in_a_sentence(client, text, fields, words):
    assert words in failure(client, "hide", text=text["id"], **fields)


def test_a_response_that_the_model_would_not_write_is_said_to_be_so(client, text, top):
    """Otherwise a change of a sampled or pasted response would be put down to what is hidden."""
    assert result(client, "hide", text=text["id"], tokens=top)["reproduced"] is True
    pasted = result(
        client,
        "paste",
        prompt=PROBLEM,
        response="23 + 5 = 28, 28 + 2 = 30, yes.\n\\boxed{23 + 5 + 2}",
    )
    other = result(client, "hide", text=pasted["id"], tokens=[2], **{"from": "start"})
    assert other["reproduced"] is False
    behind = result(client, "hide", text=text["id"], tokens=[2], **{"from": text_end(text)})
    assert behind["reproduced"] is None


def text_end(text):
    return len(text["prompt_ids"]) + len(text["response_ids"])
