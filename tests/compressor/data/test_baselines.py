"""Scores of trivial guessers."""

import pytest

from compressor.data.baselines import chance_score, majority_score, text_only_score
from compressor.data.splits import Split
from compressor.data.types import Records, Sample
from compressor.tasks import TASKS
from tests.support.data_files import splits_of, write_tables


def test_a_guesser_that_sees_the_text_alone(tmp_path):
    data = splits_of(write_tables(tmp_path, train=20, val=4))
    assert text_only_score(data.train, data.evaluation) == pytest.approx((1.0 + 0.6) / 2)


def split(*labels):
    return Split("x", Records((), tuple(Sample("?", labels=(label,), scores=(1.0,)) for label in labels)), None, 2, 0)


def test_the_most_frequent_class():
    assert majority_score(split(1, 1, 0), split(0, 1, 0, 1)) == 0.5
    assert TASKS["text-classification"].baseline.score is majority_score
    assert TASKS["irtr"].baseline.score is chance_score
