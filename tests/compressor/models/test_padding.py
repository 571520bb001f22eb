"""Samples of different length put together: nothing reads what fills them up."""

import pytest
import torch

from compressor.families import FAMILIES
from compressor.models.padding import join_rows, join_streams
from compressor.models.steps import valid_tokens
from tests.support import tiny_models as tiny

every = pytest.mark.parametrize(("family", "task"), tiny.EVERY)


def test_rows_are_filled_up_at_the_end_of_every_axis():
    rows = [torch.ones(1, 2, 3), torch.full((2, 4, 1), 2.0)]
    joined = join_rows(rows, padding=-1)
    assert joined.shape == (3, 4, 3)
    assert torch.equal(joined[:1, :2, :3], rows[0])
    assert torch.equal(joined[1:, :4, :1], rows[1])
    assert (joined == -1).sum() == joined.numel() - 6 - 8
    assert torch.equal(join_rows([rows[0], rows[0]]), torch.cat([rows[0], rows[0]]))


def one_by_one(model, inputs):
    """Each sample alone, its texts without padding."""
    family, samples = FAMILIES[model.family], len(inputs["targets"])
    texts = len(inputs["attention_mask"]) // samples
    for sample in range(samples):
        mine = {
            name: x[texts * sample : texts * (sample + 1)] if name in family.names_of("text") else x[sample, None]
            for name, x in inputs.items()
        }
        yield family.cut(mine, length=int(mine["attention_mask"].sum(1).max()))


@every
@pytest.mark.parametrize("candidates", ["first scope", "last layer"])
def test_streams_of_samples_encoded_apart_give_the_answers_of_a_padded_batch(family, task, candidates):
    model = tiny.model(family, task)
    supernet = tiny.supernet(model, None if candidates == "first scope" else model.layers[-1:])
    inputs = tiny.batch(model)
    of_the_last = len(inputs["attention_mask"]) // len(inputs["targets"])
    inputs["attention_mask"][-of_the_last:, tiny.LENGTH // 2 :] = 0  # of ranked captions all, not the last one alone
    with torch.no_grad():
        together = supernet.encode(inputs)
        apart = [supernet.encode(sample) for sample in one_by_one(model, inputs)]
        assert any(len({row[name].shape for row in apart}) > 1 for name in apart[0])
        joined = join_streams(apart)
        for name in ("text", "hidden"):
            if name in joined:
                assert valid_tokens(joined, name).sum() == valid_tokens(together, name).sum()
        for skipped in ((), supernet.candidates):
            torch.testing.assert_close(
                supernet.logits(joined, skipped), supernet.logits(together, skipped), atol=1e-5, rtol=0
            )
