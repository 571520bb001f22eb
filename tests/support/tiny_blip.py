"""Small BLIPs as transformers saves them, with the tokenizer of :mod:`tests.support.tiny_towers`."""

import torch
from transformers import BlipConfig, BlipForImageTextRetrieval

from tests.support import tiny_towers as towers

TEXT = {
    "vocab_size": towers.WORDS.get_vocab_size(), "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
    "max_position_embeddings": towers.LENGTH, "pad_token_id": towers.PAD, "bos_token_id": towers.FIRST,
    "sep_token_id": towers.END, "eos_token_id": towers.END,
}  # fmt: skip


def configured(layers=(2, 2), **text):
    """The configuration of a BLIP of so many layers of image and text; ``text`` changes the text encoder's settings."""
    own = ({**towers.VISION, "num_hidden_layers": layers[0]}, {**TEXT, "num_hidden_layers": layers[1], **text})
    return BlipConfig(vision_config=own[0], text_config=own[1], image_text_hidden_size=16)


def blip(layers=(2, 2), **text):
    """A random BLIP of transformers for image-text matching, of which every layer, and the caption, matters."""
    torch.manual_seed(0)
    model = BlipForImageTextRetrieval(configured(layers, **text))
    with torch.no_grad():
        for parameter in model.parameters():  # norms stay near 1: they come last, and would shrink what texts differ in
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.eval()


def inputs(side=towers.SIDE, lengths=(towers.LENGTH, 7, 12)):
    """Token ids of captions of mixed lengths with their mask, and pixels."""
    return towers.inputs("blip", side, lengths)
