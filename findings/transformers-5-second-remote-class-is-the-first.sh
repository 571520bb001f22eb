#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0 (CPU)
#
# An Auto class keeps the first class that it loads with trust_remote_code=True under the class of the config, if the
# library has none there, and takes a kept class for one that the user has registered. So a second folder with code of
# its own and a config of the same class is loaded into the first folder's class, without a warning where the tensors
# have the same names; which answer a folder gives follows from what the process has loaded before. Code that brings a
# config class of its own for each model class is safe.
#
# Of this no thread was found. Pull request 38474 of huggingface/transformers keeps remote code from replacing a class
# of the library, and issue 46661 reports an AttributeError on a second load.
# What das saves has a config class for each model class: tests/compressor/hub/test_hub_folder.py loads all in one
# process.
#
# Output seen, of two folders with the same weights, whose own code multiplies the logits by 1 and by -1:
#   two alone: Two, -1 times
#   one, then two: One, 1 times; One, 1 times
#   two, then one: Two, -1 times; Two, -1 times
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
cd "$work"
cat > load.py <<'PYTHON'
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForVisualQuestionAnswering, BertConfig, BertForSequenceClassification

CODE = """
from transformers import BertForSequenceClassification


class {name}(BertForSequenceClassification):
    def forward(self, *args, **kwargs):
        outputs = super().forward(*args, **kwargs)
        outputs.logits = {factor} * outputs.logits
        return outputs
"""
sizes = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
torch.manual_seed(0)
plain, ids = BertForSequenceClassification(BertConfig(**sizes)).eval(), torch.tensor([[2, 5, 3]])
for folder, factor in (("one", 1), ("two", -1)):
    plain.save_pretrained(folder)
    name, settings = folder.title(), Path(folder, "config.json")
    code = {"auto_map": {"AutoModelForVisualQuestionAnswering": f"{folder}_code.{name}"}}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | code))
    Path(folder, f"{folder}_code.py").write_text(CODE.format(name=name, factor=factor))


def load(folder):
    model = AutoModelForVisualQuestionAnswering.from_pretrained(folder, trust_remote_code=True).eval()
    factor = (model(ids).logits / plain(ids).logits).mean().item()
    return f"{type(model).__name__}, {factor:.0f} times"


title, *folders = sys.argv[1:]
print(f"{title}: {'; '.join(map(load, folders))}")
PYTHON
export HF_HUB_OFFLINE=1 HF_HOME="$work/home" HF_HUB_DISABLE_PROGRESS_BARS=1
for order in "two" "one two" "two one"; do
    title=${order/ /, then }
    [ "$order" != two ] || title="two alone"
    # shellcheck disable=SC2086
    "$work/venv/bin/python" load.py "$title" $order 2>> messages
done | tee seen
diff seen - <<'EXPECTED'
two alone: Two, -1 times
one, then two: One, 1 times; One, 1 times
two, then one: Two, -1 times; Two, -1 times
EXPECTED
! grep -i "warning\|report\|class" messages
