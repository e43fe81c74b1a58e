"""The workbench with a model that mixes softmax attention with other means."""

import pytest
from helpers.architectures import tiny_loaded
from helpers.workbench import PROBLEM, failure, result, workbench


@pytest.fixture(scope="module")
def client(embedded):
    with workbench(tiny_loaded("qwen3_next", embedded)) as client:
        yield client


@pytest.fixture(scope="module")
def text(client):
    return result(client, "answer", prompt=PROBLEM, max_new_tokens=6)


def test_it_answers_traces_and_says_what_is_not_seen(client, text):
    position = len(text["prompt_ids"]) + 1
    other = result(client, "continue", text=text["id"], position=position, token=9)
    assert other["response_ids"][:2] == [text["response_ids"][0], 9]
    meta = result(client, "trace", text=text["id"], answer="last-line")["meta"]
    assert meta["layers"] == "2 (of those with softmax attention)"
    assert meta["not seen"].endswith("here in layers 0-1, 3-4")


def test_hiding_a_token_is_refused_in_a_sentence(client, text):
    said = failure(client, "hide", text=text["id"], tokens=[1], answer="last-line")
    assert "attention knockout hides a token from softmax attention, and layers 0-1, 3-4" in said
