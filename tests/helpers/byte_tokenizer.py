"""A tokenizer of bytes, small enough to count in."""

from transformers.tokenization_python import PreTrainedTokenizer


class ByteTokenizer(PreTrainedTokenizer):
    """A slow tokenizer without offsets: one token, one byte."""

    vocab_size = 256

    def get_vocab(self):
        return {f"<{i:02x}>": i for i in range(256)}

    def _tokenize(self, text):
        return [f"<{byte:02x}>" for byte in text.encode()]

    def _convert_token_to_id(self, token):
        return int(token[1:3], 16)

    def _convert_id_to_token(self, index):
        return f"<{index:02x}>"

    def convert_tokens_to_string(self, tokens):
        return bytes(int(token[1:3], 16) for token in tokens).decode(errors="replace")
