"""Scores on a terminal."""

from das.render.print_report import print_scores
from das.results import Evaluated


def test_a_score_says_how_many_rows_it_leaves_out(capsys):
    gone = ["dev.json, line 3: no image dev-1-0-img0.png", "dev.json, line 4: no image dev-1-0-img0.png"]
    split = {"name": "val", "files": ["dev.json"], "rows": 40, "dropped": 3, "unreadable": gone}
    print_scores(
        Evaluated(metric="accuracy", value=0.75, margin=0.1, samples=40, loss=0.5, split=split, task="nlvr2", apart={})
    )
    assert capsys.readouterr().out.splitlines() == [
        "val: accuracy 75.00 ± 10.00 %",
        "  on 40 statements of dev.json, loss 0.5000",
        "  3 left out: no answer of theirs is among the classes",
        "  2 left out that cannot be used, the first is dev.json, line 3: no image dev-1-0-img0.png",
    ]
