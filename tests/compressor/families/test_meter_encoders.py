"""METER's text encoder is RoBERTa or BERT, computed as transformers computes it; its vision encoder is CLIP's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertModel, RobertaModel

from compressor.architectures.meter import MeterDims
from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.read import Checkpoint, read_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.checkpoints.write import save_public_checkpoint
from compressor.data.generated.tokenizer import word_tokenizer
from compressor.errors import InputError
from compressor.families import FAMILIES
from compressor.families.meter.meter_encoders import describe_contradictions, find_text_encoder
from compressor.models.surgery import make_plan, remove_layers
from compressor.saved_run.run_folder import open_run
from tests.support import tiny_models as tiny
from tests.support.command_line import GOLDEN, das, refused

LIBRARY = {"roberta": RobertaModel, "bert": BertModel}
TOKENIZERS = {"roberta": "roberta-base", "bert": "bert-base-uncased"}
BERT = {"tokenizer": "bert-base-uncased", "vit": "ViT-B/32"}


def made(text_encoder, **sizes):
    """A random METER with three text layers, of embeddings so small that the norms' epsilons show."""
    torch.manual_seed(0)
    dims = tiny.meter(1, tiny.CLASSES, layers=3, fusion_layers=1, text_encoder=text_encoder).model_copy(update=sizes)
    model = FAMILIES["meter"].build(dims, "vqa").eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.02 if "word_emb" in name or "position_emb" in name else 0.3)
    return model


def saved(model, path, **config):
    save_public_checkpoint(model, path, {"num_heads": 4, "max_text_len": 99, **config})
    return path


def theirs(text_encoder, checkpoint, without=()):
    """transformers' model with the checkpoint's text encoder, some of its layers left out."""
    dims, prefix = load_checkpoint(checkpoint, "vqa").model.dims, "text_transformer."
    config = dims.text_config
    config.num_hidden_layers = dims.text_layers
    library = LIBRARY[text_encoder](config, add_pooling_layer=False).eval()
    state = {key.removeprefix(prefix): x for key, x in checkpoint.state.items() if key.startswith(prefix)}
    library.load_state_dict(state)
    kept = [layer for number, layer in enumerate(library.encoder.layer) if number not in without]
    library.encoder.layer = torch.nn.ModuleList(kept)
    return library


def padded(length):
    """Texts of every length up to the longest, padded as each encoder's tokenizer does."""
    lengths = torch.arange(1, length + 1)
    mask = (torch.arange(length) < lengths[:, None]).long()
    return torch.randint(5, tiny.VOCABULARY, (length, length)), mask


@pytest.mark.parametrize("without", [(), (1,)])
@pytest.mark.parametrize(("text_encoder", "pad"), [("roberta", 1), ("bert", 0)])
def test_the_text_stream_is_that_of_the_library(tmp_path, text_encoder, pad, without):
    path = saved(made(text_encoder), tmp_path / "meter.ckpt", tokenizer=TOKENIZERS[text_encoder])
    checkpoint = read_checkpoint(path)
    model = load_checkpoint(checkpoint, "vqa").model
    assert (model.dims.text_encoder, model.dims.text_length) == (text_encoder, tiny.LENGTH)  # the longest there is
    if without:
        model = remove_layers(model, make_plan(model, [f"LEn{number}" for number in without]))
    ids, mask = padded(tiny.LENGTH)
    ids = torch.where(mask.bool(), ids, pad)
    library = theirs(text_encoder, checkpoint, without)
    # Epsilons and activations are the published models', whatever das's own configuration says.
    assert library.config.layer_norm_eps == {"roberta": 1e-5, "bert": 1e-12}[text_encoder]
    with torch.no_grad():
        expected = library(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        streams = model.prologue(ids, mask, torch.zeros(len(ids), 3, 36, 36))
        seen = [streams["text"]]
        for number in (number for number in range(3) if number not in without):
            seen.append(model.blocks[f"LEn{number}"](seen[-1], streams["text_mask"]))
        model.prologue.fold_constants()
        folded = model.prologue.text(ids)
    assert len(seen) == len(expected) == 4 - len(without)
    for ours, library_s in zip((*seen, folded), (*expected, expected[0]), strict=True):
        difference = (ours - library_s)[mask.bool()]
        assert difference.abs().max() < 1e-5


def shapes(types, positions, words):
    rows = {"token_type": types, "position": positions, "word": words}
    keys = {kind: f"text_transformer.embeddings.{kind}_embeddings.weight" for kind in rows}
    return {keys[kind]: torch.empty(count, 4, device="meta") for kind, count in rows.items()}


@pytest.mark.parametrize(
    ("tokenizer", "types", "positions", "words", "encoder", "remarks"),
    [
        ("bert-base-uncased", 2, 512, 30522, "bert", 0),
        ("roberta-base", 1, 514, 50265, "roberta", 0),
        ("/data/roberta-large", 1, 514, 50265, "roberta", 0),
        ("bert-base-multilingual-cased", 2, 512, 119547, "bert", 0),
        ("xlm-roberta-base", 1, 514, 250002, "roberta", 0),
        ("roberta-base", 1, 20, 120, "roberta", 0),
        ("bert-base-uncased", 2, 40, 120, "bert", 0),
        (None, 2, 512, 30522, "bert", 0),
        (None, 1, 514, 50265, "roberta", 0),
        (None, 1, 14, 36, "roberta", 0),
        (None, 2, 14, 36, "bert", 0),
        ("bert-base-german", 1, 512, 31102, "bert", 1),  # a BERT that was made with one token type
        ("roberta-of-ours", 2, 514, 32000, "roberta", 1),
        ("bert-base-uncased", 1, 514, 50265, None, 0),
        ("bert-base-uncased", 1, 20, 120, None, 0),
        ("roberta-base", 2, 512, 30522, None, 0),
        (None, 2, 514, 36, None, 0),
        (None, 1, 512, 50265, None, 0),
    ],
)
def test_the_text_encoder_is_told_by_name_and_tensors(tokenizer, types, positions, words, encoder, remarks):
    state, config = shapes(types, positions, words), {"tokenizer": tokenizer} if tokenizer else {}
    if encoder:
        assert find_text_encoder(state, config) == encoder
        assert len(describe_contradictions(state, config)) == remarks
    else:
        with pytest.raises(ValueError, match=rf"{types} token type.* as (BERT|RoBERTa) has them"):
            find_text_encoder(state, config)


def test_a_plain_state_dict_is_told_by_its_tensors(tmp_path):
    wide = made("bert", hidden=64, heads=1, text_hidden=64, text_heads=1)  # heads of 64 where nothing says otherwise
    state = read_checkpoint(saved(wide, tmp_path / "meter.ckpt")).state
    torch.save(state, tmp_path / "plain.pt")
    dims = load_checkpoint(tmp_path / "plain.pt", "vqa").model.dims
    assert (dims.text_encoder, dims.longest_text) == ("bert", tiny.LENGTH)
    assert load_checkpoint(GOLDEN / "meter_tiny_vqa.ckpt").model.dims.text_encoder == "roberta"


def test_a_name_that_no_tensor_bears_out_is_refused(tmp_path):
    path = saved(made("roberta"), tmp_path / "meter.ckpt", tokenizer="bert-base-uncased")
    with refused(InputError, "model-does-not-fit-together", "bert-base-uncased", "1 token type as RoBERTa has them"):
        load_checkpoint(path, "vqa")


def test_what_contradicts_the_name_is_said(tmp_path):
    model = made("bert")
    embeddings = model.prologue.text
    embeddings.token_type_embeddings = torch.nn.Embedding(1, 40)
    embeddings.position_embeddings = torch.nn.Embedding(512, 40)
    path = saved(model, tmp_path / "meter.ckpt", tokenizer="bert-of-ours")
    loaded = load_checkpoint(path, "vqa")
    assert loaded.model.dims.text_encoder == "bert"
    assert "computed as BERT" in loaded.notes[0]
    assert "1 token type as RoBERTa has them" in loaded.notes[0]
    assert "note: the text encoder is computed as BERT" in das("inspect", path).stdout


def swin(state):
    """The keys of a METER whose images a Swin reads."""
    kept = {key: x for key, x in state.items() if not key.startswith("vit_model.")}
    new = "patch_embed.proj.weight", "layers.0.blocks.0.attn.qkv.weight", "norm.weight"
    return kept | {f"vit_model.{key}": torch.zeros(4, 3, 2, 2) for key in new}


def test_a_swin_is_refused_by_name(tmp_path):
    checkpoint = read_checkpoint(GOLDEN / "meter_tiny_vqa.ckpt")
    named = {**checkpoint.config, "vit": "swin_base_patch4_window12_384_in22k"}
    with refused(InputError, "meter-with-swin", "Swin", "vit_model.visual.conv1.weight", "ViT-B/16"):
        recognise(replace(checkpoint, state=swin(checkpoint.state), config=named))
    with refused(InputError, "meter-with-swin"):
        recognise(Checkpoint(tmp_path / "plain.pt", swin(checkpoint.state), {}))
    with refused(InputError, "model-does-not-fit-together", "swin_base_patch4", "CLIP"):
        load_checkpoint(replace(checkpoint, config=named))


def test_vilt_reads_texts_with_bert_whatever_its_tokenizer_is_called():
    checkpoint = read_checkpoint(GOLDEN / "vilt_tiny_vqa.ckpt")
    other = replace(checkpoint, config={**checkpoint.config, "tokenizer": "roberta-base"})
    ids = torch.tensor([[2, 7, 8, 1, 3]])
    ours = load_checkpoint(other).model.prologue.text
    words, types, positions = (
        checkpoint.state[f"text_embeddings.{kind}_embeddings.weight"] for kind in ("word", "token_type", "position")
    )
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), ours.LayerNorm(words[ids] + types[0] + positions[:5]))


@pytest.fixture
def bert_workshop(workshop):
    """A workshop with a METER of random weights that has BERT, and BERT's tokenizer beside it."""
    word_tokenizer(["how many what color is the thing there red blue green ?"], "[CLS]").save("tokenizer.json")
    read = read_checkpoint("meter.ckpt")
    changes = {"text_encoder": "bert", "text_types": 2, "fusion_layers": 2}
    dims = load_checkpoint(read, "vqa").model.dims.model_copy(update=changes)
    torch.manual_seed(0)
    save_public_checkpoint(FAMILIES["meter"].build(dims, "vqa"), workshop / "meter.ckpt", {**read.config, **BERT})
    return workshop


@pytest.mark.slow
def test_a_run_of_a_meter_with_bert(bert_workshop):
    made = das("compress", "meter.ckpt", "--task", "vqa", "--layers", "FL1,LEn0", "--recover", "none")
    assert made.exit_code == 0, made.stderr
    run = open_run(Path("runs/latest"))
    assert run.manifest.dims["text_encoder"] == run.load_slim().dims.text_encoder == "bert"
    assert das("export", "--onnx").exit_code == 0
    certificate = json.loads((run.path / "exports" / "model.onnx.parity.json").read_text())["certificate"]
    assert certificate["samples"] > 1
    assert certificate["against_slim"]["max_abs_error"] < 1e-4
    asked = ("--image", "scene.png", "--question", "what color is the thing ?", "--json")
    torchs, onnx = (json.loads(das("predict", *asked, "--runtime", at).stdout)["answers"] for at in ("torch", "onnx"))
    assert [answer["answer"] for answer in torchs] == [answer["answer"] for answer in onnx]
    assert [answer["probability"] for answer in torchs] == pytest.approx([answer["probability"] for answer in onnx])
    texts = run.transforms().text(["what color is the thing ?"])
    assert texts["input_ids"][0, 0] == 2  # [CLS]


def test_a_run_from_before_there_was_bert_has_roberta():
    dims = tiny.meter(1, 2).model_dump(exclude={"text_encoder"})
    assert MeterDims(**dims).text_encoder == "roberta"
