"""Texts that come into being: answered, pasted, continued, registered again."""

import pytest
from helpers.workbench import PROBLEM, failure, result, run, workbench


@pytest.fixture(scope="module")
def client(embedded):
    with workbench(embedded) as client:
        yield client


@pytest.fixture(scope="module")
def solved(client):
    return result(client, "answer", prompt=PROBLEM)


def test_an_answer_streams_its_tokens_and_ends_with_the_text(client, solved):
    events = run(client, "answer", prompt=PROBLEM)
    names = [name for name, _ in events]
    assert names[0] == "queued" and set(names[1:-1]) == {"token"} and names[-1] == "result"
    tokens = [data for name, data in events if name == "token"]
    assert [token["id"] for token in tokens] == solved["response_ids"]
    assert "".join(token["text"] for token in tokens) == solved["response"]
    assert all(0 < token["probability"] <= 1 for token in tokens)
    assert solved["correct"] is True and solved["cut_off"] is False


def test_the_text_is_found_by_its_name_and_its_pieces_tile_it(client, solved):
    text = client.get(f"/api/texts/{solved['id']}").json()
    assert text == solved
    assert "".join(piece["text"] for piece in text["pieces"]) == text["text"]
    tokens = [t for piece in text["pieces"] for t in range(piece["first"], piece["last"] + 1)]
    assert tokens == list(range(len(text["prompt_ids"]) + len(text["response_ids"])))
    assert len(text["roles"]) == len(tokens) and set(text["roles"]) == set("tur")


def test_an_answer_can_be_cut_off_and_sampled_again_with_its_seed(client):
    cut = result(client, "answer", prompt=PROBLEM, max_new_tokens=5)
    assert cut["cut_off"] is True and len(cut["response_ids"]) == 5
    drawn = [
        result(client, "answer", prompt=PROBLEM, temperature=2.0, seed=seed, max_new_tokens=20)
        for seed in (1, 1, 2)
    ]
    assert drawn[0]["id"] == drawn[1]["id"] != drawn[2]["id"]


def test_a_pasted_response_is_tokenized_once(client, solved):
    pasted = result(client, "paste", prompt=PROBLEM, response=r"20 - 16 = 4. \boxed{20 - 16}")
    assert pasted["correct"] is False and pasted["cut_off"] is None
    assert pasted["prompt_ids"] == solved["prompt_ids"]


def test_the_model_goes_on_from_an_alternative(client, solved):
    position = len(solved["prompt_ids"]) + 13
    distribution = result(client, "alternatives", text=solved["id"], position=position, count=5)
    assert distribution["actual"]["id"] == solved["response_ids"][13]
    chances = [alternative["probability"] for alternative in distribution["alternatives"]]
    assert len(chances) == 5 and chances == sorted(chances, reverse=True)
    other = distribution["alternatives"][1]["id"]
    text = result(client, "continue", text=solved["id"], position=position, token=other)
    assert text["response_ids"][:14] == [*solved["response_ids"][:13], other]


def test_a_text_is_registered_again_after_a_restart(embedded, solved):
    with workbench(embedded) as restarted:
        unknown = restarted.get(f"/api/texts/{solved['id']}")
        assert unknown.status_code == 404 and "not known" in unknown.json()["error"]
        fields = {name: solved[name] for name in ("prompt_ids", "response_ids", "roles", "model")}
        again = restarted.post("/api/texts", json=fields).json()
        assert again["id"] == solved["id"] and again["pieces"] == solved["pieces"]
        assert result(restarted, "trace", text=solved["id"], question="user")["trace"]


def test_what_the_user_wrote_is_known_once_somebody_says_it(embedded, solved):
    fields = {name: solved[name] for name in ("prompt_ids", "response_ids")}
    with workbench(embedded) as client:
        unknown = client.post("/api/texts", json=fields).json()
        assert "nobody knows" in failure(client, "trace", text=unknown["id"], question="user")
        before = result(client, "trace", text=unknown["id"])
        for roles in ({"roles": solved["roles"]}, {}):
            assert client.post("/api/texts", json=fields | roles).json()["roles"] == solved["roles"]
        after = result(client, "trace", text=unknown["id"])
        assert "u" in after["roles"] and "u" not in before["roles"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"response_ids": [10**6]}, 409, "of another model"),
        ({"model": "other"}, 409, "embedded is loaded"),
        ({"prompt_ids": []}, 400, "prompt is empty"),
        ({"prompt_ids": [1, "2"]}, 400, "not a token id"),
        ({"prompt_ids": [1, -2]}, 400, "not a token id"),
        ({"roles": "xxx"}, 400, "one letter"),
        ({"response_ids": [5] * 5000}, 413, "at most"),
        ({"surprise": 1}, 400, "unknown"),
    ],
)
def test_ids_that_do_not_fit_are_refused(client, change, status, words):
    response = client.post("/api/texts", json={"prompt_ids": [5], "response_ids": [6], **change})
    assert response.status_code == status and words in response.json()["error"]


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("answer", {"prompt": "What is love?"}, "only knows problems like"),
        ("answer", {"prompt": "  "}, "prompt is empty"),
        ("answer", {"prompt": 3}, "must be a text"),
        ("answer", {"prompt": "\ud83d"}, "half a character"),
        ("answer", {"prompt": PROBLEM, "temperature": -1}, "temperature must be a number"),
        ("answer", {"prompt": PROBLEM, "temperature": 10**400}, "temperature must be a number"),
        ("answer", {"prompt": PROBLEM, "max_new_tokens": 0}, "max_new_tokens must be"),
        ("answer", {"prompt": PROBLEM, "surprise": 0}, "'surprise' is unknown"),
        ("answer", {"messages": [3]}, "messages must be a list"),
        ("answer", {"messages": [{"role": "user"}]}, "content must be a text"),
        ("answer", {"prompt": "1 " * 5000}, "at most 4,096"),
        ("paste", {"prompt": PROBLEM, "response": ""}, "response is empty"),
        ("paste", {"prompt": PROBLEM, "response": "love"}, "only knows problems like"),
        ("trace", {"text": "0" * 12}, "not known"),
        ("nonsense", {}, "kind is 'nonsense'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(client, kind, fields, words):
    sentence = failure(client, kind, **fields)
    assert words in sentence and "\n" not in sentence
