"""Settings are read, and refused in one sentence before a model is loaded."""

import sys
import types

import pytest
from conftest import make_args

from flowtracer.credit import Credit, Selection
from flowtracer.integrations import slime as plugin
from flowtracer.integrations.slime import check_settings, check_start, with_credit

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


def test_the_function_that_weighs_is_named_where_none_was():
    free = {"custom_advantage_function_path": None}
    args = with_credit(make_args(**free))
    assert args.custom_advantage_function_path == FUNCTIONS + "compute_advantages"
    assert args.rollout_data_postprocess_path is None
    for taken in (free | {"normalize_advantages": True}, {"custom_advantage_function_path": "m.f"}):
        args = with_credit(make_args(**taken))
        assert args.rollout_data_postprocess_path == FUNCTIONS + "weigh_advantages"
        assert args.custom_advantage_function_path == taken["custom_advantage_function_path"]
    assert with_credit(make_args()) == make_args()  # as it was named
    with pytest.raises(ValueError, match="rollout_data_postprocess_path is in use"):
        with_credit(
            make_args(custom_advantage_function_path="m.f", rollout_data_postprocess_path="m.g")
        )


def test_a_wrong_setting_ends_slimes_script_before_it_does_anything(monkeypatch, tmp_path, capsys):
    """With a stand-in for slime's arguments, which need SGLang, and a script of the form of train.py."""
    script = tmp_path / "train.py"
    script.write_text(
        "from slime.utils.arguments import parse_args\n"
        "if __name__ == '__main__':\n"
        "    print('started', parse_args().custom_advantage_function_path)\n"
    )
    given = make_args(custom_advantage_function_path=None)
    arguments = types.ModuleType("slime.utils.arguments")
    arguments.parse_args = lambda: given
    utils = types.ModuleType("slime.utils")
    utils.arguments = arguments
    for name, module in (("slime", types.ModuleType("slime")), ("slime.utils", utils)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "slime.utils.arguments", arguments)
    monkeypatch.setattr(sys, "argv", ["slime", str(script), "--some-option"])
    plugin.main()
    assert capsys.readouterr().out == f"started {FUNCTIONS}compute_advantages\n"
    given.flow_credit = {"model": "m", "share": 0.4}
    arguments.parse_args = lambda: given
    monkeypatch.setattr(sys, "argv", ["slime", str(script)])
    with pytest.raises(ValueError, match="'share'"):
        plugin.main()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "argv", ["slime"])
    with pytest.raises(SystemExit, match="usage"):
        plugin.main()


def test_whitening_is_accepted_where_the_weights_come_later():
    check_settings(
        make_args(
            normalize_advantages=True,
            custom_advantage_function_path=None,
            rollout_data_postprocess_path=FUNCTIONS + "weigh_advantages",
        )
    )
    check_settings(
        make_args(
            normalize_advantages=True,
            custom_advantage_function_path="an.estimator",
            rollout_data_postprocess_path=FUNCTIONS + "weigh_advantages",
        )
    )
