"""How subsets rank."""

from compressor.search.result import rank_key


def test_the_best_score_comes_first_and_of_equal_ones_what_diverges_least():
    scored = [(0.7, 0.1), (0.8, 0.3), (0.8, 0.2), (0.9, 0.9)]
    assert sorted(scored, key=lambda pair: rank_key(*pair)) == [(0.9, 0.9), (0.8, 0.2), (0.8, 0.3), (0.7, 0.1)]
