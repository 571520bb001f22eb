"""int8 in ONNX Runtime on this CPU: every form that was tried, how fast it runs, and how far off its logits are.

    python -m benchmarks.runtimes.int8_forms --work work-int8            # MiniLM and bert-base; an hour
    python -m benchmarks.runtimes.int8_forms --work work-int8 --small    # MiniLM alone, few rounds

Random weights, exactly simplified as das exports them. All forms of a model take turns in one process, on all cores,
first as the machine is, then beside a process that keeps one core busy. Files stay in the work folder and are used
again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.results import write_section
from benchmarks.runtimes.int8_products import measure_products
from compressor.device import cpu_instructions
from compressor.families import FAMILIES
from compressor.models.steps import StepModel
from compressor.models.trims.simplify import trim
from exporters.graph.attention import FORMS, AttentionForm
from exporters.graph.onnx import export_onnx
from exporters.graph.quantise import find_lookups, quantise_dynamic, quantise_static, round_tables
from profiles.formatting import format_markdown_table

MINILM = {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
MODELS: Mapping[str, Mapping[str, Any]] = {"MiniLM-6": MINILM, "bert-base": {"model_type": "bert"}}
SIZES = {"MiniLM-6": ((1, 40), (8, 128)), "bert-base": ((1, 128), (8, 128))}
CALLS = 512 * 400  # tokens times calls of a form
DAS = {"session.force_spinning_stop": "1", "session.intra_op.spin_duration_us": "100"}
BEFORE = {"session.force_spinning_stop": "1"}
SUM_AND_NORM = ("SkipLayerNormFusion",)


def _choose_in_all_scores(query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
    scores = (query * scale) @ key.transpose(-2, -1)
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) @ value


CHOSEN = AttentionForm("chosen", _choose_in_all_scores)


def as_it_is(model: Any) -> None:
    """Leave the graph alone."""


def with_zero_points(model: Any) -> None:
    """Give every channel of the weights a zero point of 0, as ONNX Runtime's own quantiser does."""
    widths = {weight.name: weight.dims[-1] for weight in model.graph.initializer if weight.dims}
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            name = f"{node.input[1]}_zero_point"
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(widths[node.input[1]], np.int8), name))
            node.input.append(name)


def fix_scales(model: Any, feeds: Mapping[str, np.ndarray]) -> None:
    """Give activations the scales that they have on ``feeds``, for good."""
    dynamic = [node for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"]
    wanted = [name for node in dynamic for name in node.output[1:]]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
    values = open_file(shown.SerializeToString(), {}).run(wanted, dict(feeds))
    model.graph.initializer.extend(map(numpy_helper.from_array, values, wanted))
    for node in dynamic:
        made = helper.make_node("QuantizeLinear", [node.input[0], *node.output[1:]], node.output[:1], node.name)
        node.CopyFrom(made)


def multiply_attention_in_int8(model: Any) -> None:
    """Make products of two activations int8; the second is moved to signed numbers, which are twice as fast."""
    constants = {weight.name for weight in model.graph.initializer}
    nodes: list[Any] = []
    for node in model.graph.node:
        if node.op_type != "MatMul" or constants & set(node.input):
            nodes.append(node)
            continue
        (a, b), (y,) = node.input, node.output
        for x in (a, b):
            nodes.append(helper.make_node("DynamicQuantizeLinear", [x], [f"{x}_{y}_{part}" for part in "qsz"]))
        for part in "qz":
            flipped = f"{b}_{y}_{part}_flipped"
            nodes.append(helper.make_node("BitwiseXor", [f"{b}_{y}_{part}", "flip"], [flipped]))
            nodes.append(helper.make_node("Cast", [flipped], [f"{b}_{y}_{part}_signed"], to=TensorProto.INT8))
        operands = [f"{a}_{y}_q", f"{b}_{y}_q_signed", f"{a}_{y}_z", f"{b}_{y}_z_signed"]
        nodes += [
            helper.make_node("MatMulInteger", operands, [f"{y}_integer"]),
            helper.make_node("Cast", [f"{y}_integer"], [f"{y}_cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{a}_{y}_s", f"{b}_{y}_s"], [f"{y}_scale"]),
            helper.make_node("Mul", [f"{y}_cast", f"{y}_scale"], [y]),
        ]
    model.graph.initializer.append(numpy_helper.from_array(np.array(128, np.uint8), "flip"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def join_projections(model: Any) -> None:
    """Make one product of those three that read the same: queries, keys and values. Then split what it returns."""
    graph = model.graph
    weights = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    products: dict[str, list[int]] = {}
    for place, node in enumerate(graph.node):
        if node.op_type == "MatMul" and node.input[1] in weights:
            products.setdefault(node.input[0], []).append(place)
    nodes: dict[int, list[Any]] = {place: [node] for place, node in enumerate(graph.node)}
    for x, places in products.items():
        if len(places) != 3:
            continue
        name = f"{x}_joined"
        joined = np.concatenate([weights[graph.node[place].input[1]] for place in places], 1)
        width = numpy_helper.from_array(np.array([joined.shape[1] // 3] * 3), f"{name}_widths")
        graph.initializer.extend((numpy_helper.from_array(joined, f"{name}_weight"), width))
        product = helper.make_node("MatMul", [x, f"{name}_weight"], [f"{name}_product"], name)
        product.metadata_props.extend(graph.node[places[0]].metadata_props)
        parts = [graph.node[place].output[0] for place in places]
        split = helper.make_node("Split", [f"{name}_product", f"{name}_widths"], parts, f"{name}_split", axis=-1)
        nodes |= {place: [] for place in places} | {places[0]: [product, split]}
    kept = [node for place in sorted(nodes) for node in nodes[place]]
    del graph.node[:]
    graph.node.extend(kept)


def dynamic(source: Path, target: Path, before: Callable[[Any], None], after: Callable[[Any], None]) -> None:
    """Quantise as das does, between two changes of the graph."""
    changed = onnx.load(source)
    before(changed)
    onnx.save(changed, target)
    quantise_dynamic(target, target)
    quantised = onnx.load(target)
    after(quantised)
    onnx.save(quantised, target)


def qdq(source: Path, target: Path, feeds: Mapping[str, np.ndarray]) -> None:
    """Q/DQ pairs, as das writes them for TensorRT."""
    quantise_static(source, target, {name: torch.from_numpy(x) for name, x in feeds.items()})


def of_onnxruntime(source: Path, target: Path) -> None:
    """ONNX Runtime's own dynamic quantiser, with its defaults."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, target)


def weight_only(source: Path, target: Path) -> None:
    """``MatMulNBits`` of 8 bits in blocks of 128, computed in int8, and das's embeddings."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(source)
    round_tables(model, find_lookups(model))
    quantiser = MatMulNBitsQuantizer(model, bits=8, block_size=128, is_symmetric=True, accuracy_level=4)
    quantiser.process()
    onnx.save(quantiser.model.model, target)


@dataclass(frozen=True)
class Form:
    """One way to run the model in int8: how its file is made, and the session's settings."""

    name: str
    write: Callable[[Path, Path], None]
    settings: Mapping[str, str] = field(default_factory=lambda: DAS)
    disabled: tuple[str, ...] = SUM_AND_NORM
    attention: AttentionForm = FORMS["composed"]
    threads: int = 0


PLAIN = partial(dynamic, before=as_it_is, after=as_it_is)


def forms_of(feeds: Mapping[str, np.ndarray]) -> tuple[Form, ...]:
    """All forms; the first is what das exported before any of this was tried, the others differ from the second."""
    zeros = partial(dynamic, before=as_it_is, after=with_zero_points)
    fixed = partial(dynamic, before=as_it_is, after=partial(fix_scales, feeds=feeds))
    return (
        Form("before: masks chosen, zero points, long spinning", zeros, BEFORE, (), CHOSEN),
        Form("das: masks added, no zero points, short spinning", PLAIN),
        Form("long spinning", PLAIN, BEFORE),
        Form("no spinning", PLAIN, {"session.intra_op.allow_spinning": "0"}),
        Form("dynamic_block_base 4", PLAIN, {**DAS, "session.dynamic_block_base": "4"}),
        Form("one thread", PLAIN, threads=1),
        Form("masks chosen in all scores", PLAIN, attention=CHOSEN),
        Form("a zero point for each channel", zeros),
        Form("fixed scales of activations", fixed),
        Form("queries, keys, values in one product", partial(dynamic, before=join_projections, after=as_it_is)),
        Form("attention products in int8", partial(dynamic, before=as_it_is, after=multiply_attention_in_int8)),
        Form("attention fused (`MultiHeadAttention`)", PLAIN, attention=FORMS["fused"]),
        Form("Q/DQ pairs, signed, fixed scales", partial(qdq, feeds=feeds)),
        Form("`MatMulNBits`, 8 bits, accuracy level 4", weight_only),
        Form("ONNX Runtime's `quantize_dynamic`", of_onnxruntime),
        Form("float32", copy_file),
        Form("float32, sum and norm in one kernel", copy_file, disabled=()),
    )


def copy_file(source: Path, target: Path) -> None:
    """Take the float file."""
    target.write_bytes(source.read_bytes())


def open_file(model: Any, settings: Mapping[str, str], disabled: tuple[str, ...] = (), threads: int = 0) -> Any:
    """A session on the CPU, with as many threads as PyTorch has, or ``threads``."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or torch.get_num_threads()
    for name, value in settings.items():
        options.add_session_config_entry(name, value)
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled)
    )


def build(config: Mapping[str, Any]) -> StepModel:
    """A classifier with random weights."""
    torch.manual_seed(0)
    family = FAMILIES["bert"]
    return trim(family.build(family.dims_type(config=config), "text-classification").eval())


def feeds_of(model: StepModel, rows: int, length: int) -> dict[str, np.ndarray]:
    """Random texts without padding, by input."""
    made = FAMILIES["bert"].example_inputs(model.dims)
    words = np.random.default_rng(0).integers(1000, model.dims.config["vocab_size"], (rows, length))
    feeds = {name: np.ones((rows, length), np.int64) for name in made}
    return feeds | {"input_ids": words, "token_type_ids": np.zeros_like(words)}


def prepare(model: StepModel, name: str, work: Path) -> dict[str, tuple[Form, Path]]:
    """The file of every form, by its name; made where it is missing."""
    given, made = FAMILIES["bert"].example_inputs(model.dims), {}
    for number, form in enumerate(forms_of(feeds_of(model, 4, 128))):
        source = work / f"{name}.{form.attention.name}.onnx"
        if not source.exists():
            export_onnx(model, source, given, form=form.attention)
        target = source.with_suffix(f".{number}.onnx")
        if not target.exists():
            form.write(source, target)
        made[form.name] = (form, target)
        print(f"{name}: {form.name}, {target.stat().st_size / 1e6:.1f} MB", file=sys.stderr, flush=True)
    return made


@contextmanager
def busy_core() -> Iterator[None]:
    """Beside a process that never waits."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def take_turns(sessions: Mapping[str, Any], feeds: Mapping[str, np.ndarray], rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of every call, (rounds,), by form."""
    spent: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds + 1):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(None, feeds)
            spent[name].append(1e3 * (time.perf_counter() - started))
    return {name: np.array(calls[1:]) for name, calls in spent.items()}


def table(
    model: StepModel, name: str, size: tuple[int, int], files: Mapping[str, tuple[Form, Path]], calls: int
) -> str:
    """Sizes, errors, times and speeds over the first form, of one model at one size."""
    feeds, rounds = feeds_of(model, *size), max(5, calls // (size[0] * size[1]))
    sessions = {
        label: open_file(path, form.settings, form.disabled, form.threads) for label, (form, path) in files.items()
    }
    logits = {label: session.run(None, feeds)[0] for label, session in sessions.items()}
    alone = take_turns(sessions, feeds, rounds)
    with busy_core():
        beside = take_turns(sessions, feeds, rounds)
    first, exact = next(iter(files)), logits["float32"]
    rows = []
    for label, (_, path) in files.items():
        off = float(np.linalg.norm(logits[label] - exact) / np.linalg.norm(exact))
        cells = [label, f"{path.stat().st_size / 1e6:.1f}", f"{off:.1e}"]
        for calls_of in (alone, beside):
            cells += [f"{np.median(calls_of[label]):.1f}", f"{np.median(calls_of[first] / calls_of[label]):.2f}"]
        rows.append(tuple(cells))
    header = ("", "MB", "logits off by", "ms", "faster", "ms, a core taken", "faster")
    return f"**{name}, {size[0]} x {size[1]} tokens**, {rounds} rounds:\n\n{format_markdown_table(header, rows)}"


def main() -> None:
    """Make the files, time them, and write the section of docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the files")
    parser.add_argument("--small", action="store_true", help="MiniLM alone, few rounds")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    parts = []
    for name in list(MODELS)[: 1 if arguments.small else None]:
        model = build(MODELS[name])
        files = prepare(model, name, arguments.work)
        parts += [table(model, name, size, files, CALLS // (10 if arguments.small else 1)) for size in SIZES[name]]
    text = (
        f"Random weights, {torch.get_num_threads()} threads, CPU: {cpu_instructions()}. ms are medians of calls in "
        "turns, in one process; faster: the median over rounds of the first form's time over this. The second row "
        "is what das does now; those below it differ from it in what they name. A core taken: beside a process that "
        "never waits. Errors are of the logits, in norms of the float32 graph's."
    )
    write_section("int8-forms", "int8 in ONNX Runtime: what was tried", "\n\n".join((text, *parts, measure_products())))


if __name__ == "__main__":
    main()
