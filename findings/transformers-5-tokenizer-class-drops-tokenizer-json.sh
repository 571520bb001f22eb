#!/usr/bin/env bash
# transformers 5.23.0, tokenizers as it installs them
#
# AutoTokenizer takes from tokenizer.json no more than the vocabulary (and the merges) wherever it knows the class of the
# tokenizer, from tokenizer_config.json or from the model_type in config.json alone; the normaliser is built anew from
# the class's defaults. A cased BERT whose tokenizer.json says "lowercase": false is lower-cased, without a warning,
# unless tokenizer_config.json repeats do_lower_case: false. The tokenizers library, and transformers for a class of no
# model, go by tokenizer.json.
#
# Output seen, the ids of "Red" in a vocabulary of Red (5) and red (6):
#   tokenizers: [2, 5, 3]
#   config.json alone: BertTokenizer [2, 6, 3]
#   BertTokenizerFast: BertTokenizer [2, 6, 3]
#   BertTokenizer, do_lower_case false: BertTokenizer [2, 5, 3]
#   PreTrainedTokenizerFast: TokenizersBackend [2, 5, 3]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - 2> messages <<'PYTHON' | tee seen
import json
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

folder = Path("cased")
folder.mkdir()
words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Red", "red")
cased = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
cased.normalizer = normalizers.BertNormalizer(lowercase=False)
cased.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
cased.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
cased.save(str(folder / "tokenizer.json"))
(folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
print("tokenizers:", Tokenizer.from_file(str(folder / "tokenizer.json")).encode("Red").ids)


def show(name):
    opened = AutoTokenizer.from_pretrained(folder)
    print(f"{name}: {type(opened).__name__} {opened('Red')['input_ids']}")


show("config.json alone")
for name, settings in (
    ("BertTokenizerFast", {"tokenizer_class": "BertTokenizerFast"}),
    ("BertTokenizer, do_lower_case false", {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
    ("PreTrainedTokenizerFast", {"tokenizer_class": "PreTrainedTokenizerFast"}),
):
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    show(name)
PYTHON
diff seen - <<'EXPECTED'
tokenizers: [2, 5, 3]
config.json alone: BertTokenizer [2, 6, 3]
BertTokenizerFast: BertTokenizer [2, 6, 3]
BertTokenizer, do_lower_case false: BertTokenizer [2, 5, 3]
PreTrainedTokenizerFast: TokenizersBackend [2, 5, 3]
EXPECTED
! grep -i "lower\|case" messages
