"""A checkpoint is inspected by the shapes of its tensors: its weights are not read."""

import psutil
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification

from compressor.checkpoints.build import load_checkpoint, outline_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.costs.macs import count_macs
from compressor.families import FAMILIES
from tests.support.command_line import GOLDEN

TINY = ("meter_tiny_vqa.ckpt", "vqa"), ("vilt_tiny_nlvr2.ckpt", "nlvr2"), ("das_meter_tiny_vqa.ckpt", "vqa")
WORDS, WIDTH = 500_000, 64  # an embedding of 128 MB
CONFIG = BertConfig(
    vocab_size=WORDS, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=WIDTH
)


@pytest.mark.parametrize(("name", "task"), TINY)
def test_an_outline_is_the_model_without_its_weights(name, task):
    loaded, outline = load_checkpoint(GOLDEN / name, task), outline_checkpoint(GOLDEN / name, task)
    assert all(parameter.is_meta for parameter in outline.model.parameters())
    shapes = {key: value.shape for key, value in loaded.model.state_dict().items()}
    assert {key: value.shape for key, value in outline.model.state_dict().items()} == shapes
    assert (outline.leftovers, outline.notes, outline.model.dims) == (loaded.leftovers, loaded.notes, loaded.model.dims)
    example = FAMILIES[loaded.model.family].example_inputs
    with torch.device("meta"):
        counted = count_macs(outline.model, example(outline.model.dims))
    expected = count_macs(loaded.model, example(loaded.model.dims))
    assert (counted.total, counted.by_pool, counted.by_step) == (expected.total, expected.by_pool, expected.by_step)


@pytest.fixture(params=["model.safetensors", "pytorch_model.bin"])
def large(request, tmp_path):
    with torch.device("meta"):
        shapes = BertForSequenceClassification(CONFIG).state_dict()
    state = {key: torch.zeros(value.shape) for key, value in shapes.items()}
    (save_file if request.param.endswith("safetensors") else torch.save)(state, tmp_path / request.param)
    CONFIG.save_pretrained(tmp_path)
    return tmp_path


def test_weights_are_not_read(large):
    before = psutil.Process().memory_info().rss
    found = recognise(large)
    outline = outline_checkpoint(found, None)
    assert sum(parameter.numel() for parameter in outline.model.parameters()) > WORDS * WIDTH
    assert psutil.Process().memory_info().rss - before < WORDS * WIDTH
