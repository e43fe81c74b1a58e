"""`flowtracer trace --image`, with a tiny model and its processor in a folder."""

import json

import pytest
from helpers.architectures import tiny_config
from helpers.commands import call

from flowtracer import load_trace

pytest.importorskip("PIL", reason="needs the extra flowtracer[vision]")
from helpers.processors import PROCESSORS, picture, small_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pictures")
    small_model("gemma3").save_pretrained(made / "model")
    PROCESSORS["gemma3"]().save_pretrained(made / "model")
    picture(1).save(made / "one.png")
    picture(2, 32, 16).save(made / "two.jpg")
    (made / "prompt.txt").write_text("what colour is this ?")
    (made / "response.txt").write_text("the answer is red")
    (made / "no.png").write_text("no picture")
    return made


TEXT = ("--prompt-file", "prompt.txt", "--response-file", "response.txt", "--no-figures")


def test_pictures_are_traced_with_their_text(folder):
    images = ("--image", "one.png", "--image", "two.jpg")
    done = call("trace", "--model", "./model", *TEXT, *images, "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    made = load_trace(folder / "out" / "trace.json")
    assert [(image.width, image.height) for image in made.pictures] == [(24, 16), (32, 16)]
    assert "[picture 1:" in done.stdout
    assert "tv-map" in (folder / "out" / "trace.html").read_text()


@pytest.mark.parametrize(
    "image, model, message",
    [
        ("no.png", "./model", "no.png: is not a picture"),
        ("none.png", "./model", "none.png: cannot be read: No such file"),
        ("one.png", "embedded", "the embedded model takes no pictures"),
    ],
)
def test_what_is_no_picture_is_told_before_the_model_is_loaded(folder, image, model, message):
    done = call("trace", "--model", model, *TEXT, "--image", image, "--out", "bad", cwd=folder)
    assert done.returncode == 1 and message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_model_of_text_is_refused_before_it_is_loaded(folder):
    tiny_config("qwen2").save_pretrained(folder / "text")  # without weights
    PROCESSORS["gemma3"]().tokenizer.save_pretrained(folder / "text")
    done = call("trace", "--model", "./text", *TEXT, "--image", "one.png", cwd=folder)
    assert done.returncode == 1 and "takes no pictures; choose another" in done.stderr


def test_rows_with_pictures_are_not_scored_without_them(folder):
    fields = (
        {"images": ["one.png"]},
        {"video": "x.mp4"},
        {"multi_modal_data": {"image": ["one.png"]}},
    )
    rows = [{"prompt": "what ?", "response": "red", **field} for field in fields]
    rows += [
        {"prompt": [{"role": "user", "content": [{"type": "input_image"}]}], "response": "red"}
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = call("score", "rows.jsonl", "--model", "./model", "--out", "scored", cwd=folder)
    assert done.returncode == 3
    errors = (folder / "scored" / "errors.jsonl").read_text()
    assert errors.count("has pictures, which are not read") == len(rows)
