"""MACs counted three ways agree: on the traced graph, on the operators executed, and by formula."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from compressor.costs.layer_macs import ATTENTION
from compressor.costs.macs import count_macs
from compressor.families import FAMILIES
from compressor.models.surgery import make_plan, remove_layers
from compressor.models.trims.simplify import trim
from profiles.macs import formula as closed_form
from profiles.macs.agreement import Agreement, Counts, describe_agreement
from profiles.macs.built import make_traceable
from profiles.macs.crosscheck import cross_check
from profiles.macs.published import count_published
from tests.support import tiny_models as tiny
from tests.support.command_line import das
from tests.support.marks import slow_but

ADAPTER = 4
SKIPPED = {"meter": ["FL0", "VEn0"], "vilt": ["En1"]}  # text families: En1


def three(model, inputs=None):
    inputs = inputs or FAMILIES[model.family].example_inputs(model.dims)
    return cross_check(model, inputs, count_macs(model, inputs))


def drawn(family, task, parallel_width=0):
    dims = tiny.model(family, task, shallow=True).dims.model_copy(update={"parallel_width": parallel_width})
    return FAMILIES[family].build(dims, task).eval()


def cut(model):
    return remove_layers(model, make_plan(model, SKIPPED.get(model.family, ["En1"])))


@pytest.mark.parametrize(("family", "task"), tiny.EVERY)
def test_three_counts_agree_to_the_last_mac(family, task):
    full = drawn(family, task)
    adapted = cut(drawn(family, task, ADAPTER))
    for model in (full, adapted, trim(full), trim(adapted)):
        found = three(model)
        assert found.apart == 0, found.off
        assert None not in [counts.formula for counts in found.everything]
        for group in (found.parts, found.kinds, found.steps):
            assert sum(counts.torch for counts in group) == found.total.fvcore > 0
    skips = {counts.name for counts in three(adapted).steps}
    assert set(adapted.skipped) <= skips
    assert describe_agreement(three(trim(adapted))) == "three counts agree exactly"


def test_nothing_in_the_place_of_a_layer_costs_nothing():
    full = drawn("bert", "text-classification")
    bare = remove_layers(full, make_plan(full, ["En1"], False))
    for whole, slim in ((full, bare), (trim(full), trim(bare))):
        assert three(slim).apart == 0
        assert "En1" not in {counts.name for counts in three(slim).steps}
        assert three(slim).total.formula < three(whole).total.formula


PUBLISHED = [(family.name, task) for family in FAMILIES.values() for task in family.heads]
LIKE_BERT = {"xlm-roberta", "camembert", "electra", "distilbert", "mpnet"}  # small ones of other sizes are below


@pytest.mark.parametrize(
    ("family", "task"), slow_but([case for case in PUBLISHED if case[0] not in LIKE_BERT], PUBLISHED)
)
def test_two_counts_agree_at_the_published_sizes(family, task):
    kind = FAMILIES[family]
    head = kind.heads[task]
    changed = {"classes": head.classes or 100, "images": head.images}
    if head.images:
        changed["image_types"] = head.images
    with torch.device("meta"):
        model = kind.build(kind.dims_type().model_copy(update=changed), task)
    inputs = kind.example_inputs(model.dims)
    executed, terms = count_macs(make_traceable(model), inputs), closed_form.apply_formula(model, inputs)
    ends = {name: executed.by_pool[name] for name in ("prologue", "head")}
    assert costing(executed.by_step | ends) == costing(closed_form.sum_terms(terms, "step"))
    assert costing(executed.by_pool) == costing(closed_form.sum_terms(terms, "part"))
    assert executed.by_kind == costing(closed_form.sum_terms(terms, "kind"))
    assert executed.total == sum(term.macs for term in terms) > 3e9


@pytest.mark.parametrize("family", ["electra", "distilbert", "mpnet", "deberta-v2", "modernbert"])
def test_three_counts_agree_on_encoders_that_differ_from_bert(family):
    """Embeddings that are projected, layers of other names, and a bias in the attention."""
    sizes = {"electra": {"hidden_size": 48, "embedding_size": 24, "intermediate_size": 96, "num_hidden_layers": 3}}
    sizes["distilbert"] = {"dim": 48, "n_heads": 4, "hidden_dim": 96, "n_layers": 3}
    sizes["mpnet"] = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96, "num_hidden_layers": 3}
    sizes["modernbert"] = {**sizes["mpnet"], "num_hidden_layers": 4, "local_attention": 4, "pad_token_id": 0}
    sizes["deberta-v2"] = {**sizes["mpnet"], "relative_attention": True, "pos_att_type": ["c2p"], "embedding_size": 24}
    kind = FAMILIES[family].dims_type
    dims = kind(config={"model_type": family, "vocab_size": 40} | sizes[family], text_length=9, parallel_width=ADAPTER)
    slim = cut(FAMILIES[family].build(dims, "text-classification").eval())
    for model in (slim, trim(slim)):
        found = three(model)
        assert found.apart == 0, found.off


def costing(macs):
    return {name: count for name, count in macs.items() if count}


def test_images_that_are_not_square_and_batches():
    model = drawn("vilt", "nlvr2")
    one = FAMILIES["vilt"].example_inputs(model.dims)
    assert one["pixel_values"].shape[-2:] == (96, 128)
    several = {name: x.expand(3, *x.shape[1:]) for name, x in one.items()}
    assert three(model, several).apart == 0
    assert three(model, several).total.formula == 3 * three(model, one).total.fvcore


def test_retrieval_of_many_captions_has_no_formula():
    model = tiny.model("meter", "irtr", shallow=True)
    given = tiny.batch(model)
    inputs = {name: given[name] for name in FAMILIES["meter"].input_names}
    found = three(model, inputs)
    assert found.total.formula is None
    assert found.apart == 0
    assert describe_agreement(found) == "two counts agree exactly; there is no formula"


def test_families_of_ones_own_have_no_formula(monkeypatch):
    monkeypatch.setitem(FAMILIES, "bert", replace(FAMILIES["bert"], formula=None))
    assert three(drawn("bert", "text-classification")).total.formula is None


def test_a_difference_is_noticed_and_named():
    model = drawn("roberta", "text-classification")
    d = model.dims.hidden
    model.blocks["En1"].layer.output.dense = nn.Sequential(nn.Linear(model.dims.ffn, d), nn.Linear(d, d))
    found = three(model)
    off = {counts.name: counts for counts in found.off}
    assert "En1" in off and "En0" not in off and "encoder" in off
    assert off["En1"].fvcore == off["En1"].torch == off["En1"].formula + tiny.LENGTH * d**2
    assert describe_agreement(found).startswith("the counts differ by more than 1%")
    assert "En1" in describe_agreement(found)


def test_how_far_counts_are_apart():
    assert Counts(name="a", fvcore=100, torch=98, formula=99).apart == pytest.approx(0.02)
    assert Counts(name="a", fvcore=100, torch=98, formula=None).apart == pytest.approx(0.02)
    assert Counts(name="a", fvcore=0, torch=0, formula=0).apart == 0
    same = Counts(name="total", fvcore=10_000, torch=10_000, formula=9_998)
    found = Agreement(total=same, parts=(), kinds=(), steps=(), uncounted={})
    assert describe_agreement(found) == "three counts agree within 0.02%"


def test_both_counters_say_what_they_leave_out():
    uncounted = three(drawn("meter", "vqa", ADAPTER)).uncounted
    for operators in uncounted.values():
        assert {"softmax (in attention)", "gelu", "embedding", "relu", "add", "tanh"} <= set(operators)
        assert not {"addmm", "linear", "view", "transpose", "cat"} & set(operators)


def test_attention_is_counted_before_a_kernel_is_chosen():
    """PyTorch's counter alone sees nothing of the CPU's attention (pytorch #195460)."""
    model = drawn("vilt", "vqa")
    kinds = count_macs(model, FAMILIES["vilt"].example_inputs(model.dims)).by_kind
    tokens = tiny.LENGTH + 1 + 3 * 4
    assert kinds[ATTENTION] == model.dims.layers * 2 * tokens**2 * model.dims.hidden


def test_das_flops_says_how_far_the_counts_agree():
    found = count_published("bert", text_length=16, skip_layers=["En3"], parallel_adapters=True, check=True).agreement
    assert (found.apart, found.total.formula) == (0, found.total.fvcore)
    shown = das("flops", "bert", "--text-length", "16", "--check").stdout
    assert "Three counts agree exactly." in shown
    assert "matrix products" in shown
    assert max(map(len, shown.splitlines())) <= 80
