"""What a result says it was made with: models by a name that says which, no path of the machine."""

from flowtracer.studies.provenance import model_name, shortened


def test_a_model_is_named_as_others_would_find_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build" / "four" / "model").mkdir(parents=True)
    (tmp_path / "inside").mkdir()
    assert model_name("build/four/model") == "build/four/model"
    assert model_name(str(tmp_path / "build" / "four" / "model")) == "model"
    monkeypatch.chdir(tmp_path / "inside")
    assert model_name("../build/four/model") == "model"
    assert model_name("org/model") == "org/model" and model_name("embedded") == "embedded"


def test_settings_keep_no_path_of_the_machine(tmp_path):
    settings = {"start_model": str(tmp_path), "study": {"source": str(tmp_path), "batches": 3}}
    name = tmp_path.name
    assert shortened(settings) == {"start_model": name, "study": {"source": name, "batches": 3}}
