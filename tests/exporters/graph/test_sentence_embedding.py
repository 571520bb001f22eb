"""Exports of embedders: tokens in, finished vectors out, whatever pools them."""

import onnx
import pytest
import torch

from compressor.checkpoints.build import load_checkpoint
from compressor.families.text_encoder.sentence_head import Dense
from compressor.models.trims.simplify import trim
from exporters.graph.onnx import export_onnx
from exporters.runtimes.sessions import OnnxRunner
from tests.support.embedders import inputs_of, write_embedder

HEADS = {
    "mean": (("mean",), (Dense(width=7), "normalize")),
    "last": (("lasttoken",), ("normalize",)),
    "several": (("max", "weightedmean", "mean_sqrt_len_tokens", "cls"), ()),
}


@pytest.mark.parametrize("head", HEADS)
def test_pooling_and_what_is_behind_it_are_in_the_graph(tmp_path, head):
    folder = write_embedder(tmp_path / "full", "bert", *HEADS[head])
    whole = load_checkpoint(folder).model
    inputs = inputs_of(whole, folder)
    export_onnx(trim(whole), tmp_path / "model.onnx", inputs)
    (output,) = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.output
    assert output.name == "sentence_embedding"
    with OnnxRunner(tmp_path / "model.onnx", threads=1) as runner, torch.no_grad():
        for given in (inputs, {name: x[1:2, :3] for name, x in inputs.items()}):
            torch.testing.assert_close(runner.run(given), whole(**given), atol=1e-5, rtol=0)
