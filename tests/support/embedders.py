"""Small embedders in the form of sentence-transformers, written by hand: it need not be installed."""

import json

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.find_tokenizer import find_tokenizer
from compressor.checkpoints.sources.source_files import find_source_files
from compressor.families import FAMILIES
from compressor.families.text_encoder.sentence_head import ACTIVATIONS, Dense
from tests.support import saved_runs
from tests.support import tiny_models as tiny

WORDS = [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
TEXTS = ("a b c", "d", "e f g h i j", "A B")
PARTS = "sentence_transformers.models."


def write_words(folder, **settings):
    """A tokenizer of letters as words, cased."""
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def write_embedder(folder, family="bert", pooling=("mean",), modules=("normalize",), settings=(), texts=()):
    """Write a random embedder of six layers; return the folder.

    Args:
        folder: is made.
        family: of the transformer.
        pooling: names of the ways, joined.
        modules: behind it.
        settings: of config_sentence_transformers.json.
        texts: of sentence_bert_config.json.
    """
    torch.manual_seed(0)
    dims = tiny.SIZES[family, "text-classification"](0, 2)
    backbone = AutoModel.from_config(dims.library)
    for parameter in backbone.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    backbone.save_pretrained(folder)
    write_words(folder)
    listed = [("Transformer", ""), ("Pooling", "1_Pooling")]
    (folder / "1_Pooling").mkdir()
    said = {"embedding_dimension": dims.hidden, "pooling_mode": pooling[0] if len(pooling) == 1 else list(pooling)}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    width = dims.hidden * len(pooling)
    for number, module in enumerate(modules, 2):
        path = f"{number}_{'Dense' if isinstance(module, Dense) else 'Normalize'}"
        (folder / path).mkdir()
        listed.append((path[2:], path))
        if isinstance(module, Dense):
            settings_of = {"in_features": width, "out_features": module.width, "bias": module.bias}
            settings_of["activation_function"] = f"{ACTIVATIONS[module.activation].__module__}.{module.activation}"
            (folder / path / "config.json").write_text(json.dumps(settings_of))
            state = {"linear.weight": torch.randn(module.width, width) / width**0.5}
            state |= {"linear.bias": torch.randn(module.width)} if module.bias else {}
            save_file(state, folder / path / "model.safetensors")
            width = module.width
    parts = [
        {"idx": number, "name": str(number), "path": path, "type": PARTS + kind}
        for number, (kind, path) in enumerate(listed)
    ]
    (folder / "modules.json").write_text(json.dumps(parts))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(dict(settings)))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 9, **dict(texts)}))
    return folder


def inputs_of(model, folder, texts=TEXTS):
    """The model's inputs of texts of unlike length, padded."""
    return FAMILIES[model.family].transforms(model.dims, find_tokenizer(None, folder, None).tokenizer).text(list(texts))


DENSE = (Dense(width=7), "normalize")
PROMPTS = {"prompts": {"query": "a b "}, "default_prompt_name": None, "similarity_fn_name": "dot"}


def embedder_run(tmp_path, family="bert", adapters=False, texts=()):
    """A run of an embedder without En1 and En4, with adapters in their place that do something, or nothing."""
    source = write_embedder(tmp_path / "full", family, ("cls", "mean"), DENSE, PROMPTS, texts)
    full, found = load_checkpoint(source).model, find_tokenizer(None, source, None)
    if adapters:
        tiny.supernet(full)
    files = find_source_files(source, found.folder)
    return saved_runs.run_of(tmp_path, full, inputs_of(full, source), adapters, tokenizer=found.tokenizer, files=files)
