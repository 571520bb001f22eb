#!/usr/bin/env bash
# torch 2.13.0 (CPU), onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.31.1
#
# Where a model does not take every size of a Dim in dynamic_shapes, torch.export.export refuses and suggests other
# shapes. torch.onnx.export(dynamo=True) reads the suggestion out of that message and exports once more with it, without
# an exception or a warning that says so. A suggested range is in no graph, so the runtime does not know it.
# - len(x) writes the size of the example into the graph, where x.shape[0] does not; the runtime refuses other sizes.
# - A choice by a size keeps the side of the example, along an axis that varies in the graph: at a size of the other
#   side the runtime gives another answer than the model.
# - So it does where two lengths are compared, which become one.
# A Dim without a name is no way out. With Dim.AUTO torch.export guards the 2 of len(x) in its own program; the graph
# takes 3 rows, and divides by 2. With Dim.DYNAMIC the axis of len(x) varies rightly, but torch.export takes the choice
# as well. Running a graph at other sizes tells.
#
# That suggestions are followed is meant (pytorch/pytorch: pull request 134976, issue 136210), a batch that became fixed
# is reported (issue 148886), and that len(x) is a number is known (pull request 185804). Of graphs that then answer
# otherwise no thread was found.
# das refuses an axis that has become one size (axis-fixed), and compares each export with the model at other batch
# sizes and at the shortest text: tests/exporters/graph/test_onnx_tools.py.
#
# Output seen, of exports with two rows of 8, for inputs of ones:
#   len(x): torch.export suggests batch = 2
#     inputs [[2, 8]], at [(3, 8)]: model [2.67, 2.67, 2.67], graph InvalidArgument
#   x.shape[0]: torch.export exports
#     inputs [['batch', 8]], at [(3, 8)]: model [2.67, 2.67, 2.67], graph [2.67, 2.67, 2.67]
#   choice: torch.export suggests length = Dim('length', min=5)
#     inputs [[2, 'length']], at [(2, 3)]: model [3.0, 3.0], graph [1.0, 1.0]
#   two lengths: torch.export suggests other = length
#     inputs [[2, 'length'], [2, 'length']], at [(2, 8), (2, 3)]: model [5.0, 5.0], graph [11.0, 11.0]
#   len(x), DYNAMIC: torch.export refuses
#     inputs [['axis', 8]], at [(3, 8)]: model [2.67, 2.67, 2.67], graph [2.67, 2.67, 2.67]
#   choice, DYNAMIC: torch.export exports
#     inputs [[2, 'axis']], at [(2, 3)]: model [3.0, 3.0], graph [1.0, 1.0]
#   len(x), AUTO: torch.export exports
#     inputs [['axis', 8]], at [(3, 8)]: model [2.67, 2.67, 2.67], graph [4.0, 4.0, 4.0]
#   len(x), AUTO, program of torch.export at [(3, 8)]: Guard failed: x.size()[0] == 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1 numpy
cd "$work"
"$work/venv/bin/python" - 2> messages <<'PYTHON' | tee seen
import onnxruntime
import torch
from torch import nn
from torch.export import Dim


class Length(nn.Module):
    def forward(self, x):
        return x.sum(1) / len(x)


class Shape(nn.Module):
    def forward(self, x):
        return x.sum(1) / x.shape[0]


class Choice(nn.Module):
    """The means of long rows, the sums of short ones."""

    def forward(self, x):
        return x.mean(1) if x.shape[1] > 4 else x.sum(1)


class TwoLengths(nn.Module):
    """The sums of rows of one length; of two lengths, the differences."""

    def forward(self, x, y):
        return x.sum(1) + y.sum(1) if x.shape[1] == y.shape[1] else x.sum(1) - y.sum(1)


def refusal(module, example, axes):
    """Return what torch.export does, or suggests."""
    try:
        torch.export.export(module, example, dynamic_shapes=axes)
    except torch._dynamo.exc.UserError as error:
        _, suggests, rest = str(error).partition("Suggested fixes:")
        return f"suggests {rest.splitlines()[1].strip()}" if suggests else "refuses"
    return "exports"


def answer(session, inputs):
    """Return what the graph makes of the inputs, or the name of the runtime's error."""
    try:
        (values,) = session.run(None, {entry.name: x.numpy() for entry, x in zip(session.get_inputs(), inputs)})
    except Exception as error:
        return type(error).__name__
    return [round(value, 2) for value in values.tolist()]


def show(name, module, axes, *sizes):
    """Export ``module`` with rows of 8, and compare the graph with it at other sizes."""
    module, example = module.eval(), tuple(torch.ones(2, 8) for _ in axes)
    program = torch.onnx.export(module, example, dynamic_shapes=axes, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    named = ("batch", "length")
    shapes = [
        [size if size in named or isinstance(size, int) else "axis" for size in entry.shape]
        for entry in session.get_inputs()
    ]
    inputs = tuple(torch.ones(size) for size in sizes)
    expected = [round(value, 2) for value in module(*inputs).tolist()]
    print(f"{name}: torch.export {refusal(module, example, axes)}")
    print(f"  inputs {shapes}, at {list(sizes)}: model {expected}, graph {answer(session, inputs)}")


batch, length, other = Dim("batch"), Dim("length"), Dim("other")
show("len(x)", Length(), ({0: batch},), (3, 8))
show("x.shape[0]", Shape(), ({0: batch},), (3, 8))
show("choice", Choice(), ({1: length},), (2, 3))
show("two lengths", TwoLengths(), ({1: length}, {1: other}), (2, 8), (2, 3))
show("len(x), DYNAMIC", Length(), ({0: Dim.DYNAMIC},), (3, 8))
show("choice, DYNAMIC", Choice(), ({1: Dim.DYNAMIC},), (2, 3))
show("len(x), AUTO", Length(), ({0: Dim.AUTO},), (3, 8))
try:
    torch.export.export(Length(), (torch.ones(2, 8),), dynamic_shapes=({0: Dim.AUTO},)).module()(torch.ones(3, 8))
except AssertionError as error:
    print("len(x), AUTO, program of torch.export at [(3, 8)]:", str(error).splitlines()[0])
PYTHON
diff seen - <<'EXPECTED'
len(x): torch.export suggests batch = 2
  inputs [[2, 8]], at [(3, 8)]: model [2.67, 2.67, 2.67], graph InvalidArgument
x.shape[0]: torch.export exports
  inputs [['batch', 8]], at [(3, 8)]: model [2.67, 2.67, 2.67], graph [2.67, 2.67, 2.67]
choice: torch.export suggests length = Dim('length', min=5)
  inputs [[2, 'length']], at [(2, 3)]: model [3.0, 3.0], graph [1.0, 1.0]
two lengths: torch.export suggests other = length
  inputs [[2, 'length'], [2, 'length']], at [(2, 8), (2, 3)]: model [5.0, 5.0], graph [11.0, 11.0]
len(x), DYNAMIC: torch.export refuses
  inputs [['axis', 8]], at [(3, 8)]: model [2.67, 2.67, 2.67], graph [2.67, 2.67, 2.67]
choice, DYNAMIC: torch.export exports
  inputs [[2, 'axis']], at [(2, 3)]: model [3.0, 3.0], graph [1.0, 1.0]
len(x), AUTO: torch.export exports
  inputs [['axis', 8]], at [(3, 8)]: model [2.67, 2.67, 2.67], graph [4.0, 4.0, 4.0]
len(x), AUTO, program of torch.export at [(3, 8)]: Guard failed: x.size()[0] == 2
EXPECTED
! grep -i "constraint[^s]\|specializ\|suggest" messages
