#!/usr/bin/env bash
# peft 0.21.2 with transformers 5.23.0, torch 2.13.0
#
# Prefix tuning puts keys and values in front of those of every attention; the text keeps its place (Li and Liang, ACL
# 2021). With peft on BERT, RoBERTa and ELECTRA that classify (TaskType.SEQ_CLS) the text is moved: its positions, learnt
# in pre-training, begin behind the virtual tokens, in silence. So frozen embeddings are read elsewhere than they were
# trained, and a model of 12 positions takes 9 tokens with a prefix of 3: its longest text raises a RuntimeError of sizes.
#
# Output seen:
#   bert: positions 0-8, with the prefix 3-11; 12 tokens: fine, with the prefix RuntimeError
#   roberta: positions 2-10, with the prefix 5-13; 12 tokens: fine, with the prefix RuntimeError
#   electra: positions 0-8, with the prefix 3-11; 12 tokens: fine, with the prefix RuntimeError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2
cd "$work"
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - 2> messages <<'PYTHON' | tee seen
import torch
from peft import PrefixTuningConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification, BertConfig, ElectraConfig, RobertaConfig

SIZES = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


@torch.no_grad()
def run(model, tokens):
    try:
        model(input_ids=torch.full((1, tokens), 5), attention_mask=torch.ones(1, tokens, dtype=torch.long))
    except RuntimeError as error:
        return type(error).__name__
    return "fine"


for config in (
    BertConfig(**SIZES, max_position_embeddings=12),
    RobertaConfig(**SIZES, max_position_embeddings=14),
    ElectraConfig(**SIZES, embedding_size=32, max_position_embeddings=12),
):
    model, read = AutoModelForSequenceClassification.from_config(config).eval(), []
    positions = model.base_model.embeddings.position_embeddings
    positions.register_forward_hook(lambda module, inputs, output: read.append(inputs[0].flatten().tolist()))
    alone, full = run(model, 9), run(model, 12)
    tuned = get_peft_model(model, PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=3)).eval()
    first, moved = read[0], (run(tuned, 9), read[-1])[1]
    print(
        f"{config.model_type}: positions {first[0]}-{first[-1]}, with the prefix {moved[0]}-{moved[-1]};",
        f"12 tokens: {full}, with the prefix {run(tuned, 12)}",
    )
PYTHON
diff seen - <<'EXPECTED'
bert: positions 0-8, with the prefix 3-11; 12 tokens: fine, with the prefix RuntimeError
roberta: positions 2-10, with the prefix 5-13; 12 tokens: fine, with the prefix RuntimeError
electra: positions 0-8, with the prefix 3-11; 12 tokens: fine, with the prefix RuntimeError
EXPECTED
! grep -i "position" messages
