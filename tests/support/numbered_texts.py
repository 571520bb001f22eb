"""A text transform that knows the tokens of texts by their number."""

from compressor.data.text import TextTransform


class NumberedTexts(TextTransform):
    """Texts are numbers, and say which of ``tokens`` they are, (inputs, n) each; ``inputs`` are their names."""

    def __init__(self, tokens, inputs=("input_ids", "attention_mask"), length=None):
        self.tokens, self.inputs, self.padding = tokens, tuple(inputs), 1
        self.length = length or max(entry.shape[1] for entry in tokens)

    def tokenise(self, texts):
        return [self.tokens[int(text)] for text in texts]
