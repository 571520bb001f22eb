"""Models that das has no family or no task for: what each is said to be, from its config.json alone."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertConfig,
    RobertaConfig,
)

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.recognise import choose_task, recognise
from compressor.checkpoints.sizes import Transfer
from compressor.errors import InputError
from tests.support.command_line import das, refused

DECLARE, OTHER, TASK = "docs/add-a-family.md", "give an encoder", "docs/add-a-task.md"
GENERATING = dict.fromkeys(
    (
        ("llama", "LlamaForSequenceClassification"),
        ("gpt2", "GPT2LMHeadModel"),
        ("qwen3", "Qwen3ForCausalLM"),
        ("gemma", "GemmaForCausalLM"),
        ("t5", "T5ForConditionalGeneration"),
        ("bart", "BartForSequenceClassification"),
        ("llava", "LlavaForConditionalGeneration"),
        ("qwen2_vl", "Qwen2VLForConditionalGeneration"),
        ("florence2", "Florence2ForConditionalGeneration"),
        ("whisper", "WhisperForConditionalGeneration"),
    ),
    ("model-generates", "which generates", OTHER),
)
UNKNOWN = {
    # An encoder of text: a declaration away.
    ("deberta", "DebertaForSequenceClassification"): ("family-undeclared", "an encoder of text", DECLARE),
    ("nystromformer", "NystromformerForMaskedLM"): ("family-undeclared", "an encoder of text", DECLARE),
    ("roformer", "RoFormerForTokenClassification"): ("family-undeclared", "a task of token-classification", TASK),
    **GENERATING,  # out of reach
    # Other transformers: a family and a task away.
    ("beit", "BeitForImageClassification"): ("unknown-model", "a transformer for image-classification", TASK),
    ("ijepa", "IJepaForImageClassification"): ("unknown-model", "a transformer for image-classification", TASK),
    ("yolos", "YolosForObjectDetection"): ("unknown-model", "a transformer for object-detection", TASK),
    # No transformers.
    ("resnet", "ResNetForImageClassification"): ("unknown-model", "without the attention layers", OTHER),
    ("convnext", "ConvNextForImageClassification"): ("unknown-model", "without the attention layers", OTHER),
    ("of-my-own", "MyModel"): ("unknown-model", "neither das nor transformers", DECLARE),
}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 60}
TEXT = {"bert": BertConfig(**SIZES), "roberta": RobertaConfig(**SIZES)}
OTHER_HEADS = {
    "multiple-choice": (AutoModelForMultipleChoice, {}),
    "question-answering": (AutoModelForQuestionAnswering, {}),
    "mlm": (AutoModelForMaskedLM, {}),
}


@pytest.mark.parametrize(("kind", "architecture"), UNKNOWN)
def test_a_model_of_no_family_is_said_to_be_what_it_is(tmp_path, kind, architecture):
    code, what, fix = UNKNOWN[kind, architecture]
    settings = {} if kind == "of-my-own" else AutoConfig.for_model(kind).to_diff_dict()
    (tmp_path / "config.json").write_text(json.dumps(settings | {"model_type": kind, "architectures": [architecture]}))
    said = f"is {architecture}, of model_type {kind}"
    with refused(InputError, code, said, what, fix) as error:
        recognise(tmp_path)  # without a file of weights: they are not read
    assert "cross_modal" not in str(error.value) and "damaged" not in str(error.value)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("head", OTHER_HEADS)
def test_a_head_of_another_task_is_named_and_can_be_replaced(tmp_path, head, name):
    kind, settings = OTHER_HEADS[head]
    kind.from_config(type(TEXT[name])(**SIZES, **settings)).save_pretrained(tmp_path)
    found = recognise(tmp_path)
    assert (found.heads, found.tasks) == ((head,), ())
    for task in (None, "text-classification"):
        with refused(InputError, "head-missing", f"a sound model for {head}", "--adapt --task text-classification"):
            choose_task(found, task)
    inspected = json.loads(das("inspect", tmp_path, "--json").stdout)
    assert inspected["heads"] == [{"task": head, "compressible": False}]
    assert {reason for reason in inspected["leftovers"] if reason.startswith("head")} == {
        f"head of another task ({head})"
    }
    assert load_checkpoint(found, transfer=Transfer(classes=2)).model.dims.classes == 2


@pytest.mark.parametrize("name", TEXT)
def test_a_backbone_without_a_head_gets_one(tmp_path, name):
    AutoModel.from_config(TEXT[name], add_pooling_layer=name == "bert").save_pretrained(tmp_path)
    assert das("inspect", tmp_path).exit_code == 0
    with refused(InputError, "head-missing", "without a head", "--adapt --task text-classification"):
        choose_task(recognise(tmp_path), None)
    assert choose_task(recognise(tmp_path), None, adapt=True) == "text-classification"


def test_a_head_of_one_output_that_nothing_describes_is_no_damage(tmp_path):
    AutoModelForSequenceClassification.from_config(BertConfig(**SIZES, num_labels=1)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for setting in ("architectures", "id2label", "label2id"):
        config.pop(setting, None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with refused(InputError, "head-missing", "a head of one output", "--adapt --task text-classification"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("config", "code", "values"),
    [
        ({"model_type": "bert"}, "tensors-missing", ("is a bert by its config.json", "x.weight", "save_pretrained")),
        ({"architecture": "resnet50"}, "unknown-model", ("names no model_type", "x.weight")),
    ],
)
def test_tensors_that_config_json_does_not_explain(tmp_path, config, code, values):
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"x.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with refused(InputError, code, *values):
        recognise(tmp_path)
