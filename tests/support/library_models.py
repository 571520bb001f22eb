"""Small models of transformers, each read by das as its users save it, and texts of several lengths for them."""

import json

import torch

from compressor.checkpoints.build import load_checkpoint

LENGTHS = (30, 9, 21)
VOCABULARY = 50
SIZES = {
    "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": VOCABULARY,
    "max_position_embeddings": 40,
}  # fmt: skip


def drawn(model):
    """The model with parameters large enough for each to matter."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def texts(padding):
    """Token ids and their mask: texts padded with this id."""
    torch.manual_seed(1)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(5, VOCABULARY, mask.shape)
    return {"input_ids": torch.where(mask.bool(), ids, padding), "attention_mask": mask}


def load_saved(folder, model, **changes):
    """What das reads of a model saved in a folder, after ``changes`` of its config.json; None takes a setting away."""
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return load_checkpoint(folder).model
