"""How subsets rank."""

import pytest
from pydantic import ValidationError

from compressor.search.result import SearchResult, rank_key

POINTS = [{"layers": layers, "value": 0.5, "loss": 1.0, "divergence": 0.1} for layers in ((), ("En0",), ("En1",))]
FOUND = {
    "strategy": "auto", "sizes": [1], "metric": "accuracy", "samples": 9, "full": POINTS[0], "points": POINTS[1:],
    "chosen": {1: ["En1"]}, "forwards": {}, "macs": 100, "macs_saved": {"En0": 40, "En1": 40}, "parameters": 10,
    "parameters_saved": {"En0": 4, "En1": 4},
}  # fmt: skip


def test_the_best_score_comes_first_and_of_equal_ones_what_diverges_least():
    scored = [(0.7, 0.1), (0.8, 0.3), (0.8, 0.2), (0.9, 0.9)]
    assert sorted(scored, key=lambda pair: rank_key(*pair)) == [(0.9, 0.9), (0.8, 0.2), (0.8, 0.3), (0.7, 0.1)]
    probed = [(0.9, 0.1, 0.5), (0.7, 0.3, 0.6), (0.7, 0.2, 0.6)]
    assert sorted(probed, key=lambda three: rank_key(*three)) == probed[::-1]


@pytest.mark.parametrize(
    "changed",
    [
        {"parameters_saved": {"En0": 4}},
        {"explained": {"En7": 0.5}},
        {"macs_saved": {"En0": 40}, "parameters_saved": {"En0": 4}},
        {"chosen": {2: ["En0", "En1"]}},
        {"macs": 0},
        {"parameters": 0},
        {"samples": 0},
    ],
)
def test_a_result_whose_parts_do_not_fit_together_is_none(changed):
    assert SearchResult.model_validate(FOUND).point(["En1"]).layers == ("En1",)
    with pytest.raises(ValidationError, match=r"its (savings|points) are|greater than 0"):
        SearchResult.model_validate(FOUND | changed)
