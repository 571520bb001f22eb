"""One int8 product in ONNX Runtime, with weights of 8 bits, of 7 bits and unsigned: are its sums exact, how fast is it.

A part of ``benchmarks.runtimes.int8_forms``. Without VNNI or AMX, products of uint8 activations and int8 weights are
added in 16 bits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from compressor.device import cpu_instructions
from profiles.formatting import format_markdown_table

ROWS, WIDTH, INNER = 320, 384, 1536
ROUNDS = 200
OPTION = "session.x64quantprecision"


def session(weights: np.ndarray, zero: int, **entries: str) -> onnxruntime.InferenceSession:
    """A session of one thread for activations (rows, WIDTH) uint8 by ``weights``, whose zero point is ``zero``."""
    constants = {"b": weights, "a zero": np.array(128, np.uint8), "b zero": np.array(zero, weights.dtype)}
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b", "a zero", "b zero"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, ["rows", WIDTH])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, ["rows", INNER])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name, value in entries.items():
        options.add_session_config_entry(f"session.{name}", value)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def timed(sessions: Mapping[str, onnxruntime.InferenceSession], activations: np.ndarray) -> dict[str, np.ndarray]:
    """Milliseconds of every call, (ROUNDS,), of sessions that take turns."""
    spent: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, each in sessions.items():
            started = time.perf_counter()
            each.run(None, {"a": activations})
            spent[name].append(1e3 * (time.perf_counter() - started))
    return {name: np.array(calls) for name, calls in spent.items()}


def measure_products() -> str:
    """Check and time the forms; return a sentence and a table."""
    draw = np.random.default_rng(0)
    activations = draw.integers(0, 256, (ROWS, WIDTH)).astype(np.uint8)
    eight = draw.integers(-127, 128, (WIDTH, INNER)).astype(np.int8)
    seven = draw.integers(-63, 64, (WIDTH, INNER)).astype(np.int8)
    unsigned = (eight.astype(np.int16) + 128).astype(np.uint8)
    forms = {
        "int8, 8 bits": (eight, 0, session(eight, 0)),
        f"int8, 8 bits, `{OPTION}`": (eight, 0, session(eight, 0, x64quantprecision="1")),
        "int8, 7 bits": (seven, 0, session(seven, 0)),
        "uint8, 8 bits": (unsigned, 128, session(unsigned, 128)),
    }
    calls = timed({name: each for name, (_, _, each) in forms.items()}, activations)
    first = next(iter(calls.values()))
    rows = []
    for name, (weights, zero, each) in forms.items():
        exact = (activations.astype(np.int64) - 128) @ (weights.astype(np.int64) - zero)
        wrong = float((each.run(None, {"a": activations})[0] != exact).mean())
        low, middle, high = np.percentile(calls[name], (25, 50, 75))
        ratio = f"{float(np.median(calls[name] / first)):.2f}"
        rows.append((name, f"{wrong:.2%}", f"{middle:.3f} ({low:.3f} to {high:.3f})", ratio))
    table = format_markdown_table(("weights", "wrong sums", "ms, median (quartiles)", "time over the first"), rows)
    return (
        f"**One product**, ({ROWS}, {WIDTH}) by ({WIDTH}, {INNER}), random, one thread, {ROUNDS} calls in turns; CPU: "
        f"{cpu_instructions()}:\n\n{table}"
    )
