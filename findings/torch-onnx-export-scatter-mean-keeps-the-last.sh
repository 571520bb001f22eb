#!/usr/bin/env bash
# torch 2.13.0 (CPU), onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.31.1
#
# torch.onnx.export(dynamo=True) writes scatter_reduce with "mean" as a ScatterElements without a reduction: of the
# values that go to one place the last alone is kept, and what was there before is lost, whatever include_self says.
# The export gives no warning, and neither do the checker and ONNX Runtime. ONNX has no mean here; the older exporter
# (dynamo=False) refuses. It is how token merging is written down first (tokens that are alike become their mean), so
# that the graph of a vision encoder with merged tokens drops tokens in place of merging them. index_reduce, the same
# mean in another operator, is refused, and "sum" is right: divide it by a scattered count.
#
# That ONNX has no such mean is known (onnx/onnx: issue 5100), and that the older exporter refuses it (pytorch/pytorch:
# pull request 102048). Of graphs that answer otherwise no thread was found.
# das merges by a matrix product, whose weights are the sizes (compressor/token_merging/bipartite.py), and compares each
# export with the model: tests/exporters/graph/test_onnx_tools.py.
#
# Output seen, of tokens 1, 2, 3 and 6 that go to places 0, 0, 0 and 1 of [9, 9]:
#   mean: model [3.75, 7.5], graph [3.0, 6.0]; reduction none
#   mean without self: model [2.0, 6.0], graph [3.0, 6.0]; reduction none
#   sum: model [15.0, 15.0], graph [15.0, 15.0]; reduction add
#   index_reduce: ConversionError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1 numpy
cd "$work"
"$work/venv/bin/python" - 2> messages <<'PYTHON' | tee seen
import onnx
import onnxruntime
import torch
from torch import nn

TOKENS = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
PLACES = torch.tensor([[0, 0, 0, 1]])
BEFORE = torch.full((1, 2), 9.0)


class Scatter(nn.Module):
    def __init__(self, reduce, include_self=True):
        super().__init__()
        self.how = {"reduce": reduce, "include_self": include_self}

    def forward(self, before, tokens, places):
        return before.scatter_reduce(1, places, tokens, **self.how)


class IndexReduce(nn.Module):
    def forward(self, before, tokens, places):
        return before.index_reduce(1, places[0], tokens, "mean")


def show(name, module):
    given = (BEFORE, TOKENS, PLACES)
    try:
        model = torch.onnx.export(module.eval(), given, dynamo=True, verbose=False).model_proto
    except Exception as error:
        print(f"{name}: {type(error).__name__}")
        return
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {entry.name: x.numpy() for entry, x in zip(session.get_inputs(), given)})
    scatters = [node for node in model.graph.node if node.op_type == "ScatterElements"]
    reduction = {entry.name: entry.s.decode() for entry in scatters[-1].attribute if entry.name == "reduction"}
    expected = module(*given)
    print(
        f"{name}: model {expected[0].tolist()}, graph {found[0].tolist()}; reduction {reduction.get('reduction', 'none')}"
    )


show("mean", Scatter("mean"))
show("mean without self", Scatter("mean", include_self=False))
show("sum", Scatter("sum"))
show("index_reduce", IndexReduce())
PYTHON
diff seen - <<'EXPECTED'
mean: model [3.75, 7.5], graph [3.0, 6.0]; reduction none
mean without self: model [2.0, 6.0], graph [3.0, 6.0]; reduction none
sum: model [15.0, 15.0], graph [15.0, 15.0]; reduction add
index_reduce: ConversionError
EXPECTED
! grep -i "scatter\|mean\|reduc" messages
