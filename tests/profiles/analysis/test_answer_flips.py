"""Which answers changed: kept by a compression, counted, typed, shown, and what is left without the data."""

import base64
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from compressor.checkpoints.build import load_checkpoint
from compressor.data.types import ImageRef
from compressor.evaluation.evaluate import evaluate, pair_answers
from compressor.evaluation.open_data import open_data
from compressor.evaluation.score import EveryAnswer
from compressor.evaluation.significance import mcnemar
from compressor.files import atomic_file
from compressor.models.surgery import make_plan, remove_layers
from compressor.saved_run.run_folder import ANSWERS, EVERY, Run, open_run
from compressor.saved_run.save_run import every_tensor
from compressor.tasks import TASKS
from profiles.analysis.answer_flips import (
    EXAMPLES,
    Flips,
    answer_type,
    count_flips,
    describe,
    flips_of,
    flips_sentence,
    flips_table,
    plain,
    question_type,
    thumbnail,
)
from profiles.comparison.full_vs_slim import NotMeasured
from profiles.formatting import format_markdown_table
from tests.compressor.evaluation.test_ranking import golden, split_of
from tests.support.command_line import GOLDEN


def kept(full, slim, expected, full_scores=None, slim_scores=None):
    """Answers by hand; right is what was expected, unless scores say otherwise."""
    full, slim, expected = (np.array(found) for found in (full, slim, expected))
    scores = (
        np.array(given) if given is not None else (found == expected).astype(np.float32)
        for found, given in ((full, full_scores), (slim, slim_scores))
    )
    return EveryAnswer(*scores, expected, full, slim)


def write_answers(run, tensors):
    """Replaces what the models of a run answered."""
    with atomic_file(run.path / ANSWERS) as temporary:
        save_file(tensors, temporary)


@pytest.fixture
def planted(run_here):
    """The run with made-up answers: all right but a few, which the slim model loses, gains or has wrong again."""
    run = open_run(run_here)
    split = open_data(run).evaluation
    right = torch.tensor([sample.labels[0] for sample in split.samples])
    wrong, other = (right + 1) % 20, (right + 2) % 20
    full, slim = right.clone(), right.clone()
    lost, gained, neither = np.split(np.arange(0, 60, 2), (15, 22))
    slim[lost] = wrong[lost]
    full[gained] = wrong[gained]
    full[neither], slim[neither] = wrong[neither], other[neither]
    write_answers(run, run.answers() | every_tensor(kept(full.tolist(), slim.tolist(), right.tolist())))
    return run, split, lost


def test_a_compression_keeps_every_answer(shared_run):
    """They are the scores of the report, question by question."""
    found, results = shared_run.every_answer(), shared_run.manifest.results
    split = open_data(shared_run).evaluation
    assert len(found.expected) == results.slim.samples == len(split)
    assert found.expected.tolist() == [sample.labels[0] for sample in split.samples]
    assert float(found.full_scores.mean()) == pytest.approx(results.full.value)
    assert float(found.slim_scores.mean()) == pytest.approx(results.slim.value)
    assert float((found.full == found.slim).mean()) == pytest.approx(results.answer_agreement)
    assert np.array_equal(found.full == found.expected, found.full_scores)
    some = shared_run.answers()
    assert np.array_equal(some["slim"].argmax(-1), found.slim[some["numbers"]])
    assert np.array_equal(some["full"].argmax(-1), found.full[some["numbers"]])


def test_the_flips_of_a_run(shared_run):
    found, every = flips_of(shared_run), shared_run.every_answer()
    assert isinstance(found, Flips)
    changed = every.full != every.slim
    assert found.total.changed == int(changed.sum()) > 0
    assert found.total.lost == int((changed & (every.full_scores > 0)).sum())
    for counts in (found.by_answer_type, found.by_question_type):
        for figure in ("samples", "changed", "lost", "gained"):
            assert sum(getattr(count, figure) for count in counts.values()) == getattr(found.total, figure)
    assert set(found.by_answer_type) == {"yes/no", "number", "other"}
    assert {"how many", "what color"} < set(found.by_question_type)
    assert Flips.model_validate_json(found.model_dump_json()) == found
    assert flips_of(shared_run) == found  # the same every time


def test_planted_changes_are_counted_and_shown(planted):
    run, split, lost = planted
    found = flips_of(run)
    total = found.total
    assert (total.samples, total.changed, total.lost, total.gained, total.both_right) == (len(split), 30, 15, 7, 0)
    assert flips_sentence(found).startswith(
        f"30 of {len(split)} answers changed: 15 lost, 7 gained, 8 wrong both times; losses and gains may be chance (p"
    )
    labels, shown = run.labels(), found.examples
    assert len(shown) == EXAMPLES
    assert {flip.outcome for flip in shown} == {"lost"}
    assert {flip.sample for flip in shown} <= set(lost.tolist())
    types = {question_type(split.samples[number].text) for number in lost}
    assert len({flip.question_type for flip in shown}) >= min(len(types) - 1, EXAMPLES) > 3  # rare ones are "other"
    for flip in shown:
        sample = split.samples[flip.sample]
        assert flip.text == sample.text
        assert flip.expected == flip.full == labels[sample.labels[0]]
        assert flip.slim == labels[(sample.labels[0] + 1) % 20]
        kind, _, content = flip.image.partition(",")
        assert kind == "data:image/jpeg;base64"
        assert len(flip.image) < 4096
        assert max(Image.open(io.BytesIO(base64.b64decode(content))).size) <= 96


def test_the_table_says_what_the_counts_say(planted):
    run, split, _ = planted
    found = flips_of(run)
    table = flips_table(found)
    assert table.header == ("", "n", "changed", "", "lost", "gained")
    assert table.rows[0] == ("all", str(len(split)), "30", f"{30 / len(split):.1%}", "15", "7")
    count = found.by_answer_type["number"]
    row = next(row for row in table.rows if row[0] == "  answer number")
    assert row[1:3] + row[4:] == (f"{count.samples}", f"{count.changed}", f"{count.lost}", f"{count.gained}")


def test_without_the_data_counts_are_left(planted, workshop):
    run, _, _ = planted
    whole = flips_of(run)
    move_data(run, workshop / "nowhere")
    shutil.rmtree(workshop / "data")
    found = flips_of(open_run(run.path))
    assert found.total == whole.total
    assert found.by_answer_type == whole.by_answer_type
    assert (found.by_question_type, found.examples) == ({}, ())
    assert "data is not at hand" in found.note
    assert not any(row[0].startswith("  question") for row in flips_table(found).rows)


def test_other_data_is_not_taken_for_the_runs_own(planted, workshop):
    run, _, _ = planted
    (workshop / "data" / "vqav2_val.arrow").replace(workshop / "data" / "vqav2_test.arrow")
    move_data(run, workshop / "data")
    found = flips_of(open_run(run.path))
    assert found.examples == ()
    assert found.note


def move_data(run, folder):
    manifest = run.path / "manifest.json"
    content = json.loads(manifest.read_text())
    content["data_root"] = str(folder)
    manifest.write_text(json.dumps(content))


def test_a_run_without_labels(shared_run):
    made = shared_run.manifest
    settings = made.settings.model_copy(update={"calibration": "inputs"})
    found = flips_of(Run(shared_run.path, made.model_copy(update={"settings": settings})))
    assert isinstance(found, NotMeasured)
    assert "no answers" in found.why


def test_a_run_after_a_transfer(run_here):
    run = open_run(run_here)
    write_answers(run, {name: tensor for name, tensor in run.answers().items() if not name.startswith(EVERY)})
    found = flips_of(run)
    assert isinstance(found, NotMeasured)
    assert "--adapt" in found.why


def test_several_right_answers():
    """VQA's scores: an answer is right as soon as it has any."""
    count = count_flips(kept([1] * 5, [2, 2, 2, 1, 2], [1] * 5, [1.0, 0.3, 0.0, 0.0, 0.0], [0.6, 0.0, 0.3, 0.0, 1.0]))
    assert (count.changed, count.lost, count.gained, count.both_right) == (4, 1, 2, 1)


def test_retrieval_counts_captions_that_find_their_image():
    split, task = split_of(golden("meter_tiny_irtr")), TASKS["irtr"]
    full = load_checkpoint(GOLDEN / "meter_tiny_irtr.ckpt").model
    slim = remove_layers(full, make_plan(full, ["LEn1", "FL0", "FV1"]))
    before, after = (evaluate(model, split, task) for model in (full, slim))
    assert before.expected.tolist() == split.owners.tolist()
    assert float(before.scores.mean()) == pytest.approx(before.score.parts["IR R@1"])
    found = describe(pair_answers(before, after), split, task, ("match",))
    worse = len(split) * (before.score.parts["IR R@1"] - after.score.parts["IR R@1"])
    assert found.total.lost - found.total.gained == pytest.approx(worse)
    assert found.total.changed > 0
    assert found.by_answer_type == {}
    for flip in found.examples:
        assert flip.expected == f"image {split.owners[flip.sample]}"
        assert flip.image


def test_classes_are_the_types_of_answers_where_there_are_few():
    """A class of a hundredth of the samples is counted with the other rare ones."""
    expected = [0] * 60 + [1] * 39 + [2]
    slim = [1] * 4 + expected[4:-1] + [0]
    found = describe(kept(expected, slim, expected), None, TASKS["snli-ve"], ("contradiction", "neutral", "entailment"))
    assert {name: count.lost for name, count in found.by_answer_type.items()} == {
        "contradiction": 4,
        "neutral": 0,
        "other": 1,
    }


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("yes", "yes/no"),
        ("No.", "yes/no"),
        ("two", "number"),
        ("12", "number"),
        ("1.5", "number"),
        ("none", "number"),  # VQA's evaluation takes it for 0
        ("left", "other"),
        ("2 dogs", "other"),
        ("", "other"),
    ],
)
def test_answer_types(answer, kind):
    assert answer_type(answer) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("How many dogs?", "how many"),
        ("what's   this", "what's this"),
        ("<script>alert(1)</script>", "script alert"),
        ("a|b|c", "a b"),
        ("  \x1b[31mIS it", "31mis it"),
        ("???", ""),
        ("Ist", "ist"),
    ],
)
def test_question_types(text, kind):
    assert question_type(text) == kind


def test_a_text_cannot_command_a_terminal():
    assert plain("a\x1b[2Jb\n\tc\u202ed") == "a [2Jb c d"
    assert len(plain("x" * 1000)) == 200


def test_a_hostile_class_does_not_break_the_table(shared_run):
    names = ("yes|no", "<b>", "\x1b[0m")
    found = Flips(
        total=count_flips(kept([0], [1], [0])),
        by_answer_type={name: count_flips(kept([0], [1], [0])) for name in names},
        by_question_type={},
        examples=(),
    )
    table = flips_table(found)
    lines = format_markdown_table(table.header, table.rows).splitlines()
    assert {line.count("|") for line in lines} == {7}


@pytest.mark.parametrize(
    ("lost", "gained", "says"),
    [(0, 0, "None of 40"), (10, 1, "losses outweigh gains beyond chance"), (1, 10, "gains outweigh losses")],
)
def test_the_sentence_says_whether_it_is_chance(lost, gained, says):
    rest = [0] * (40 - lost - gained)
    count = count_flips(kept([0] * lost + [1] * gained + rest, [1] * lost + [0] * gained + rest, [0] * 40))
    found = Flips(
        total=count, by_answer_type={}, by_question_type={}, examples=(), p_value=mcnemar(count.lost, count.gained)
    )
    assert says in flips_sentence(found)


def picture(*size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return ImageRef("noise", file.getvalue)


def test_two_images_share_a_thumbnail():
    uri = thumbnail([picture(300, 500), picture(640, 100)])
    assert len(uri) < 4096
    size = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size
    assert max(size) <= 96


def test_an_image_that_is_gone_or_broken_is_none():
    def gone():
        raise FileNotFoundError

    assert thumbnail([ImageRef("gone", gone)]) is None
    assert thumbnail([ImageRef("broken", lambda: b"no image")]) is None
    assert thumbnail([]) is None


def test_the_types_that_annotations_name_come_first(shared_run):
    """VQA v2 calls "2 dogs" whatever its annotators did."""
    split = open_data(shared_run).evaluation.subset(range(4))
    noted = {"answer_type": "number", "question_type": "What is the"}
    split.samples = (replace(split.samples[0], **noted), replace(split.samples[1], answer_type="?"), *split.samples[2:])
    right = [sample.labels[0] for sample in split.samples]
    found = describe(kept(right, [(each + 1) % 20 for each in right], right), split, TASKS["vqa"], shared_run.labels())
    first, second, *_ = sorted(found.examples, key=lambda flip: flip.sample)
    assert (first.answer_type, first.question_type) == ("number", "what is the")
    assert second.answer_type == answer_type(shared_run.labels()[right[1]])
    assert second.question_type == question_type(split.samples[1].text)
