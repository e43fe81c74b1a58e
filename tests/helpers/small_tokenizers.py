"""Fast tokenizers of every kind that is read in a way of its own, small enough to train in a moment."""

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

CORPUS = ["the answer is \\boxed{12}.", "so 3 + 4 = 7 and the rest", "banana bandana"] * 20
# Many characters with the same first bytes, which come to share a token with the blank before.
SMILES = [*CORPUS, *[f" {chr(0x1F600 + number)} x" for number in range(64)] * 4]


def byte_level(trim=False, normalizer=None, corpus=CORPUS):
    """A small byte-level BPE; with `trim` its offsets leave out leading blanks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


def metaspace(strip=False):
    """A small BPE over characters with bytes for the others, as Gemma's; `strip` drops a first blank, as
    Llama 2 does."""
    pairs = [
        ("\u2581", "t"),
        ("\u2581t", "he"),
        ("h", "e"),
        ("1", "2"),
        ("\u2581", "\u2581"),
        ("a", "n"),
    ]
    signs = sorted(set("".join(CORPUS).replace(" ", "\u2581")) | set("\n日é"))
    words = ["<unk>", "<s>", *map("<0x{:02X}>".format, range(256)), *signs]
    merges = [pairs[0], pairs[2], pairs[1], *pairs[3:]]
    words += [left + right for left, right in merges]
    model = models.BPE(
        {word: number for number, word in enumerate(words)},
        merges,
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(
        [*steps, decoders.Strip(content=" ", left=1)] if strip else steps
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


class SpaceStripping(PreTrainedTokenizerFast):
    """A tokenizer with code of its own for decoding."""

    def _decode(self, *args, **kwargs):
        return super()._decode(*args, **kwargs).strip()


SMALL_TOKENIZERS = {
    "bytes": byte_level,
    "bytes, parts of characters with blanks": lambda: byte_level(corpus=SMILES),
    "bytes, trimmed offsets": lambda: byte_level(trim=True),
    "bytes, NFC": lambda: byte_level(normalizer=normalizers.NFC()),
    "metaspace": metaspace,
    "metaspace, stripped": lambda: metaspace(strip=True),
    "code of its own": lambda: SpaceStripping(
        tokenizer_object=byte_level().backend_tokenizer, bos_token="<s>"
    ),
}
