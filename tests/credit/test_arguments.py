"""One set of options for Credit: the same names and defaults wherever credit is asked for."""

from dataclasses import fields

import pytest
import torch
from helpers.responses import GOOD, SHORT, sampled
from typer.testing import CliRunner

from flowtracer import Credit, ScoreOptions, Selection, Weighting, token_credit
from flowtracer.cli.main import app
from flowtracer.credit import score_batch, score_tokens
from flowtracer.credit.arguments import CreditArguments
from flowtracer.integrations.verl.settings import read_credit

NAMES = [field.name for field in fields(CreditArguments)]
OTHERS = {
    "scorer": "answer_attention",
    "by": "mass",
    "ratio": 0.6,
    "among": "semantic",
    "weighting": "sigmoid",
    "emphasis": 2.0,
    "layers": "all",
    "edges": "value",
    "heads": "far",
    "answer": "gsm8k",
    "answer_tokens": "relay",
    "seed": 7,
    "tile_above": 100,
}
EXPECTED = Credit(
    scorer="answer_attention",
    selection=Selection(by="mass", ratio=0.6, among="semantic"),
    weighting=Weighting("sigmoid", 2.0),
    options=ScoreOptions("all", "relay", 7, "value", "far", 100),
    answer="gsm8k",
)


def test_the_defaults_are_those_of_credit():
    assert CreditArguments().credit() == Credit()


def test_every_option_reaches_its_place():
    assert CreditArguments(**OTHERS).credit() == EXPECTED
    assert set(OTHERS) | {"end", "question", "normalise"} == set(NAMES)
    assert CreditArguments(end="bottom").credit().selection.end == "bottom"
    assert CreditArguments(normalise=True).credit().weighting.normalise
    assert CreditArguments(question="user").credit().question == "user"


def test_score_has_them(monkeypatch, tmp_path):
    seen = []
    pytest.importorskip("pyarrow", reason="needs the extra flowtracer[score]")
    monkeypatch.setattr(
        "flowtracer.rollouts.score.score_files",
        lambda source, out, settings, **rest: seen.append(settings.credit) or 1 / 0,
    )
    words = [
        word
        for name, value in OTHERS.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    CliRunner().invoke(app, ["score", "in.jsonl", *words])
    CliRunner().invoke(app, ["score", "in.jsonl"])
    assert seen == [EXPECTED, Credit()]


def test_training_has_them():
    pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
    from flowtracer.training.arguments import read_settings

    words = ["--use_cpu", "true", "--bf16", "false", "--method", OTHERS["scorer"]]
    for name, value in OTHERS.items():
        if name not in ("scorer", "seed"):
            words += [f"--{name}", str(value)]
    settings = read_settings(None, words).credit
    assert settings.credit_of_run(answer="boxed", seed=7) == EXPECTED
    plain = read_settings(None, words[:4]).credit
    assert plain.credit_of_run(answer="auto", seed=0) == Credit()


def test_verl_has_them():
    assert read_credit(OTHERS) == EXPECTED
    assert read_credit(None) == Credit()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scorer", "magic"),
        ("by", "rank"),
        ("ratio", 0.0),
        ("weighting", "square"),
        ("layers", "upper"),
        ("edges", "bent"),
        ("heads", "left"),
        ("answer", "box"),
        ("answer_tokens", "eat"),
        ("question", "system"),
    ],
)
def test_a_wrong_value_gets_one_sentence(name, value):
    with pytest.raises(ValueError, match=str(value)) as raised:
        CreditArguments(**{name: value}).credit()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [
        ScoreOptions(layers="all"),
        ScoreOptions(layers="early", edges="no-sink"),
        ScoreOptions(edges="value"),
        ScoreOptions(heads="near"),
        ScoreOptions(heads="far", edges="value", layers="all"),
        ScoreOptions(answer_tokens="relay"),
    ],
)
def test_every_graph_of_the_studies_can_be_trained_with(embedded, options):
    batch = score_batch(embedded.tokenizer, **sampled(embedded, [GOOD, SHORT]))
    result = token_credit(embedded.model, batch, Credit(options=options))
    scores = score_tokens(embedded.model, batch, ["flow"], options=options)["flow"]
    expected = torch.where(batch.candidates, scores.float(), 0.0)
    torch.testing.assert_close(result.scores, expected, rtol=1e-4, atol=1e-7)
    plain = token_credit(embedded.model, batch, Credit())
    assert not torch.equal(result.scores, plain.scores)


def test_a_model_that_cannot_give_the_graph_is_refused_before_the_first_step(embedded):
    Credit(options=ScoreOptions(layers="0-3", edges="value")).check_model(embedded.model)
    with pytest.raises(ValueError, match="layers: 20 does not exist"):
        Credit(options=ScoreOptions(layers="20")).check_model(embedded.model)
    weight = embedded.model.model.layers[0].self_attn.o_proj.weight
    weight.ds_id = 0  # as ZeRO-3 marks them
    try:
        Credit().check_model(embedded.model)
        with pytest.raises(ValueError, match="ZeRO-3 holds a part"):
            Credit(options=ScoreOptions(edges="value")).check_model(embedded.model)
    finally:
        del weight.ds_id
