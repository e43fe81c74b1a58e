"""`flowtracer serve --score` on the command line."""

import pytest
from helpers.commands import call

pytest.importorskip("uvicorn", reason="needs flowtracer[serve]")


@pytest.mark.parametrize(
    "options, said",
    [
        (["--rule", "entropy"], "--rule, --checkpoints and --every are of the scorer; add --score"),
        (["--every", "5"], "add --score"),
        (["--score", "--open", "trace.json"], "--open is of the page"),
        (["--score", "--checkpoints", "missing"], "--checkpoints missing is not a folder"),
        (["--score", "--rule", "nothing"], "scorer 'nothing' is unknown"),
        (["--score", "--rule", "flow@emphasis=1/2"], "a scorer has one"),
        (["--score", "--model", "./missing"], "model ./missing: no folder with a config.json"),
        (["--score", "--token", "short"], "--token must have at least 16 characters"),
        (["--score", "--host", "0.0.0.0"], "lets other machines ask this one: give --token"),
    ],
)
def test_wrong_options_get_one_sentence(tmp_path, options, said):
    done = call("serve", "--no-browser", "--port", 0, *options, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
