"""The embedded model's word-level tokenizer: one token per number, word, sign or line break."""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from flowtracer.tasks.countdown import LARGEST_INTERMEDIATE

SPECIAL = ["<|pad|>", "<|unk|>", "<|user|>", "<|assistant|>", "<|end|>"]
WORDS = ["Make", "from", "not", "yes", "I", "stop", "here", "\\boxed{", "\n"]
SIGNS = list(",.+-*/=()}")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message.role }}|>{{ message.content }}"
    "{% if not loop.last or message.role != 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    words = SPECIAL + WORDS + SIGNS + [str(n) for n in range(LARGEST_INTERMEDIATE + 1)]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<|unk|>")
    )
    pattern = Regex(r"\\boxed\{|[0-9]+|[A-Za-z]+|\n|[^\s]")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="removed", invert=True)
    # Words are joined by spaces, and then the spaces that written arithmetic has not are dropped.
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r" +(?=[,.)}\n])"), ""),
            decoders.Replace(Regex(r"(?<=[({\n]) +"), ""),
        ]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        model_max_length=1024,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped
