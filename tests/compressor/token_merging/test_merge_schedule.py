"""How many tokens each layer merges for a share of what the layers compute."""

import pytest

from compressor.architectures import ARCHITECTURES
from compressor.architectures.meter import ARCHITECTURE, MeterDims
from compressor.errors import UsageError
from compressor.families import FAMILIES
from compressor.families.vision_encoder.vit import VIT
from compressor.token_merging.merge_schedule import parse_share, schedule_merging, tokens_along
from profiles.macs.published import count_published

TOKENS = MeterDims().image_tokens


def vision_macs(counts, width=768):
    """MACs of the published tower's layers by the formulas of the paper's operators, one after the other."""
    total, tokens = 0, TOKENS
    for count in counts:
        left = tokens - count
        total += 4 * tokens * width**2 + 2 * tokens**2 * width + 8 * left * width**2 + 5 * width * (tokens + left)
        total += (tokens // 2) * ((tokens - 1) // 2) * 64 + (tokens // 2) * count * (width + 1) if count else 0
        tokens = left
    return total


def test_each_layer_merges_as_many_the_fewest_that_save_the_share():
    counts = schedule_merging(ARCHITECTURE, MeterDims(), "vqa", (), 0.3).merged_tokens
    full = vision_macs([0] * 11)
    assert counts == (*(30,) * 10, 0)
    assert vision_macs(counts) <= 0.7 * full < vision_macs([*[29] * 10, 0])
    report = count_published("meter", merge_tokens="0.3x")
    assert (report.by_pool["vision"], report.settings.merged_tokens) == (vision_macs(counts), counts)


def test_skipped_layers_merge_none_and_the_others_save_the_share_of_what_they_compute():
    skipped = ("VEn0", "VEn10")
    counts = schedule_merging(ARCHITECTURE, MeterDims(), "vqa", skipped, 0.3).merged_tokens
    assert {number for number, count in enumerate(counts) if not count} == {0, 9, 10}  # 9 is the last that is left
    full, kept = vision_macs([0] * 11) / 11, counts[1:10]
    assert vision_macs(kept) <= 0.7 * 9 * full < vision_macs([max(0, count - 1) for count in kept])


def test_a_vit_merges_in_all_layers_but_the_last():
    dims = VIT.dims_type(config={"model_type": "vit", "image_size": 224, "patch_size": 16})
    merging = schedule_merging(VIT, dims, "image-classification", (), 0.3)
    assert merging.merged_tokens == (*(10,) * 11, 0)
    places = VIT.formula(merging, "image-classification", (14, 14)).places
    products = 4 * 167 * 768**2 + 8 * 157 * 768**2 + 83 * 83 * 64 + 83 * 10 * 769  # layer 3 has 167 tokens, leaves 157
    assert sum(places["VEn3"].whole.values()) == products + 2 * 167**2 * 768 + 5 * 768 * (167 + 157)
    assert count_published("vit", merge_tokens="0.3x").settings.merged_tokens == merging.merged_tokens


def test_half_of_the_tokens_are_the_most_that_a_layer_merges():
    dims = MeterDims(image_size=64, vision_layers=3)  # 4 x 4 patches
    counts = schedule_merging(ARCHITECTURE, dims, "vqa", (), 0.5).merged_tokens
    assert (counts, tokens_along(17, counts)) == ((8, 4, 0), (17, 9, 5, 5))
    with pytest.raises(ValueError, match="layer 1 merges 5 of 10 tokens, at most 4"):
        MeterDims(image_size=64, vision_layers=3, merged_tokens=(7, 5, 0))
    with pytest.raises(ValueError, match="merged tokens of 2 layers, of which there are 3"):
        MeterDims(image_size=64, vision_layers=3, merged_tokens=(7, 4))


@pytest.mark.parametrize(
    ("family", "share", "code"),
    [
        *(("meter", share, "merge-share-wrong") for share in ("0.3", "30%", "0x", "1x", "-0.3x", "")),
        ("meter", "0.95x", "merge-share-out-of-reach"),
        ("vilt", "0.3x", "merging-unsupported"),
        ("bert", "0.3x", "merging-unsupported"),
    ],
)
def test_what_cannot_be_merged_is_refused(family, share, code):
    with pytest.raises(UsageError) as refusal:
        count_published(family, merge_tokens=share)
    assert refusal.value.codes == (code,)


def test_the_fix_of_a_share_out_of_reach_can_be_reached():
    with pytest.raises(UsageError) as refusal:
        count_published("meter", merge_tokens="0.95x")
    count_published("meter", merge_tokens=refusal.value.problems[0].fix.split()[1])
    assert parse_share(".25x") == 0.25
    assert [name for name, kind in ARCHITECTURES.items() if kind.merging] == ["meter"]
    assert [name for name, kind in FAMILIES.items() if kind.merging] == ["meter", "vit"]
