"""A prompt with pictures traced: their tokens are part of the question and have places in the picture."""

import json

import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra flowtracer[vision]")
from helpers.processors import PROCESSORS, picture, small_model

from flowtracer import AttentionCaptureError, load_trace, mean_attention, trace
from flowtracer.flow.targeted import answer_flow
from flowtracer.models.pictures import model_inputs
from flowtracer.tracing.file import TraceFileError
from flowtracer.tracing.pictures import ask_with_pictures

QUESTION = "what colour is this ?"
RESPONSE = "the square is green . the answer is red"
GRIDS = {"qwen2_5_vl": [(2, 3), (2, 2)], "gemma3": [(2, 2), (2, 2)]}


@pytest.fixture(scope="module", params=PROCESSORS)
def traced(request):
    model, processor = small_model(request.param), PROCESSORS[request.param]()
    images = [picture(1), picture(2, 16, 16)]
    made = trace(model, processor, QUESTION, RESPONSE, images=images, answer="last-line")
    return request.param, model, processor, images, made


def test_the_flow_is_that_of_the_processors_own_inputs(traced):
    _, model, processor, images, made = traced
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "image"},
                                             {"type": "text", "text": QUESTION}]}]  # fmt: skip
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    inputs = processor(text=[f"{text} {RESPONSE}"], images=images, return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == list(made.ids)
    attention = mean_attention(model, inputs["input_ids"], model_inputs=inputs)
    end = max(i for i, role in enumerate(made.roles) if role == "answer") + 1
    start = made.response_start
    position = torch.arange(end)[None]
    answer = torch.tensor([made.answer_weights[:end]])
    flow = answer_flow(attention[:, :end, :end], position < start, answer)
    torch.testing.assert_close(
        torch.tensor(made.throughput[:end]), flow.throughput[0], atol=1e-4, rtol=1e-4
    )


def test_pictures_have_grids_and_thumbnails_and_their_tokens_are_the_users(traced):
    name, _, _, images, made = traced
    assert [(shown.rows, shown.columns) for shown in made.pictures] == GRIDS[name]
    assert [(shown.width, shown.height) for shown in made.pictures] == [
        image.size for image in images
    ]
    for shown in made.pictures:
        assert shown.thumbnail.startswith("data:image/png;base64,")
        inside = range(shown.first, shown.last + 1)
        assert {made.ids[token] for token in inside} == {7}
        assert {made.roles[token] for token in inside} == {"user"}
        assert shown.dropped > 0.05 if name == "gemma3" else shown.dropped == 0
    assert made.text.count("what colour") == 1
    assert "user" in {
        made.roles[i] for i, text in enumerate(made.tokens) if text.strip() == "colour"
    }


def test_the_graph_has_no_edges_for_what_a_picture_looks_ahead(traced):
    _, model, processor, images, made = traced
    pictured = ask_with_pictures(processor, QUESTION, images)
    assert list(pictured.text.ids) == list(made.ids[: made.response_start])
    ids = torch.tensor([made.ids])
    inputs = model_inputs(model, pictured.processed, ids)
    attention = mean_attention(model, ids, model_inputs=inputs)
    question = torch.arange(ids.shape[1])[None] < made.response_start
    answer = torch.tensor([made.answer_weights])
    as_read = answer_flow(attention, question, answer).inflow
    assert torch.equal(as_read, answer_flow(attention.tril(), question, answer).inflow)
    for shown in made.pictures:
        later = attention[0, shown.first : shown.last + 1].triu(shown.first + 1).sum(1)
        assert shown.dropped == pytest.approx(float(later.mean()), rel=1e-3)
    assert all(edge.source < edge.target for edge in made.edges)


def test_long_texts_are_read_in_tiles_where_they_can(traced):
    _, model, processor, images, made = traced
    tiled = trace(
        model, processor, QUESTION, RESPONSE, images=images, answer="last-line", tile_above=4,
        by_layer=False,
    )  # fmt: skip
    assert tiled.throughput == pytest.approx(made.throughput, abs=1e-5)
    assert [shown.dropped for shown in tiled.pictures] == [shown.dropped for shown in made.pictures]


def test_the_file_keeps_them_and_older_files_have_none(traced, tmp_path):
    made = traced[-1]
    made.save(tmp_path / "trace.json")
    assert load_trace(tmp_path / "trace.json") == made
    data = json.loads((tmp_path / "trace.json").read_text())
    del data["pictures"]
    (tmp_path / "older.json").write_text(json.dumps(data))
    assert load_trace(tmp_path / "older.json").pictures == ()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rows": 7}, "tokens that are not its grid's"),
        ({"rows": -2, "columns": -2}, "tokens that are not its grid's"),
        ({"thumbnail": "data:image/png;base64,x);color:red"}, "a thumbnail that is no PNG"),
        ({"first": 10**6, "last": 10**6, "rows": 1, "columns": 1}, "not in the prompt"),
        ({"width": "wide"}, "'wide' is not of type int"),
    ],
)
def test_damaged_pictures_are_refused(traced, tmp_path, change, message):
    traced[-1].save(tmp_path / "trace.json")
    data = json.loads((tmp_path / "trace.json").read_text())
    data["pictures"][0] |= change
    (tmp_path / "trace.json").write_text(json.dumps(data))
    with pytest.raises(TraceFileError, match=message):
        load_trace(tmp_path / "trace.json")


def test_the_model_answers_about_the_picture_first(traced):
    _, model, processor, images, _ = traced
    made = trace(
        model, processor, QUESTION, images=images[:1], max_new_tokens=8, answer="last-line",
        question="user",
    )  # fmt: skip
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    inputs = processor(text=[text], images=images[:1], return_tensors="pt")
    with torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0]
    assert list(made.ids) == ids[: len(made.ids)].tolist()
    assert len(made.pictures) == 1
    assert made.provenance.question == "user"


def test_places_in_a_conversation_are_kept(traced):
    _, model, processor, images, _ = traced
    content = [
        {"type": "text", "text": "what is in"},
        {"type": "image"},
        {"type": "text", "text": "?"},
    ]
    shown = trace(
        model, processor, [{"role": "user", "content": content}], RESPONSE, images=images[:1],
        answer="last-line",
    )  # fmt: skip
    assert shown.text.index("what is in") < shown.offsets[shown.pictures[0].first][0]
    with pytest.raises(ValueError, match="2 pictures came with a conversation that has 1 image"):
        trace(model, processor, [{"role": "user", "content": content}], RESPONSE, images=images)


def test_what_cannot_be_asked_so_is_refused_in_one_sentence(traced, tmp_path):
    _, model, processor, images, _ = traced
    with pytest.raises(ValueError, match="is no processor of pictures; pass the model's processor"):
        trace(model, processor.tokenizer, QUESTION, RESPONSE, images=images)
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"x\.png: is not a picture"):
        trace(model, processor, QUESTION, RESPONSE, images=[tmp_path / "x.png"])
    with pytest.raises(ValueError, match=r"y\.png: cannot be read: No such file"):
        trace(model, processor, QUESTION, RESPONSE, images=[tmp_path / "y.png"])
    with pytest.raises(AttentionCaptureError, match="stand for a picture"):
        trace(model, processor, f"<|image_pad|> {QUESTION}", RESPONSE, answer="last-line")
