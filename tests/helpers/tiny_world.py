"""A language of four words and a policy so small that everything about it can be enumerated."""

from itertools import product

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from flowtracer.models import Loaded
from flowtracer.tasks import Example, Task

WORDS = ("<end>", "ask", "a", "b", "c")
END = 0
LIMIT = 3  # tokens of a response


def tiny_loaded(seed=0):
    """A random model with its tokenizer; responses are up to three words."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="c"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", pad_token="<end>"
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=64,
            eos_token_id=END,
            pad_token_id=END,
            tie_word_embeddings=False,
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.5)
    return Loaded(model, tokenizer, "tiny")


def grade(text, example):
    """Right if the word of the answer comes exactly once."""
    return float(text.split().count(example.answer) == 1)


def tiny_task(problems=12):
    examples = [
        Example(f"p{i}", " ".join(["ask"] * (1 + i % 4)), "abc"[i % 3]) for i in range(problems)
    ]
    return Task("tiny", tuple(examples), "", grade, "regex:(?s)(.*)")


def log_probability(model, prompt, response):
    """Log-probability of each response token, (T,), with its graph."""
    ids = torch.tensor([[*prompt, *response]])
    logs = model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logs.gather(1, torch.tensor(response)[:, None])[:, 0]


def completions(length=LIMIT):
    """Every response of at most `length` tokens: ended by <end>, or cut off at the limit."""
    for count in range(length):
        for words in product(range(1, len(WORDS)), repeat=count):
            yield [*words, END]
    yield from (list(words) for words in product(range(1, len(WORDS)), repeat=length))


def exact_value(loaded, task, example, prompt, prefix):
    """V(prefix): the chance that a continuation is graded right, by enumeration."""
    total = 0.0
    with torch.no_grad():
        for rest in completions(LIMIT - len(prefix)):
            logs = log_probability(loaded.model, [*prompt, *prefix], rest)
            ids = [token for token in (*prefix, *rest) if token != END]
            text = loaded.tokenizer.decode(ids)
            total += float(logs.sum().exp()) * task.grade(text, example)
    return total
