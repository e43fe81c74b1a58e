"""What `import flowtracer` offers, and that it loads nothing that was not asked for."""

import subprocess
import sys

import pytest

import flowtracer


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_every_public_name_is_there():
    expected = {"Credit", "ScoreOptions", "Selection", "Weighting", "apply_credit", "trace"}
    assert expected | {"sequence_credit", "token_credit"} <= set(flowtracer.__all__)
    for name in flowtracer.__all__:
        assert getattr(flowtracer, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        flowtracer.magic  # noqa: B018


def test_the_trainer_is_there_where_trl_is():
    pytest.importorskip("trl", reason="needs the extra flowtracer[train]")
    from flowtracer.integrations.trl import FlowGRPOTrainer

    assert flowtracer.FlowGRPOTrainer is FlowGRPOTrainer


def test_without_trl_the_trainer_says_what_to_install():
    ended = run("import sys; sys.modules['trl'] = None; from flowtracer import FlowGRPOTrainer")
    assert ended.stderr.splitlines()[-1] == (
        "ImportError: flowtracer.FlowGRPOTrainer needs the package trl; install it with "
        "`pip install 'flowtracer[train]'`"
    )


def test_neither_the_package_nor_the_command_line_loads_torch():
    ended = run("import sys, flowtracer, flowtracer.cli.main; print('torch' in sys.modules)")
    assert ended.stdout == "False\n", ended.stderr


def test_no_optional_package_is_loaded_by_the_public_names():
    ended = run(
        "import sys; from flowtracer import *; "
        "print({'trl', 'ray', 'datasets', 'math_verify', 'verl'} & set(sys.modules))"
    )
    assert ended.stdout == "set()\n", ended.stderr
