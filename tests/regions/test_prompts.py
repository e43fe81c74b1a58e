"""Where the user's messages stand in a prompt, whatever the template and the messages."""

import time

import pytest
import torch
from helpers.byte_tokenizer import ByteTokenizer

from flowtracer.regions import render_prompt, user_spans
from flowtracer.regions.prompts import render_template
from flowtracer.scorers.responses import user_tokens

CHATML = (
    "{%- if not messages or messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant"
    "<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content | trim }}"
    "{% elif m.content %}{% for part in m.content %}{{ part.text }}{% endfor %}"
    "{% else %}{{ m.tool_calls | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"name": "add", "arguments": {"a": 1}}],
}


def tokenizer_with(template):
    tokenizer = ByteTokenizer()
    tokenizer.chat_template = template
    return tokenizer


def user(content):
    return {"role": "user", "content": content}


def found(text, messages, template=CHATML):
    spans = user_spans(tokenizer_with(template), text, messages)
    return [(text[: span.start][-6:], text[span.start : span.stop]) for span in spans]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([user("help")], ["help"]),
        ([user("a")], ["a"]),
        ([user("user")], ["user"]),
        ([user("  <|im_end|> x ")], ["<|im_end|> x"]),
        ([user("a"), {"role": "assistant", "content": "a"}, user("a")], ["a", "a"]),
        ([user("1 + 1?"), CALL, {"role": "tool", "content": "2"}, user("so")], ["1 + 1?", "so"]),
        ([user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], ["ab"]),
        ([user([{"type": "text", "text": "who"}]), CALL, user("a")], ["who", "a"]),
        ([{"role": "system", "content": "be a user"}, user("user")], ["user"]),
        ([user("x"), {"role": "assistant", "content": "y"}], ["x"]),
        ([user(" ")], []),
    ],
)
def test_user_messages_are_found_behind_their_header(messages, expected):
    text = render_template(tokenizer_with(CHATML), messages)
    assert [piece for _, piece in found(text, messages)] == expected
    assert all(before == ">user\n" for before, _ in found(text, messages))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "<|im_start|>system\nTools: a, help<|im_end|>\n" + text,
        lambda text: text + "<think>\n\n</think>\n\n",
        lambda text: "<s>" + text + "<think>a</think>",
        lambda text: text[len("<|im_start|>system\nYou are"):],
    ],
    ids=["same", "more in front", "more behind", "both", "cut"],
)  # fmt: skip
def test_a_prompt_that_a_trainer_rendered_otherwise_still_has_its_user(change):
    messages = [user("help"), {"role": "assistant", "content": "a"}, user("a")]
    text = change(render_template(tokenizer_with(CHATML), messages))
    assert [piece for _, piece in found(text, messages)] == ["help", "a"]
    assert all(before.endswith("user\n") for before, _ in found(text, messages))


@pytest.mark.parametrize("template", [CHATML, "{{ messages[0].content + 1 }}", None])
def test_no_conversation_stops_a_training_step(template):
    """Tokens of the user's messages where they are found, else the whole prompt."""
    tokenizer = tokenizer_with(template)
    conversations = [
        [user("help"), CALL],
        [user([{"type": "text", "text": "a"}])],
        [user(None)],
        [],
    ]
    text = render_template(tokenizer_with(CHATML), conversations[0])
    ids = torch.tensor([list(text.encode())] * len(conversations))
    users = user_tokens(tokenizer, ids, torch.ones_like(ids), conversations)
    assert users[1:].all()
    assert int(users[0].sum()) == (4 if template == CHATML else len(text))


def test_another_conversation_has_no_user_spans():
    assert found("something else", [user("help"), user("else")]) == []
    assert found("something else", [user("something")], template="{{ 1 / 0 }}") == []


def test_a_message_without_text_is_rendered_if_it_calls_a_tool():
    prompt = render_prompt(tokenizer_with(CHATML), [user("1 + 1?"), CALL])
    assert '"name": "add"' in prompt.text


def test_a_template_without_end_is_refused_in_time():
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"takes longer than 0\.5 s"):
        render_template(tokenizer_with(loop), [user("x")], seconds=0.5)
    assert time.monotonic() - started < 5


def test_a_template_that_fails_says_so_in_one_sentence():
    with pytest.raises(ValueError, match=r"chat template fails .*ZeroDivisionError"):
        render_prompt(tokenizer_with("{{ 1 / 0 }}"), [user("x")])
