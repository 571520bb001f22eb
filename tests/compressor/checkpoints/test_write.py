"""A trained model as others read it."""

import torch
from transformers import AutoModelForSequenceClassification

from compressor.checkpoints.build import load_checkpoint
from compressor.checkpoints.recognise import recognise
from compressor.checkpoints.write import save_public_checkpoint
from compressor.families import FAMILIES
from compressor.families.text_encoder.bert_families import BertDims

TASK = "text-classification"
SIZES = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 20,
}


def saved(folder, seed):
    torch.manual_seed(seed)
    dims = BertDims(config=SIZES, classes=2, text_length=8)
    model = FAMILIES["bert"].build(dims, TASK).eval()
    names = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    config = {**dims.config, "architectures": ["BertForSequenceClassification"], **names}
    save_public_checkpoint(model, folder, config)
    return model


def sentences():
    ids = torch.randint(1, 50, (3, 8), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}


def test_transformers_reads_the_folder_of_a_text_model(tmp_path):
    model = saved(tmp_path / "model", seed=1)
    library = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    with torch.inference_mode():
        torch.testing.assert_close(model(**sentences()), library(**sentences()).logits, rtol=1e-5, atol=1e-6)
    assert library.config.id2label == {0: "negative", 1: "positive"}


def test_das_reads_it_back_to_the_bit(tmp_path):
    model = saved(tmp_path / "model", seed=1)
    assert recognise(tmp_path / "model").labels == ("negative", "positive")
    again = load_checkpoint(tmp_path / "model").model.state_dict()
    expected = model.state_dict()
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[name], expected[name]) for name in expected)


def test_an_earlier_folder_is_replaced(tmp_path):
    first = saved(tmp_path / "model", seed=1)
    (tmp_path / "model" / "model.safetensors.index.json").write_text("{}")
    second = saved(tmp_path / "model", seed=2)
    again = load_checkpoint(tmp_path / "model").model
    weight = "epilogue.head.weight"
    assert torch.equal(again.state_dict()[weight], second.state_dict()[weight])
    assert not torch.equal(again.state_dict()[weight], first.state_dict()[weight])
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
