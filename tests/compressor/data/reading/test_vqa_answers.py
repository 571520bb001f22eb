"""Answers of VQA: what counts as the same, which are classes, and how right each is."""

import pytest

from compressor.data.reading.vqa_answers import frequent_answers, normalise, soft_answers


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes.", "yes"),
        ("The dog", "dog"),
        ("two", "2"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("couldntve", "couldn't've"),
        ("its", "its"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("black, white", "black white"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("t-shirt", "t shirt"),
        ("man's", "man's"),
        ("10:30", "10:30"),
        ("what?", "what"),
    ],
)
def test_answers_are_compared_by_the_official_rule(answer, expected):
    assert normalise(answer) == expected


def test_frequent_answers_keep_their_first_seen_order():
    assert frequent_answers(["red"] * 9 + ["rare"] * 8 + ["blue"] * 9 + ["The red"]) == ("red", "blue")


@pytest.mark.parametrize(("count", "score"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_soft_scores(count, score):
    assert soft_answers(["x"] + ["red"] * count, {"blue": 0, "red": 1}) == ((1,), (score,))
