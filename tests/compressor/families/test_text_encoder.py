"""Every family of text encoders against the library's own models."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.sizes import Transfer
from compressor.errors import InputError
from compressor.families import FAMILIES
from compressor.families.text_encoder import TASK
from compressor.families.text_encoder.bert_families import BertDims
from compressor.models.adapters import Adapter
from compressor.models.padding import join_rows
from compressor.models.plan import Plan, Skip
from compressor.models.steps import split_at_candidates
from compressor.models.surgery import remove_layers
from compressor.models.trims.simplify import OneToken, trim
from tests.support.command_line import refused
from tests.support.marks import slow_but

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
ENCODER = {**SIZES, "vocab_size": 50, "max_position_embeddings": 20}
ROBERTA_LIKE = {**ENCODER, "max_position_embeddings": 22, "type_vocab_size": 1}
TINY = {
    "bert": ENCODER,
    "roberta": ROBERTA_LIKE,
    "xlm-roberta": ROBERTA_LIKE,
    "camembert": ROBERTA_LIKE,
    "electra": {**ENCODER, "embedding_size": 24},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "vocab_size": 50}
    | {"max_position_embeddings": 20},
    "mpnet": {**ENCODER, "max_position_embeddings": 22},
    "albert": {**ENCODER, "embedding_size": 24},
    "deberta-v2": {**ENCODER, "type_vocab_size": 0, "relative_attention": True, "position_biased_input": False}
    | {"pos_att_type": ["p2c", "c2p"], "position_buckets": 4, "norm_rel_ebd": "layer_norm", "share_att_key": True},
    "modernbert": {**ENCODER, "pad_token_id": 3, "local_attention": 6, "global_attn_every_n_layers": 2},
}
ACTIVATION = {"distilbert": "activation", "modernbert": "hidden_activation"}
every_family = pytest.mark.parametrize("name", TINY)
STRUCTURES = [name for name in TINY if name not in ("xlm-roberta", "camembert")]  # those are RoBERTas
every_structure = pytest.mark.parametrize("name", STRUCTURES)


def tiny_config(name, classes=3, **settings):
    return AutoConfig.for_model(name, num_labels=classes, **(TINY[name] | settings))


def tiny(name, kind=AutoModelForSequenceClassification, classes=3, **settings):
    """The library's model with weights drawn wide enough for a difference to show."""
    torch.manual_seed(0)
    model = kind.from_config(tiny_config(name, classes, **settings), attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


@pytest.fixture
def saved(tmp_path):
    def save(model):
        model.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return save


def batch(name, lengths=(9, 5, 12), seed=1):
    """Padded texts as the tokenizers of the family give them, the second half of each of another type."""
    generator = torch.Generator().manual_seed(seed)
    pad, longest = tiny_config(name).pad_token_id, max(lengths)
    ids = torch.randint(5, 50, (len(lengths), longest), generator=generator)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    inputs = {"input_ids": torch.where(mask.bool(), ids, pad), "attention_mask": mask}
    if "token_type_ids" in FAMILIES[name].input_names:
        inputs["token_type_ids"] = mask * (torch.arange(longest) >= longest // 3)
    return inputs


@every_family
def test_logits_are_the_librarys(name, saved):
    library = tiny(name)
    loaded = load_checkpoint(saved(library))
    inputs = batch(name)
    with torch.no_grad():
        ours, theirs = loaded.model(**inputs), library(**inputs).logits
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert loaded.leftovers == {}
    assert loaded.model.layers == ("En0", "En1", "En2")


@every_structure
def test_one_token_is_computed_where_one_is_read(name, saved):
    """The whole model, the last layer skipped, two of them, and adapters beside the layers."""
    folder, inputs = saved(tiny(name)), batch(name)
    plain, adapted = (load_checkpoint(folder, transfer=transfer).model for transfer in (None, Transfer(classes=3)))
    for model in (plain, adapted):
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        for skipped, alone in ((), {"En2"}), (("En2",), {"En1", "En2"}), (("En0", "En2"), {"En1", "En2"}):
            slim = remove_layers(model, Plan(skip=tuple(Skip(layer=layer, adapter_width=4) for layer in skipped)))
            trimmed = trim(slim)
            assert {step for step, block in trimmed.blocks.items() if isinstance(block, OneToken)} == alone
            with torch.no_grad():
                torch.testing.assert_close(trimmed(**inputs), slim(**inputs), atol=1e-5, rtol=0)


@every_structure
def test_padding_changes_nothing(name, saved):
    model = load_checkpoint(saved(tiny(name))).model
    inputs = batch(name, lengths=(6, 12))
    with torch.no_grad():
        alone = model(**{key: value[:1, :6] for key, value in inputs.items()})
        torch.testing.assert_close(model(**inputs)[:1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["bert", "electra"])
def test_token_types_may_be_left_out(name, saved):
    model = load_checkpoint(saved(tiny(name))).model
    inputs = batch(name)
    untyped = {key: value for key, value in inputs.items() if key != "token_type_ids"}
    with torch.no_grad():
        zeros = model(**untyped, token_type_ids=torch.zeros_like(inputs["input_ids"]))
        assert torch.equal(model(**untyped), zeros)
        assert not torch.allclose(model(**inputs), zeros)


@every_structure
def test_streams_cached_at_different_lengths_join(name, saved):
    """Streams padded with zeros, as cached encodings are, answer as the whole batch does."""
    model = load_checkpoint(saved(tiny(name))).model
    inputs = batch(name, lengths=(6, 12))
    fixed, varying = split_at_candidates(model.rounds, ["En1"])
    with torch.no_grad():
        rows = [
            model.advance(model.prologue(**{key: value[[row], :length] for key, value in inputs.items()}), fixed)
            for row, length in enumerate((6, 12))
        ]
        streams = {stream: join_rows([row[stream] for row in rows]) for stream in rows[0]}
        logits = model.epilogue(model.advance(streams, varying))
        torch.testing.assert_close(logits, model(**inputs), atol=1e-5, rtol=0)


@every_structure
def test_a_skipped_layer_is_an_adapter_on_the_stream(name, saved):
    model = load_checkpoint(saved(tiny(name))).model
    slim = remove_layers(model, Plan(skip=(Skip(layer="En1", adapter_width=4),)))
    adapter, inputs = slim.blocks["En1"], batch(name)
    with torch.no_grad():
        first, _, last = ((round_,) for round_ in model.rounds)
        streams = model.advance(model.prologue(**inputs), first)
        expected = model.epilogue(model.advance(streams, last))
        assert torch.equal(slim(**inputs), expected)  # a fresh adapter adds nothing
        adapter.up_proj.weight.normal_()
        added = streams["hidden"] + Adapter.forward(adapter, streams["hidden"])
        expected = model.epilogue(model.advance(streams | {"hidden": added}, last))
        assert torch.equal(slim(**inputs), expected)
    assert slim.layers == ("En0", "En2")


@every_structure
def test_a_parallel_adapter_stands_beside_the_whole_layer(name, saved):
    folder, inputs = saved(tiny(name)), batch(name)
    plain = load_checkpoint(folder).model
    adapted = load_checkpoint(folder, transfer=Transfer(classes=3)).model
    assert adapted.dims.parallel_width == round(32 / 24)
    with torch.no_grad():
        assert torch.equal(adapted(**inputs), plain(**inputs))
        adapter = adapted.blocks["En0"].adapter
        adapter.up_proj.weight.normal_()
        streams = adapted.prologue(**inputs)
        beside = plain.advance(streams, plain.rounds[:1])["hidden"] + adapter(streams["hidden"])
        assert torch.equal(adapted.advance(streams, adapted.rounds[:1])["hidden"], beside)


@every_family
def test_writing_is_the_inverse_of_reading(name):
    family, library = FAMILIES[name], tiny(name)
    format = family.formats[0]
    state = library.state_dict()
    dims = format.read_dims(state, library.config.to_dict(), TASK)
    ours, origin = format.table(TASK).to_ours(state)
    model = family.build(dims, TASK)
    model.load_state_dict(ours)
    written = format.table(TASK).to_checkpoint(model.state_dict())
    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], state[key]) for key in state)
    assert {format.table(TASK).checkpoint_name(entry) for entry in ours} == set(origin.values())


@every_structure
def test_parallel_adapters_are_written_and_read(name):
    family = FAMILIES[name]
    format, table = family.formats[0], family.formats[0].table(TASK)
    dims = format.read_dims(tiny(name).state_dict(), tiny_config(name).to_dict(), TASK)
    model = family.build(dims.model_copy(update={"parallel_width": 5}), TASK)
    written = table.to_checkpoint(model.state_dict())
    assert format.read_dims(written, tiny_config(name).to_dict(), TASK).parallel_width == 5
    ours, _ = table.to_ours(written)
    assert ours.keys() == model.state_dict().keys()


@every_family
def test_dims_survive_json_and_rebuild_the_configuration(name):
    settings = {ACTIVATION.get(name, "hidden_act"): "relu"}
    config = tiny_config(name, classes=4, **settings)
    state = tiny(name, classes=4, **settings).state_dict()
    dims = FAMILIES[name].formats[0].read_dims(state, json.loads(config.to_json_string()), TASK)
    again = type(dims)(**json.loads(dims.model_dump_json()))
    assert again == dims
    older = {*config.to_dict()} - {*again.library.to_dict()}
    assert older <= {*dims.older_settings}
    assert again.library.to_dict() == {key: value for key, value in config.to_dict().items() if key not in older}
    assert (dims.hidden, dims.layers, dims.heads, dims.ffn, dims.text_vocabulary) == (32, 3, 4, 48, 50)
    assert (dims.classes, dims.images, dims.longest_text, dims.text_length) == (4, 0, 20, 20)


PUBLISHED = {  # parameters of the base models with a head of two classes
    "bert": 109_483_778,
    "roberta": 124_647_170,
    "xlm-roberta": 278_045_186,
    "camembert": 110_623_490,
    "electra": 109_483_778,
    "distilbert": 66_955_010,
    "mpnet": 109_488_002,
    "albert": 11_685_122,
    "deberta-v2": 184_423_682,
    "modernbert": 149_606_402,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_published_sizes(name, parameters):
    family = FAMILIES[name]
    dims = family.dims_type()
    with torch.device("meta"):
        model = family.build(dims, TASK)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert (dims.hidden, dims.longest_text, dims.text_length) == (768, 8192 if name == "modernbert" else 512, 128)
    assert dims.layers == {"distilbert": 6, "modernbert": 22}.get(name, 12)
    assert round(dims.hidden * family.parallel_fraction) == 32  # Table C


def test_every_text_family_is_compared_with_the_library():
    texts = {family.name for family in FAMILIES.values() if TASK in family.heads}
    assert texts == set(TINY) == set(PUBLISHED)


@every_family
def test_example_inputs_fit(name):
    family = FAMILIES[name]
    dims = family.dims_type(config={"model_type": name, **TINY[name]}, text_length=7)
    inputs = family.example_inputs(dims)
    assert tuple(inputs) == family.input_names
    assert all(value.shape == (1, 7) for value in inputs.values())
    with torch.no_grad():
        assert family.build(dims, TASK).eval()(**inputs).shape == (1, 2)


@every_family
def test_a_bare_backbone_gets_a_head(name, saved):
    library = tiny(name, AutoModel)
    loaded = load_checkpoint(saved(library), TASK, transfer=Transfer(classes=5))
    inputs = batch(name)
    with torch.no_grad():
        streams = loaded.model.prologue(**inputs)
        hidden = loaded.model.advance(streams, loaded.model.rounds)["hidden"]
        ours, theirs = loaded.model.epilogue.norm(hidden), library(**inputs).last_hidden_state
        valid = inputs["attention_mask"].bool()
        torch.testing.assert_close(ours[valid], theirs[valid], atol=1e-5, rtol=0)
        assert loaded.model(**inputs).shape == (3, 5)
    unread = any(key.startswith("pooler.") for key in library.state_dict()) and name not in ("bert", "albert")
    assert {key.split(".")[1] for key in loaded.leftovers} == ({"pooler"} if unread else set())


@every_family
def test_a_language_modelling_head_is_named_and_left_out(name, saved):
    loaded = load_checkpoint(saved(tiny(name, AutoModelForMaskedLM)), TASK, transfer=Transfer(classes=2))
    assert set(loaded.leftovers.values()) == {"head of another task (mlm)"}


def test_a_head_of_one_output_chooses_no_class(saved):
    with refused(InputError, "head-missing", "it is BertForSequenceClassification", "heads for: regression"):
        load_checkpoint(saved(tiny("bert", classes=1)), TASK)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"is_decoder": True}, "setting-not-supported", "is_decoder True"),
        (
            {"position_embedding_type": "relative_key"},
            "setting-not-supported",
            "position_embedding_type 'relative_key'",
        ),
        ({"num_hidden_layers": 2}, "model-does-not-fit-together", "says 2 layers"),
        ({"num_hidden_layers": 4}, "tensors-missing", "16 keys"),
        ({"num_attention_heads": 5}, "model-does-not-fit-together", "5 attention heads do not divide"),
        ({"intermediate_size": 64}, "tensors-misshapen", "(64, 32)"),
        ({"hidden_size": "large"}, "model-does-not-fit-together", "hidden_size"),
        ({"hidden_act": "unheard of"}, "model-does-not-fit-together", "cannot build its config.json: 'unheard of'"),
        ({"pad_token_id": 99}, "model-does-not-fit-together", "cannot build its config.json: Padding_idx"),
        ({"vocab_size": -3}, "model-does-not-fit-together", "negative dimension"),
        *(({"num_hidden_layers": count}, "model-does-not-fit-together", f"{count} layers") for count in (0, 2**31)),
        ({"hidden_size": 2**40, "num_attention_heads": 4}, "model-does-not-fit-together", "overflow"),
        *(
            ({name: 10**11}, "tensors-misshapen", 10**11)  # nothing of 10**11 rows was built, then
            for name in ("vocab_size", "intermediate_size", "max_position_embeddings", "type_vocab_size")
        ),
        ({"model_type": "bart"}, "model-generates", "model_type bart"),
        ({"architectures": ["BertForMultipleChoice"]}, "head-missing", "multiple-choice"),
        *(({"architectures": said}, "head-missing", f"is {said}") for said in (2**31, True)),
    ],
)
def test_settings_that_make_another_model_are_refused(settings, code, words, saved):
    folder = saved(tiny("bert"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    with refused(InputError, code, words) as error:
        load_checkpoint(folder)
    assert all(part in str(error.value) for part in ("found:", "expected:", "fix:"))


def test_dropout_and_settings_of_the_head_are_the_checkpoints(saved):
    model = load_checkpoint(saved(tiny("bert", classifier_dropout=0.4, hidden_dropout_prob=0.2))).model
    assert model.epilogue.pooler[1].p == 0.4
    assert model.prologue.embeddings.dropout.p == 0.2


class Positional(nn.Module):
    """The exporter names inputs by position."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs):
        return self.model(**dict(zip(self.names, inputs, strict=True)))


@pytest.mark.parametrize("name", slow_but(["roberta"], STRUCTURES))
def test_the_onnx_graph_answers_alike_at_any_batch_and_length(name, saved, tmp_path):
    model, family = load_checkpoint(saved(tiny(name))).model, FAMILIES[name]
    rows, length = torch.export.Dim("batch"), torch.export.Dim("length")
    traced = batch(name)
    torch.onnx.export(
        Positional(model, family.input_names).eval(),
        tuple(traced[each] for each in family.input_names),
        tmp_path / "model.onnx",
        input_names=list(family.input_names),
        dynamic_shapes=(tuple({0: rows, 1: length} for _ in family.input_names),),
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for lengths in ((9, 5, 12), (4,), (20, 3, 7, 1, 11)):
        inputs = batch(name, lengths, seed=len(lengths))
        (answered,) = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        with torch.no_grad():
            np.testing.assert_allclose(answered, model(**inputs).numpy(), atol=1e-4)


def test_bert_reads_128_tokens_where_it_could_read_more():
    assert BertDims().text_length == 128
    assert BertDims().longest_text == 512


def test_no_names_are_made_for_more_classes_than_there_can_be():
    with pytest.raises(ValidationError, match="classes"):
        FAMILIES["bert"].dims_type(classes=2**31)
