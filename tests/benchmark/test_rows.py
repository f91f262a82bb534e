from types import SimpleNamespace

import pytest
import torch

from captum_heta.attr import HETATerms, TargetedTerms
from captum_heta.benchmark.metrics import check_metrics
from captum_heta.benchmark.rows import DEFAULT, PRESETS, RANDOM, is_label, row_groups
from captum_heta.methods import METHODS
from captum_heta.options import CURVATURE_MODES

M, S, I = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 0.0]])  # noqa: E741
RESULT = SimpleNamespace(terms=HETATerms(M, S, I), seq_attr=torch.tensor([1.25, 0.5]))


def test_rows_of_one_attribution_share_it(demo):
    names = ["heta", "heta/gate", "heta:fisher", "heta:fisher/no-gate", "heta/beta=0.3", "normxlogit", "random"]
    found = row_groups(names, demo[0], {"heta": {"n_samples": 3}}, seed=5)
    assert [list(group.rows) for group in found] == [
        ["HETA", "HETA: gate alone", "HETA: beta 0.3"],
        ["HETA (fisher)", "HETA (fisher): no gate"],
        ["NormXLogit"],
        ["random"],
    ]
    assert found[0].options == {"seed": 5, "n_samples": 3}
    assert found[1].options == {"seed": 5, "n_samples": 3, "curvature": "fisher"}
    assert found[2].options == {}
    assert found[3].method is None


def test_a_row_may_be_coarse_to_fine(demo):
    (group,) = row_groups(["targeted:refine=0.9+skip=0"], demo[0], {}, seed=5)
    assert group.options == {"seed": 5, "refine": 0.9, "skip": 0}
    assert is_label("Targeted HETA (refine=0.9, skip=0)")
    with pytest.raises(ValueError, match=r"'targeted:refine=2': refine is a part of the score"):
        row_groups(["targeted:refine=2"], demo[0], {}, seed=5)


def test_rows_have_options_of_heta(demo):
    names = [
        "targeted:gradient",
        "heta:fisher+flow=contribution",
        "heta:beta=balanced",
        "heta:rank=8+fusion=product/gate",
    ]
    found = row_groups(names, demo[0], {"heta": {"rank": 16, "n_samples": 3}}, seed=5)
    assert [list(group.rows) for group in found] == [
        ["Targeted HETA (gradient)"],
        ["HETA (fisher, flow=contribution)"],
        ["HETA (beta=balanced)"],
        ["HETA (rank=8, fusion=product): gate alone"],
    ]
    assert all(is_label(label) for group in found for label in group.rows)
    assert found[0].options == {"seed": 5, "curvature": "gradient"}
    # a part of a product is asked for everywhere; a row's own options win over those of its method
    assert found[3].options == {"seed": 5, "n_samples": 3, "rank": 8, "fusion": "product", "skip": 0.0}


def test_parts_of_the_targeted_form_are_products(demo):
    terms = TargetedTerms(M, S, torch.tensor([[4.0, -3.0]]))  # what speaks against the target counts as nothing
    root = 2**0.5  # of the second feature's curvature
    parts = {"no-gate": [4.0, 0.0], "no-information": [0.5, 0.5 * root], "information": [4.0, 0.0]}
    for part, expected in parts.items():
        (group,) = row_groups([f"targeted/{part}"], demo[0], {}, 0)
        (scores,) = group.rows.values()
        assert scores(SimpleNamespace(terms=terms)).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("heta", [1.25, 0.5]),
        ("heta/no-gate", [5.0, 2.0]),
        ("heta/no-curvature", [2.0, 0.0]),
        ("heta/no-information", [0.5, 1.0]),
        ("heta/gate", [0.5, 0.5]),
        ("heta/curvature", [1.0, 2.0]),
        ("heta/information", [4.0, 0.0]),
        ("heta/beta=0.5", [1.25, 0.5]),
        ("heta/beta=1", [0.5, 1.0]),
    ],
)
def test_a_part_of_heta_is_made_of_its_terms(demo, name, expected):
    (group,) = row_groups([name], demo[0], {}, 0)
    (scores,) = group.rows.values()
    assert scores(RESULT).tolist() == expected


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        (["hetta"], {}, "There is no method 'hetta'"),
        (["ig:exact"], {}, "'ig:exact' is no row of a benchmark: ig has no modes or parts"),
        (["heta:fast"], {}, "'heta:fast': there is no curvature mode 'fast', only auto, exact"),
        (["ig:flow=attention"], {}, "'ig:flow=attention' is no row of a benchmark"),
        (
            ["heta:flow=river"],
            {},
            "'heta:flow=river': flow must be one of attention, contribution, published, got 'river'",
        ),
        (["heta:flows=attention"], {}, "'heta:flows=attention': HETA has no option 'flows'; it has"),
        (["heta:fisher+curvature=exact"], {}, "has curvature twice"),
        (["targeted/beta=0.5"], {}, "'targeted/beta=0.5': a product has no weights"),
        (["heta/middle"], {}, "'heta/middle': the part must be one of no-gate"),
        (["heta/beta=2"], {}, "'heta/beta=2': the part must be"),
        (["heta/beta=x"], {}, "'heta/beta=x': the part must be"),
        (["heta", "heta"], {}, "'heta' is there twice"),
        (["heta"], {"igg": {}}, "options are for 'igg', which is not among the methods heta, targeted"),
    ],
)
def test_names_that_are_none_are_told(demo, names, options, told):
    with pytest.raises(ValueError, match=told):
        row_groups(names, demo[0], options, 0)


@pytest.mark.parametrize(
    ("names", "timed"),
    [
        (["heta/gate", "heta"], "HETA"),
        (["heta:exact", "heta:exact/gate"], "HETA (exact)"),
        (["heta/gate", "heta/beta=1"], "HETA: gate alone"),
        (["ig"], "Integrated Gradients"),
        (["random"], None),
    ],
)
def test_time_is_told_of_the_row_that_took_it(demo, names, timed):
    (group,) = row_groups(names, demo[0], {}, 0)
    assert group.timed == timed


@pytest.mark.parametrize("preset", [DEFAULT, *PRESETS.values()])
def test_presets_are_of_rows_and_metrics_that_there_are(demo, preset):
    labels = [label for group in row_groups(preset.rows, demo[0], {}, 0) for label in group.rows]
    assert len(labels) == len(preset.rows)
    assert check_metrics(preset.metrics) == preset.metrics


def test_a_metric_that_is_none_is_told():
    with pytest.raises(ValueError, match="There is no metric 'dsb'; there are soft_nc, soft_ns"):
        check_metrics(["dsa", "dsb"])
    with pytest.raises(ValueError, match="The metric 'f1' is there twice"):
        check_metrics(["f1", "dsa", "f1"])


def test_labels_are_told_from_others(demo):
    parts = "no-gate no-curvature no-information gate curvature information beta=0 beta=0.3 beta=1e-5 beta=1".split()
    hetas = ["heta", *(f"heta:{mode}" for mode in CURVATURE_MODES)]
    names = [*METHODS, RANDOM, *hetas[1:], *(f"{heta}/{part}" for heta in hetas for part in parts)]
    labels = [label for group in row_groups(names, demo[0], {}, 0) for label in group.rows]
    assert len(labels) == len(names)
    assert all(map(is_label, labels))
    for other in ("", "heta", "HETA (newton)", "HETA: beta", "HETA: middle", "random: gate", "LIME (exact)", "HETA: "):
        assert is_label(other) == (other == "HETA: "), other
