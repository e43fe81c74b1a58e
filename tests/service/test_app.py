"""The server of weights without a socket: what it answers, and what it refuses in one sentence."""

import json
import threading
from base64 import b64encode

import pytest
from helpers.scoring import save_checkpoint, scoring_app, token_rows

from flowtracer import Scorer
from flowtracer.service import batching
from flowtracer.service.rows import Rows
from flowtracer.service.wire import MOST_ROWS, decode_weights, encode_rows
from flowtracer.storage import write_manifest
from flowtracer.workbench.guard import LOOPBACK, Access

TOKEN = "0123456789abcdef"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def scorer(embedded):
    return Scorer(embedded)


@pytest.fixture
def client(scorer):
    with scoring_app(scorer) as client:
        yield client


def ask(client, data, path="/api/weights", **headers):
    return client.post(path, content=json.dumps(data), headers=JSON | headers)


def test_both_forms_give_the_scorers_weights(client, scorer, embedded):
    ids, lengths = token_rows(embedded, 5)
    expected = scorer.weights(ids, lengths)
    plain = ask(client, {"input_ids": ids, "prompt_lengths": lengths}).json()
    assert plain["weights"] == expected.weights
    assert plain["states"] == expected.states and plain["counts"] == expected.counts
    assert plain["revision"] == "embedded" and plain["step"] is None
    rows = Rows(ids, lengths)
    compact = ask(client, encode_rows(rows, "a")).json()
    assert decode_weights(compact, rows) == expected
    masked = Rows(ids, lengths, rows.masks(), [True, False, True, True, True])
    decoded = decode_weights(ask(client, encode_rows(masked, "b")).json(), masked)
    assert decoded == scorer.weights(ids, response_masks=masked.masks(), row_mask=masked.row_mask)


@pytest.mark.parametrize(
    "data, status, said",
    [
        ({}, 400, "give prompt_lengths or response_masks"),
        ({"input_ids": [[1, 2]], "prompt_lengths": [1], "rows": 5}, 400, "field 'rows' is unknown"),
        ({"input_ids": [[1, 9999]], "prompt_lengths": [1]}, 400, "holds 9999, which is not in the"),
        ({"input_ids": [[1, 1.5]], "prompt_lengths": [1]}, 400, "holds 1.5; it must be"),
        ({"input_ids": [[1, None]], "prompt_lengths": [1]}, 400, "holds None; it must be"),
        ({"input_ids": [[1] * 4] * 10_000, "prompt_lengths": [1] * 10_000}, 413,
         "the request has 10,000 rows and at most 4,096 are taken"),
        ({"input_ids": "!", "lengths": [2], "prompt_lengths": [1]}, 400, "input_ids is not base64"),
        ({"input_ids": "AAAA", "lengths": [2], "prompt_lengths": [1]}, 400, "input_ids is not base64"),
        ({"input_ids": "AAAAAA==", "lengths": [2], "prompt_lengths": [1]}, 400,
         "input_ids has 1 numbers for 2 tokens"),
        ({"input_ids": "AAAAAA==", "lengths": [-1], "prompt_lengths": [1]}, 400, "lengths must be"),
        ({"input_ids": "AAAAAA==", "prompt_lengths": [1]}, 400, "lengths must be a list"),
        ({"input_ids": [[1, 2]], "prompt_lengths": [1], "compact": 1}, 400, "compact must be"),
        ({"input_ids": [[1, 2]], "prompt_lengths": [1], "id": 5}, 400, "id must be a text"),
        ({"input_ids": [[1, 2]], "lengths": [2], "prompt_lengths": [1]}, 400, "lengths has no effect"),
        ({"input_ids": "", "lengths": [0] * 5000, "prompt_lengths": []}, 413, "has 5,000 rows"),
    ],
)  # fmt: skip
def test_what_is_malformed_gets_one_sentence(client, data, status, said):
    response = ask(client, data)
    assert response.status_code == status
    (error,) = response.json().values()
    assert said in error and "\n" not in error
    assert client.batcher.totals.requests == 0


def test_bodies_that_are_no_json_get_one_sentence(client):
    for content, headers, status in (
        (b"[1", JSON, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", JSON | {"content-length": str(batching.BODY + 1)}, 413),
    ):
        response = client.post("/api/weights", content=content, headers=headers)
        assert response.status_code == status and set(response.json()) == {"error"}


def test_the_checks_are_those_of_the_workbench(scorer):
    with scoring_app(scorer, access=Access(frozenset(LOOPBACK), token=TOKEN)) as client:
        data = {"input_ids": [[1, 2]], "prompt_lengths": [1]}
        for headers, status in (
            ({}, 401),
            ({"authorization": "Bearer wrong"}, 401),
            ({"authorization": f"Bearer {TOKEN}"}, 200),
            ({"authorization": f"Bearer {TOKEN}", "host": "evil.example"}, 403),
            ({"authorization": f"Bearer {TOKEN}", "origin": "https://evil.example"}, 403),
        ):
            response = ask(client, data, **headers)
            assert response.status_code == status
            assert status == 200 or set(response.json()) == {"error"}
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/api/info").status_code == 401


def test_info_says_what_scores(client, embedded):
    ask(client, {"input_ids": [[1, 2]], "prompt_lengths": [1]})
    info = client.get("/api/info").json()
    assert (info["model"], info["rule"], info["step"]) == ("embedded", "flow", None)
    assert info["limits"]["rows"] == MOST_ROWS
    assert info["totals"]["rows"] == 1 and info["waiting"] == 0


def test_a_request_that_comes_again_is_not_scored_again(client, embedded):
    ids, lengths = token_rows(embedded, 2)
    data = encode_rows(Rows(ids, lengths), "one")
    first, second = ask(client, data), ask(client, data)
    assert first.content == second.content
    totals = client.batcher.totals
    assert (totals.requests, totals.repeated) == (1, 1)
    other = ask(client, data | {"prompt_lengths": [1, 1]})
    assert other.status_code == 409 and "other contents" in other.json()["error"]


class Slow:
    """A scorer that waits until it may go on, and notes what it was asked together."""

    def __init__(self, scorer):
        self.go, self.asked, self._scorer = threading.Event(), [], scorer
        self.vocabulary, self.max_tokens = scorer.vocabulary, scorer.max_tokens
        self.picture_tokens = scorer.picture_tokens

    def score(self, rows):
        self.asked.append(len(rows))
        assert self.go.wait(20)
        return self._scorer.score(rows)


def submit(batcher, ids, lengths, name=""):
    return batcher.submit({"input_ids": ids, "prompt_lengths": lengths, "id": name})


def test_requests_that_wait_are_scored_together_and_told_apart(scorer, embedded):
    ids, lengths = token_rows(embedded, 6)
    slow = Slow(scorer)
    batcher = batching.Batcher(slow, gather_seconds=0.0)
    first = submit(batcher, ids[:1], lengths[:1])
    while not slow.asked:
        pass
    others = [submit(batcher, ids[i : i + 1], lengths[i : i + 1]) for i in range(1, 6)]
    again = submit(batcher, ids[5:], lengths[5:], "again")
    assert submit(batcher, ids[5:], lengths[5:], "again") is again  # it still waits
    slow.go.set()
    weights = [json.loads(answer.result(20))["weights"][0] for answer in (first, *others, again)]
    expected = scorer.weights(ids, lengths).weights
    assert weights == [*expected, expected[5]]
    assert slow.asked == [1, 6]
    batcher.close()


def test_a_full_queue_says_when_to_come_again(scorer, embedded):
    ids, lengths = token_rows(embedded, 1)
    slow = Slow(scorer)
    with scoring_app(slow, waiting=2, gather_seconds=0.0) as client:
        batcher = client.batcher
        submit(batcher, ids, lengths)
        while not slow.asked:
            pass
        waiting = [submit(batcher, ids, lengths) for _ in range(2)]
        response = ask(client, {"input_ids": ids, "prompt_lengths": lengths})
        assert response.status_code == 503 and int(response.headers["retry-after"]) >= 1
        assert "2 requests wait already" in response.json()["error"]
        slow.go.set()
        assert all(answer.result(20) for answer in waiting)


def test_a_full_queue_after_requests_without_tokens(scorer):
    slow = Slow(scorer)
    slow.go.set()
    batcher = batching.Batcher(slow, waiting=1, gather_seconds=0.0)
    submit(batcher, [], []).result(20)
    slow.go.clear()
    submit(batcher, [[1, 2]], [1])
    while slow.asked != [0, 1]:
        pass
    submit(batcher, [[1, 2]], [1])
    with pytest.raises(batching.Refused, match="requests wait already"):
        submit(batcher, [[1, 2]], [1])
    batcher.close()
    slow.go.set()


def test_a_server_that_ends_answers_who_waits(scorer, embedded):
    ids, lengths = token_rows(embedded, 1)
    slow = Slow(scorer)
    batcher = batching.Batcher(slow)
    answers = [submit(batcher, ids, lengths, "a"), submit(batcher, ids, lengths, "b")]
    batcher.close()
    for answer in answers:
        with pytest.raises(batching.Refused, match="shutting down") as caught:
            answer.result(5)
        assert caught.value.status == 503 and caught.value.retry_after
    slow.go.set()
    with pytest.raises(batching.Refused, match="shutting down"):
        submit(batcher, ids, lengths, "a")


def test_a_failure_of_the_model_is_told_and_the_next_request_succeeds(scorer, embedded):
    ids, lengths = token_rows(embedded, 1)

    class Failing(Slow):
        def score(self, rows):
            if not self.asked:
                self.asked.append(0)
                raise RuntimeError("CUDA error")
            return super().score(rows)

    failing = Failing(scorer)
    failing.go.set()
    with scoring_app(failing) as client:
        data = {"input_ids": ids, "prompt_lengths": lengths, "id": "a"}
        response = ask(client, data)
        assert response.status_code == 500
        assert response.json()["error"] == "the scorer failed: RuntimeError: CUDA error"
        assert ask(client, data).status_code == 200


def test_old_results_are_forgotten(scorer, embedded):
    ids, lengths = token_rows(embedded, 1)
    batcher = batching.Batcher(scorer, kept=2 * batching.KEPT_ENTRY + 3000)
    for name in "abcd":
        submit(batcher, ids, lengths, name).result(20)
    for name, repeated in (("d", 1), ("c", 2), ("a", 2)):  # room for two
        submit(batcher, ids, lengths, name).result(20)
        assert batcher.totals.repeated == repeated
    batcher.close()


def test_tokens_that_wait_are_bounded(scorer):
    slow = Slow(scorer)
    batcher = batching.Batcher(slow, gather_seconds=0.0, waiting_tokens=70)
    large = [[1] * 10] * 3
    submit(batcher, large, [1] * 3)
    while not slow.asked:
        pass
    for _ in range(2):
        submit(batcher, large, [1] * 3)
    with pytest.raises(batching.Refused, match="2 requests wait already") as caught:
        submit(batcher, large, [1] * 3)
    assert caught.value.status == 503 and caught.value.retry_after >= 1
    batcher.close()
    slow.go.set()


def test_refresh_by_name(embedded, tmp_path):
    scorer = Scorer("embedded", checkpoints=tmp_path)
    with scoring_app(scorer) as client:
        none = ask(client, {}, "/api/refresh")
        assert none.status_code == 422 and "no complete checkpoint" in none.json()["error"]
        folder = save_checkpoint(embedded, tmp_path / "checkpoint-7", scale=-3.0)
        write_manifest(folder, folder.iterdir())
        info = ask(client, {}, "/api/refresh").json()
        assert (info["revision"], info["step"]) == ("checkpoint-7", 7)
        for name in ("checkpoint-8", "../checkpoint-7", "/etc"):
            wrong = ask(client, {"checkpoint": name}, "/api/refresh")
            assert wrong.status_code == 422 and "there is no checkpoint" in wrong.json()["error"]
        assert ask(client, {"checkpoint": "checkpoint-7"}, "/api/refresh").status_code == 200


def test_numbers_that_are_no_token_ids_are_refused_in_base64_too(client):
    data = b64encode((5000).to_bytes(4, "little")).decode()
    response = ask(client, {"input_ids": data, "lengths": [1], "prompt_lengths": [1]})
    assert response.status_code == 400 and "holds 5000" in response.json()["error"]
