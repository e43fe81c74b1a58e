"""Settings are read, and refused in one sentence before a model is loaded."""

import pytest
from conftest import make_args

from flowtracer.credit import Credit, Selection
from flowtracer.integrations.slime import check_settings, check_start

FUNCTIONS = "flowtracer.integrations.slime."


def test_options_of_credit_stand_beside_the_model():
    settings = check_settings(
        make_args(flow_credit={"model": "m", "answer": "gsm8k", "ratio": 0.2})
    )
    assert settings.model == "m"
    assert settings.credit == Credit(answer="gsm8k", selection=Selection(ratio=0.2))
    assert check_settings(make_args()).credit == Credit()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow_credit": None}, "flow_credit needs model or url"),
        ({"flow_credit": {"ratio": 0.4}}, "flow_credit needs model or url"),
        ({"flow_credit": {"model": "m", "url": "http://h"}}, "flow_credit needs model or url"),
        ({"flow_credit": {"url": "http://h", "ratio": 0.4}}, "flow_credit.ratio has no effect"),
        ({"flow_credit": {"url": "h:80"}}, "give one such as http"),
        ({"flow_credit": {"model": "m", "share": 0.4}}, "flow_credit.*'share'"),
        ({"flow_credit": {"model": "m", "answer": "nowhere"}}, "answer rule 'nowhere' is unknown"),
        ({"flow_credit": {"model": "m", "emphasis": 0}}, "it must be above 0"),
        ({"flow_credit": {"model": "m", "question": "user"}}, "use 'prompt'"),
        ({"compute_advantages_and_returns": False}, "there are no advantages to weigh"),
        ({"loss_type": "sft_loss"}, "loss_type is 'sft_loss'"),
        ({"advantage_estimator": "gspo"}, "joins the gradients of all tokens"),
        (
            {"normalize_advantages": True},
            "rollout-data-postprocess-path flowtracer.*weigh_advantages",
        ),
        ({"rollout_data_postprocess_path": FUNCTIONS + "weigh_advantages"}, "keep one"),
        ({"multimodal_keys": {"image": "image"}}, "the scorer reads text only"),
    ],
)
def test_what_cannot_work_is_refused(changes, message):
    with pytest.raises(ValueError, match=message) as refused:
        check_settings(make_args(**changes))
    assert "\n" not in str(refused.value)


def test_a_server_that_is_not_there_ends_the_run_before_a_model_is_loaded(monkeypatch):
    monkeypatch.setattr("flowtracer.integrations.scored.START_SECONDS", 0.1)
    args = make_args(flow_credit={"url": "http://127.0.0.1:9"})
    with pytest.raises(ConnectionError, match="check that `flowtracer serve --score` runs there"):
        check_start(args)
    check_start(make_args())  # a model of its own is loaded by the rank that uses it


def test_whitening_is_accepted_where_the_weights_come_later():
    check_settings(
        make_args(
            normalize_advantages=True,
            custom_advantage_function_path=None,
            rollout_data_postprocess_path=FUNCTIONS + "weigh_advantages",
        )
    )
