"""Small models of two towers as transformers saves them, with a tokenizer of the words of generated captions."""

import json

import torch
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from compressor.data.generated.captions import write_retrieval
from compressor.data.generated.scenes import COLOURS, SHAPES
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.families import FAMILIES

LENGTH, SIDE, PATCH, WIDTH = 20, 24, 8, 24
WORDS = word_tokenizer(["there is a and", *COLOURS, *SHAPES], "[CLS]")
FIRST, PAD, END = (WORDS.token_to_id(token) for token in ("[CLS]", "[PAD]", "[SEP]"))
TEXT = {
    "vocab_size": WORDS.get_vocab_size(), "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
    "max_position_embeddings": LENGTH, "bos_token_id": FIRST, "pad_token_id": PAD, "eos_token_id": END,
}  # fmt: skip
VISION = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 4, "image_size": SIDE, "patch_size": PATCH}


def clip(layers=(2, 2), **text):
    """A random CLIP of transformers of so many layers of text and image; ``text`` changes the text tower's settings."""
    torch.manual_seed(0)
    both = ({**own, "num_hidden_layers": count} for own, count in zip((TEXT | text, VISION), layers, strict=True))
    config = CLIPConfig(**dict(zip(("text_config", "vision_config"), both, strict=True)), projection_dim=WIDTH)
    return drawn(CLIPModel(config))


def siglip(layers=(2, 2), **vision):
    """The same of a SigLIP; ``vision`` changes the vision tower's settings."""
    torch.manual_seed(0)
    text = {**TEXT, "projection_size": VISION["hidden_size"], "num_hidden_layers": layers[0]}
    own = {**VISION, "num_hidden_layers": layers[1], **vision}
    return drawn(SiglipModel(SiglipConfig(text_config=text, vision_config=own)))


LIBRARY = {"clip": clip, "siglip": siglip}


def drawn(model):
    """The same model with weights that are wide enough for each layer to matter."""
    for parameter in model.parameters():
        if parameter.ndim > 0:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def save(model, folder, images=24):
    """Write the model's folder with its tokenizer, and ``data`` with generated captions beside it; return the first."""
    model.save_pretrained(folder / "full")
    WORDS.save(str(folder / "full" / "tokenizer.json"))
    if images:
        write_retrieval(folder / "data", images, 0)
    return folder / "full"


def inputs(family="clip", side=SIDE, lengths=(LENGTH, 7, 12), padding=PAD):
    """Token ids that end as the tokenizer ends them, with their mask where the family has one, and pixels."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, WORDS.get_vocab_size(), (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = END
    ids = torch.where(mask.bool(), ids, padding)
    pixels = torch.randn(len(lengths), 3, side, side, generator=generator)
    given = {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}
    return {name: given[name] for name in FAMILIES[family].input_names}


def config_of(folder):
    """What config.json of a folder says."""
    return json.loads((folder / "config.json").read_text())
