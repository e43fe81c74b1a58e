"""Sessions: saved and opened again, with the model and without it, and every kind of damage."""

import copy
import json
from importlib.resources import files

import pytest
from helpers.workbench import PROBLEM, failure, post, result, workbench

from flowtracer.tracing.file import trace_from_json
from flowtracer.workbench.gallery import gallery_session, list_gallery
from flowtracer.workbench.limits import Limits
from flowtracer.workbench.session import open_session, read_session


@pytest.fixture(scope="module")
def client(embedded):
    with workbench(embedded) as client:
        yield client


@pytest.fixture(scope="module")
def saved(client):
    """A session file with a trace, scores of another scorer, and an experiment."""
    text = result(client, "answer", prompt=PROBLEM)
    trace = result(client, "trace", text=text["id"], scorer="entropy")["trace"]
    start = len(text["prompt_ids"])
    hidden = [start + 3, start + 8]
    outcome = result(client, "hide", text=text["id"], tokens=hidden)
    entry = {
        "id": text["id"],
        "name": "mine",
        "ids": {name: text[name] for name in ("model", "prompt_ids", "response_ids", "roles")},
        "options": {"rule": "auto", "spans": [], "layers": "middle"},
        "hidden": hidden,
        "trials": [
            {
                "tokens": hidden,
                "how": "by hand",
                "from": "hidden",
                "result": outcome,
                "controls": [],
            }
        ],
        "trace": trace,
        "surprise": "dropped",
    }
    response = post(client, "/api/save", {"title": "a title", "texts": [entry]})
    assert response.headers["content-disposition"].startswith("attachment")
    return response.json()


def test_a_session_opens_as_it_was_saved(client, saved):
    opened = post(client, "/api/session", saved).json()
    text = opened["texts"][0]
    assert opened["title"] == "a title" and text["name"] == "mine"
    assert text["hidden"] == saved["texts"][0]["hidden"] and len(text["trials"]) == 1
    assert text["record"] == client.get(f"/api/texts/{text['id']}").json()
    assert {"flow", "rollout", "entropy"} <= set(text["data"]["scorers"])
    assert "surprise" not in json.dumps(saved)
    exported = post(client, "/api/export", {"trace": text["trace"], "format": "json"}).json()
    assert exported == saved["texts"][0]["traced"]


def as_of_another_model(session):
    """The same session, said to be of a model that is not loaded."""
    from flowtracer.workbench.texts import name_of

    changed = copy.deepcopy(session)
    renamed = {}
    for text in (*changed["texts"], *changed["others"]):
        text["ids"]["model"] = "other/model"
        ids = text["ids"]
        renamed[text["id"]] = name_of("other/model", ids["prompt_ids"], ids["response_ids"])
        text["id"] = renamed[text["id"]]
    for trial in changed["texts"][0]["trials"]:
        trial["result"]["id"] = renamed[trial["result"]["id"]]
    return changed


def test_texts_of_another_model_can_be_looked_at_but_not_traced(client, saved):
    opened = post(client, "/api/session", as_of_another_model(saved)).json()
    text = opened["texts"][0]
    assert text["record"]["model"] == "other/model" and text["data"]["units"]
    other = text["trials"][0]["result"]["id"]
    assert client.get(f"/api/texts/{other}").json()["response"]
    assert "can only be viewed" in failure(client, "trace", text=text["id"])


def test_a_trace_file_opens_as_a_session(client, saved, tmp_path):
    trace = saved["texts"][0]["traced"]
    opened = post(client, "/api/session", trace).json()
    assert opened["texts"][0]["id"] == saved["texts"][0]["id"] and opened["texts"][0]["data"]
    path = tmp_path / "trace.json"
    trace_from_json(trace).save(path)
    assert read_session(path, client.engine)["texts"][0]["trace"]
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json: the file is not JSON"):
        read_session(tmp_path / "bad.json", client.engine)
    with pytest.raises(ValueError, match=r"missing\.json: cannot be read"):
        read_session(tmp_path / "missing.json", client.engine)


DAMAGE = {
    "schema": lambda s: s.update(schema="other"),
    "version": lambda s: s.update(version=99),
    "no texts": lambda s: s.pop("texts"),
    "texts of another type": lambda s: s.update(texts=3),
    "half a text": lambda s: s["texts"][0].pop("ids"),
    "ids as texts": lambda s: s["texts"][0]["ids"].update(prompt_ids=["a"]),
    "another id": lambda s: s["texts"][0]["ids"]["response_ids"].append(5),
    "beyond the vocabulary": lambda s: s["texts"][0]["ids"]["response_ids"].append(10**7),
    "roles": lambda s: s["texts"][0]["ids"].update(roles="<script>"),
    "hidden": lambda s: s["texts"][0].update(hidden=[10**6]),
    "ranges": lambda s: s["texts"][0]["trials"][0]["result"]["changed"].update(old=[[5, 10**6]]),
    "trace": lambda s: s["texts"][0]["traced"].pop("edges"),
    "trace of another text": lambda s: s["texts"][0]["traced"].update(
        ids=s["texts"][0]["traced"]["ids"][::-1]
    ),
    "trace that reads otherwise": lambda s: s["texts"][0]["traced"].update(
        text=s["texts"][0]["traced"]["text"].replace("4", "5")
    ),
    "numbers beyond all": lambda s: s["texts"][0]["trials"][0]["result"].update(
        log_probability_old=float("1e308") * 10
    ),
    "scores": lambda s: s["texts"][0]["traced"].update(scores={"rollout": [1.0]}),
    "scores of texts": lambda s: s["texts"][0]["traced"].update(scores={"rollout": "abc"}),
    "too many": lambda s: s.update(texts=s["texts"] * 300),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_session_is_refused_in_a_sentence(client, saved, name):
    changed = copy.deepcopy(saved)
    DAMAGE[name](changed)
    response = post(client, "/api/session", changed)
    assert response.status_code in (400, 409, 413)
    assert response.json()["error"] and "Error" not in response.json()["error"]


@pytest.mark.parametrize("piece", [{"first": 5}, {"last": 10**9}, {"text": "longer than it was"}])
def test_pieces_that_do_not_tile_a_text_are_refused(client, saved, piece):
    changed = as_of_another_model(saved)
    changed["texts"][0]["record"]["pieces"][3].update(piece)
    assert "tile" in post(client, "/api/session", changed).json()["error"]


@pytest.mark.parametrize("name", [example["name"] for example in list_gallery()])
def test_every_example_opens_with_its_trace(client, name):
    opened = client.get(f"/api/gallery/{name}").json()
    assert opened["title"] and opened["note"]
    for text in opened["texts"]:
        assert text["data"]["answer"]["text"] and text["record"]["pieces"]
        for trial in text.get("trials", []):
            new = client.get(f"/api/texts/{trial['result']['id']}")
            assert new.json()["response_ids"] == trial["result"]["response_ids"]


def test_the_examples_are_what_they_say():
    sessions = {
        name: gallery_session(name) for name in (example["name"] for example in list_gallery())
    }
    folder = files("flowtracer.workbench") / "gallery"
    assert sum(len(file.read_bytes()) for file in folder.iterdir()) < 400_000
    embedded = [session for session in sessions.values() if session["model"] == "embedded"]
    assert len(embedded) >= 4 and len(sessions) - len(embedded) >= 2
    verdicts = [session["texts"][0]["correct"] for session in embedded]
    assert True in verdicts and False in verdicts
    trials = [trial for session in embedded for trial in session["texts"][0].get("trials", [])]
    assert any(trial["result"]["answer_changed"] for trial in trials)
    assert any(trial["controls"] for trial in trials)


def test_the_embedded_model_still_writes_the_examples(client):
    for name in (example["name"] for example in list_gallery() if example["model"] == "embedded"):
        text = gallery_session(name)["texts"][0]
        prompt = text["record"]["prompt"].replace("<|user|>", "").partition("<|end|>")[0].strip()
        assert result(client, "answer", prompt=prompt)["id"] == text["id"]


def test_an_export_is_the_page_that_needs_no_server(client, saved):
    trace = post(client, "/api/session", saved).json()["texts"][0]["trace"]
    response = post(client, "/api/export", {"trace": trace})
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["content-disposition"] == 'attachment; filename="trace.html"'
    assert "http" not in response.text.replace("http-equiv", "")
    gone = post(client, "/api/export", {"trace": "0" * 12})
    assert gone.status_code == 404 and "trace the text again" in gone.json()["error"]


def test_a_session_that_is_opened_at_the_start_is_there(embedded, client, saved):
    opened = open_session(client.engine, saved)
    with workbench(embedded, limits=Limits(), opened=opened) as other:
        assert other.get("/api/info").json()["open"]["texts"][0]["name"] == "mine"
