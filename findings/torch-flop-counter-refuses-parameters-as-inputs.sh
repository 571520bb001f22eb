#!/usr/bin/env bash
# torch 2.13.0
#
# torch.utils.flop_counter.FlopCounterMode counts a forward pass in no_grad and in inference_mode. Where a module is
# called with a Parameter, as the encoder of DeBERTa hands its table of distances to a LayerNorm, the count in
# inference_mode ends in an AttributeError: the counter looks for the gradient function of an input that requires
# gradients, and in this mode there is none. In no_grad the same call is counted. A clone of the Parameter, made inside
# inference_mode, is counted there, too.
#
# Output seen:
#   no_grad, tensor: 64
#   no_grad, parameter: 64
#   inference_mode, tensor: 64
#   inference_mode, parameter: AttributeError
#   inference_mode, clone: 64
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

layer, table = nn.Linear(4, 4, bias=False), nn.Parameter(torch.ones(2, 4))
inputs = {"tensor": lambda: torch.ones(2, 4), "parameter": lambda: table, "clone": lambda: table.clone()}


def count(mode, given):
    try:
        with mode(), FlopCounterMode(display=False) as counter:
            layer(inputs[given]())
        return counter.get_total_flops()
    except AttributeError as error:
        return type(error).__name__


for mode, given in (
    (torch.no_grad, "tensor"),
    (torch.no_grad, "parameter"),
    (torch.inference_mode, "tensor"),
    (torch.inference_mode, "parameter"),
    (torch.inference_mode, "clone"),
):
    print(f"{mode.__name__}, {given}: {count(mode, given)}")
PYTHON
diff seen - <<'EXPECTED'
no_grad, tensor: 64
no_grad, parameter: 64
inference_mode, tensor: 64
inference_mode, parameter: AttributeError
inference_mode, clone: 64
EXPECTED
