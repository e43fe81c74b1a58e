"""Traces of a text: any answer, scorer, layers and edges, and how often the model is asked."""

import pytest
from helpers.workbench import PROBLEM, failure, result, run, workbench

from flowtracer.attention import depth_of, select_layers
from flowtracer.scorers import SCORERS
from flowtracer.tracing.trace import trace


@pytest.fixture(scope="module")
def client(embedded):
    with workbench(embedded) as client:
        yield client


@pytest.fixture(scope="module")
def text(client):
    return result(client, "answer", prompt=PROBLEM)["id"]


@pytest.mark.parametrize(
    "options", [{}, {"layers": "early"}, {"question": "user"}, {"answer_tokens": "relay"}]
)
def test_it_is_the_trace_of_the_library(client, text, embedded, options):
    record = client.get(f"/api/texts/{text}").json()
    data = result(client, "trace", text=text, **options)
    expected = trace(embedded.model, embedded.tokenizer, PROBLEM, record["response_ids"], **options)
    units = [unit.strip(" ") for unit in data["units"]]  # a decoder writes blanks around tags
    assert units == [unit.text.strip(" ") for unit in expected.units]
    assert data["scorers"]["flow"]["score"] == pytest.approx(
        expected.throughput, rel=2e-3, abs=1e-6
    )
    kept = client.engine.traces.get(data["trace"])
    assert kept.edges[0][:2] == expected.edges[0][:2]


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_has_a_score_for_every_unit(client, text, scorer):
    data = result(client, "trace", text=text, scorer=scorer)
    scores = data["scorers"][scorer]["score"]
    assert len(scores) == len(data["units"]) and max(scores) > 0
    assert next(iter(data["scorers"])) == "flow"


@pytest.mark.parametrize("scorer", [s for s in SCORERS if s not in ("waad", "fai", "rhythm")])
def test_scorers_called_local_ask_the_model_nothing_after_a_trace(client, text, scorer):
    info = client.get("/api/info").json()
    local = next(
        scorer_info["local"] for scorer_info in info["scorers"] if scorer_info["name"] == scorer
    )
    client.engine.evidence._values.clear()
    result(client, "trace", text=text, layers="0", answer="last-line")
    asked = run(client, "trace", text=text, layers="0", answer="last-line", scorer=scorer)
    client.engine.traces._values.clear()
    assert local == all(name != "progress" for name, _ in asked)


@pytest.mark.parametrize("scorer", ["waad", "fai", "rhythm"])
def test_the_middle_of_scorers_by_heads_is_not_that_of_the_flow(client, text, embedded, scorer):
    numbers = ",".join(map(str, select_layers("middle", depth_of(embedded.model))))
    made = [
        result(client, "trace", text=text, layers=layers, scorer=scorer)
        for layers in ("middle", numbers)
    ]
    assert made[0]["scorers"]["flow"] == made[1]["scorers"]["flow"]
    assert made[0]["scorers"][scorer] != made[1]["scorers"][scorer]


def test_another_answer_end_or_no_sink_asks_the_model_nothing(client, text):
    result(client, "trace", text=text)
    for options in (
        {"answer": {"spans": [[2, 4], [8, 8]]}},
        {"answer": "last-line", "end": "bottom"},
        {"edges": "no-sink"},
        {"question": "user", "answer_tokens": "relay"},
    ):
        events = run(client, "trace", text=text, **options)
        assert [name for name, _ in events] == ["queued", "result"], options
    assert any(name == "progress" for name, _ in run(client, "trace", text=text, edges="value"))


def test_several_dragged_spans_are_the_answer(client, text):
    data = result(client, "trace", text=text, answer={"spans": [[2, 4], [8, 8]]})
    start = data["roles"].index("r")
    assert [i - start for i, role in enumerate(data["roles"]) if role == "a"] == [2, 3, 4, 8]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"answer": "nonsense"}, "is unknown; use auto"),
        ({"answer": "gsm8k"}, "no answer found"),
        ({"answer": "regex:("}, "not a valid pattern"),
        ({"answer": {"spans": []}}, "mark at least one token"),
        ({"answer": {"spans": [[3, 2]]}}, "does not lie"),
        ({"answer": {"spans": [[0, 999]]}}, "does not lie"),
        ({"answer": {"spans": [["a", 1]]}}, "pairs of response tokens"),
        ({"layers": "9"}, "does not exist"),
        ({"layers": "some"}, "cannot read"),
        ({"scorer": "magic"}, "scorer is 'magic'"),
        ({"edges": "thick"}, "edges is 'thick'"),
        ({"question": "why"}, "question is 'why'"),
    ],
)
def test_what_cannot_be_traced_is_said_in_a_sentence(client, text, fields, words):
    assert words in failure(client, "trace", text=text, **fields)
