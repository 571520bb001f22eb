"""Which head a checkpoint has: what config.json says counts; where it says nothing, the head's tensors do."""

import json

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    RobertaConfig,
    ViltConfig,
    ViltForImageAndTextRetrieval,
    ViltForImagesAndTextClassification,
    ViltForQuestionAnswering,
)

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.declared import task_of_class
from compressor.checkpoints.recognise import recognise
from compressor.errors import InputError
from tests.support.command_line import refused

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
TEXT = {"bert": BertConfig(**SIZES), "roberta": RobertaConfig(**SIZES)}
VILT = {
    "vqa": (ViltForQuestionAnswering, {"num_labels": 7}),
    "nlvr2": (ViltForImagesAndTextClassification, {"num_images": 2, "modality_type_vocab_size": 3}),
    "irtr": (ViltForImageAndTextRetrieval, {}),
}
NOTHING = pytest.mark.parametrize("said", [{}, {"architectures": None}, {"architectures": []}], ids=str)


def saved(model, folder, said):
    """Save a model whose config.json says this of its architecture, or nothing."""
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    (folder / "config.json").write_text(json.dumps({**config, **said}))
    return folder


@NOTHING
@pytest.mark.parametrize("name", TEXT)
def test_a_text_classifier_that_does_not_say_so(tmp_path, name, said):
    library = AutoModelForSequenceClassification.from_config(TEXT[name]).eval()
    model = load_checkpoint(saved(library, tmp_path, said)).model
    ids = {"input_ids": torch.tensor([[5, 7, 9]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    types = {"token_type_ids": torch.zeros_like(ids["input_ids"])} if name == "bert" else {}
    with torch.no_grad():
        torch.testing.assert_close(model(**ids, **types), library(**ids).logits, atol=1e-6, rtol=0)


@NOTHING
@pytest.mark.parametrize("task", VILT)
def test_a_vilt_whose_head_tells_its_task(tmp_path, task, said):
    kind, settings = VILT[task]
    config = ViltConfig(**SIZES, image_size=64, max_position_embeddings=12, **settings)
    found = recognise(saved(kind(config), tmp_path, said))
    assert (found.heads, found.tasks) == ((task,), (task,))
    assert load_checkpoint(found).model.task == task


@pytest.mark.parametrize("name", TEXT)
def test_a_language_model_has_the_head_it_has(tmp_path, name):
    AutoModelForMaskedLM.from_config(TEXT[name]).save_pretrained(tmp_path)
    found = recognise(tmp_path)
    assert (found.heads, found.tasks) == (("mlm",), ())
    with refused(InputError, "head-missing", "a sound model for mlm", "heads for: mlm"):
        load_checkpoint(found)


@pytest.mark.parametrize("kind", [AutoModelForQuestionAnswering, AutoModelForMultipleChoice])
@pytest.mark.parametrize("name", TEXT)
def test_a_head_of_another_kind_is_refused_where_it_says_so(tmp_path, name, kind):
    library = kind.from_config(TEXT[name])
    architecture = type(library).__name__
    for said in ([architecture], architecture):
        folder = saved(library, tmp_path, {"architectures": said})
        with refused(InputError, "head-missing", f"is {architecture}: a sound model for {task_of_class(architecture)}"):
            load_checkpoint(folder)


@pytest.mark.parametrize("kind", [AutoModelForTokenClassification, AutoModelForMultipleChoice])
@pytest.mark.parametrize("name", TEXT)
def test_a_head_of_another_kind_is_refused_where_it_says_nothing(tmp_path, name, kind):
    with pytest.raises(InputError) as error:
        load_checkpoint(saved(kind.from_config(TEXT[name]), tmp_path, {}))
    assert set(error.value.codes) <= {"tensors-missing", "tensors-misshapen", "head-missing"}
