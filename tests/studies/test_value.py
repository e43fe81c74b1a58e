"""The value study against a policy small enough to enumerate."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.tiny_world import END, LIMIT, WORDS, exact_value, tiny_loaded, tiny_task

from flowtracer.studies.page import write_report as write_page
from flowtracer.studies.value.agreement import (
    concordance,
    credit_in_top,
    partial_rank_correlation,
    rank_correlation,
    unit_scores,
)
from flowtracer.studies.value.report import read_scores, write_report
from flowtracer.studies.value.study import ValueStudy, run_value
from flowtracer.studies.value.summary import CEILING, agreements


def silent(stage, done, total):
    pass


def study_of(**settings):
    settings = {"scorers": ("random", "position", "entropy"), "max_new_tokens": LIMIT} | settings
    return ValueStudy("tiny", "tiny", **settings)


def test_values_are_those_of_enumeration(tmp_path):
    loaded, task = tiny_loaded(), tiny_task(4)
    study = study_of(problems=4, responses=2, continuations=1500, threshold=0.999)
    errors = []
    for row in run_value(study, loaded, task, tmp_path, progress=silent):
        for response in row["responses"]:
            for point, value in zip(response["points"], response["value"], strict=True):
                prefix = response["response_ids"][:point]
                example = task.examples[row["problem"]]
                exact = exact_value(loaded, task, example, row["prompt_ids"], prefix)
                noise = math.sqrt(max(exact * (1 - exact), 1e-4) / 1500)
                errors.append((value - exact) / noise)
    assert len(errors) > 10
    assert max(map(abs, errors)) < 4.5 and np.mean(np.square(errors)) < 2.5


def test_values_of_a_markov_chain_are_the_known_ones(tmp_path):
    """Without attention and feed-forward output the next word depends on the last word alone."""
    loaded, limit, count = tiny_loaded(), 6, 600
    with torch.no_grad():
        for layer in loaded.model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        states = loaded.model.model.norm(loaded.model.model.embed_tokens.weight)
        chain = loaded.model.lm_head(states).softmax(-1).double()  # (from, to)
    right = torch.tensor([word == "a" for word in WORDS], dtype=torch.float64)
    values = [right]  # by the number of tokens left, of each last word
    for _ in range(limit):
        values.append(chain[:, END] * right + chain[:, END + 1 :] @ values[-1][END + 1 :])
    task = replace(tiny_task(4), grade=lambda text, example: float(text.split()[-1:] == ["a"]))
    study = study_of(problems=3, continuations=count, threshold=1.0, max_new_tokens=limit)
    errors = []
    for row in run_value(study, loaded, task, tmp_path, progress=silent):
        for response in row["responses"]:
            ids = [row["prompt_ids"][-1], *response["response_ids"]]
            for point, value in zip(response["points"], response["value"], strict=True):
                exact = float(values[limit - point][ids[point]])
                errors.append((value - exact) / math.sqrt(exact * (1 - exact) / count))
    assert len(errors) > 10
    assert max(map(abs, errors)) < 4.5 and np.mean(np.square(errors)) < 2.5


def test_credits_sum_to_the_outcome_less_the_value_of_the_prompt(tmp_path):
    rows = run_value(
        study_of(problems=4, continuations=8, threshold=1.0),
        tiny_loaded(),
        tiny_task(),
        tmp_path,
        progress=silent,
    )
    for row in rows:
        for response in row["responses"]:
            assert response["points"][0] == 0
            total = response["reward"] - response["value"][0]
            assert sum(response["credit"]) == pytest.approx(total, abs=1e-6)


def test_a_kill_changes_nothing(tmp_path):
    loaded, task = tiny_loaded(), tiny_task()
    study = study_of(problems=6, continuations=8)
    complete = run_value(study, loaded, task, tmp_path / "a", progress=silent)

    def killed(stage, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_value(study, loaded, task, tmp_path / "b", progress=killed)
    assert run_value(study, loaded, task, tmp_path / "b", progress=silent) == complete
    other = run_value(
        study_of(problems=6, continuations=8, seed=1), loaded, task, tmp_path / "c", progress=silent
    )
    assert other != complete


def noise_rows(problems, generator, *, planted=False):
    """Rows of a study with credit on every token, and scores that know nothing of it."""
    rows = []
    for problem in range(problems):
        credit = generator.normal(0, 1, 20)
        scores = abs(credit) if planted else generator.random(20)
        halves = [(credit + generator.normal(0, 0.5, 20)).tolist() for _ in range(2)]
        rows.append(
            {
                "problem": problem,
                "id": f"p{problem}",
                "prompt_ids": [1],
                "responses": [
                    {
                        "response_ids": list(range(20)),
                        "reward": float(problem % 2),
                        "answered": True,
                        "log_probability": generator.uniform(-3, -0.1, 20).tolist(),
                        "points": list(range(20)),
                        "continuations": 8,
                        "value": generator.random(20).tolist(),
                        "credit": credit.tolist(),
                        "halves": halves,
                        "scores": {"s": scores.tolist()},
                    }
                ],
            }
        )
    return rows


def test_scores_that_know_nothing_are_chance():
    rows = noise_rows(150, np.random.default_rng(0))
    noise = next(agreement for agreement in agreements(rows, evenly=False) if agreement.name == "s")
    assert noise.in_top[0.4].low < 0.4 < noise.in_top[0.4].high
    assert noise.in_top[0.4].high - noise.in_top[0.4].low < 0.06
    assert noise.correlation.low < 0 < noise.correlation.high
    assert noise.sign_right.low < 0.5 < noise.sign_right.high
    assert noise.sign_wrong.low < 0.5 < noise.sign_wrong.high
    assert abs(noise.against_chance.mean()) < 0.5


def test_responses_that_a_scorer_does_not_rank_do_not_count_for_it():
    rows = noise_rows(20, np.random.default_rng(0), planted=True)
    (alone,) = (agreement for agreement in agreements(rows, evenly=False) if agreement.name == "s")
    unanswered = noise_rows(10, np.random.default_rng(1))
    for row in unanswered:
        row["id"] += "-unanswered"
        row["responses"][0]["scores"]["s"] = [0.0] * 20
    (beside,) = (
        agreement
        for agreement in agreements(rows + unanswered, evenly=False)
        if agreement.name == "s"
    )
    assert (alone.responses, beside.responses) == (20, 20)
    assert beside.in_top[0.4].value == pytest.approx(alone.in_top[0.4].value)
    assert beside.sign_right.value == pytest.approx(alone.sign_right.value)
    assert not beside.against_chance[20:].any()
    assert [agreement.name for agreement in agreements(unanswered, evenly=False)] == [
        "1 - p",
        CEILING,
    ]


def test_values_that_never_change_are_refused():
    rows = noise_rows(3, np.random.default_rng(0))
    for row in rows:
        row["responses"][0] |= {"credit": [0.0] * 20, "halves": [[0.0] * 20] * 2}
    with pytest.raises(ValueError, match="no value changed anywhere"):
        agreements(rows, evenly=False)


def test_a_planted_score_wins_and_the_ceiling_lies_between():
    rows = noise_rows(60, np.random.default_rng(0), planted=True)
    by_name = {agreement.name: agreement for agreement in agreements(rows, evenly=False)}
    assert by_name["s"].in_top[0.4].value > 0.64 > 0.47 > by_name["1 - p"].in_top[0.4].value
    assert by_name["s"].correlation.value == pytest.approx(1)
    assert 0.3 < by_name[CEILING].correlation.value < 0.7
    assert by_name[CEILING].sign_right.value > 0.8


def test_credit_in_the_top_is_a_sum_over_chosen_tokens():
    scores = torch.tensor([0.0, 3.0, 1.0, 2.0, 0.0])
    credit = torch.tensor([1.0, -0.5, 0.2, 0.1, 0.2])
    assert credit_in_top(scores, credit, 0.4) == pytest.approx((0.6, 2.0))


def test_rank_correlations_agree_with_pandas():
    pandas = pytest.importorskip("pandas", reason="the oracle")
    generator = np.random.default_rng(0)
    a, b, z = generator.integers(0, 6, (3, 30)).astype(float)
    frame = pandas.DataFrame({"a": a, "b": b, "z": z}).rank()
    table = frame.corr()
    assert rank_correlation(a, b) == pytest.approx(table.loc["a", "b"])
    rest = {
        name: frame[name] - np.polyval(np.polyfit(frame["z"], frame[name], 1), frame["z"])
        for name in "ab"
    }
    expected = np.corrcoef(rest["a"], rest["b"])[0, 1]
    assert partial_rank_correlation(a, b, z) == pytest.approx(expected)
    assert math.isnan(rank_correlation(np.ones(9), b[:9]))
    assert math.isnan(partial_rank_correlation(z, b, z))


def test_concordance_counts_pairs():
    scores, credit = np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.1, -0.2, 0.3, -0.1])
    assert concordance(scores, credit) == (3.5, 4.0)


def test_scores_of_units_are_their_first_tokens_or_their_mean():
    scores = torch.tensor([1.0, 2.0, 6.0, 4.0])
    assert unit_scores(scores, [0, 2], evenly=False).tolist() == [1.0, 6.0]
    assert unit_scores(scores, [0, 2], evenly=True).tolist() == [1.5, 5.0]


def test_the_report_holds_a_users_own_scores_and_a_table_of_values(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra flowtracer[train]")
    loaded, task = tiny_loaded(), tiny_task()
    study = study_of(problems=6, continuations=8, threshold=1.0)
    rows = run_value(study, loaded, task, tmp_path, progress=silent)
    own = [
        {
            "id": row["id"],
            "response": number,
            "scores": [float(index) for index in range(len(response["response_ids"]))],
        }
        for row in rows
        for number, response in enumerate(row["responses"])
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in own))
    table = write_report(
        study,
        rows,
        tmp_path,
        command="flowtracer study value",
        brought={
            "mine": read_scores(path, rows),
            "same": {key: [1.0] * len(scores) for key, scores in read_scores(path, rows).items()},
        },
        tokenizer=loaded.tokenizer,
    )
    assert "| `mine` |" in table.read_text() and "half of the continuations" in table.read_text()
    assert "Not judged, because they rank no response with credit: same." in table.read_text()
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["recommendation"].startswith("Better than chance")
    values = parquet.read_table(tmp_path / "values.parquet").to_pylist()
    assert values[0]["credit"] == rows[0]["responses"][0]["credit"] and len(values) == len(own)
    for name in ("figure.png", "response.png", "against.png"):
        assert (tmp_path / name).stat().st_size > 1000
    _, page = write_page(tmp_path)
    assert page.read_text().count("data:image/png;base64,") == 3
    path.write_text(json.dumps(own[0]) + "\n")
    with pytest.raises(ValueError, match="has no scores for response 1 of 'p0'"):
        read_scores(path, rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"at": "words"}, "at is 'words'"),
        ({"continuations": 7}, "must be even"),
        ({"temperature": 0.0}, "need sampling"),
        ({"threshold": 0.0}, "threshold is 0.0"),
        ({"problems": 0}, "at least 1"),
        ({"scorers": ("nothing",)}, "unknown"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        study_of(**settings)


def test_more_problems_than_the_task_has_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has 12 problems"):
        run_value(study_of(problems=13), tiny_loaded(), tiny_task(), tmp_path, progress=silent)
