import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.metrics import alignment_f1, average_precision, dsa, recall_at, top1_hit
from captum_heta.testing.metrics import naive_average_precision

EVIDENCE = torch.tensor([True, True, False, False, False])
SCORES = st.lists(st.floats(-3, 3, width=16), min_size=5, max_size=5)
TIED = st.lists(st.integers(-2, 2), min_size=5, max_size=5)
MASKS = st.lists(st.booleans(), min_size=5, max_size=5).filter(any)
ALL = pytest.mark.parametrize("metric", [average_precision, recall_at, top1_hit])


@pytest.mark.parametrize(
    ("scores", "ap", "recall", "hit"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0], 1, 1, 1),
        ([5.0, 1.0, 3.0, 2.0, 4.0], (1 + 2 / 5) / 2, 1 / 2, 1),
        ([1.0, -5.0, 3.0, 2.0, 4.0], (1 + 2 / 5) / 2, 1 / 2, 1),
        ([1.0, 2.0, 3.0, 2.5, 4.0], (1 / 4 + 2 / 5) / 2, 0, 0),
        ([1.0, 3.5, 3.0, 2.5, 4.0], (1 / 2 + 2 / 5) / 2, 1 / 2, 0),
        # one of the two largest: first or second, with the other one of the evidence last of all
        ([4.0, 1.0, 3.0, -4.0, 2.0], ((1 + 2 / 5) / 2 + (1 / 2 + 2 / 5) / 2) / 2, 1 / 2, 1 / 2),
        # of two places one is left for the three that share the second rank
        ([2.0, 9.0, 2.0, 2.0, 1.0], (1 + (2 / 2 + 2 / 3 + 2 / 4) / 3) / 2, 1 / 2 + 1 / 6, 1),
    ],
)
def test_by_hand(scores, ap, recall, hit):
    scores = torch.tensor(scores)
    assert average_precision(scores, EVIDENCE).item() == pytest.approx(ap)
    assert recall_at(scores, EVIDENCE, 2).item() == pytest.approx(recall)
    assert recall_at(scores, EVIDENCE, None).item() == pytest.approx(recall)
    assert top1_hit(scores, EVIDENCE).item() == hit


def test_among_leaves_the_others_out():
    scores = torch.tensor([3.0, 1.0, 2.0, 9.0, 8.0])  # of the first three the evidence is first and last
    among = torch.tensor([True, True, True, False, False])
    assert top1_hit(scores, EVIDENCE).item() == 0
    assert top1_hit(scores, EVIDENCE, among).item() == 1
    assert average_precision(scores, EVIDENCE).item() == pytest.approx((1 / 3 + 2 / 5) / 2)
    assert average_precision(scores, EVIDENCE, among).item() == pytest.approx((1 + 2 / 3) / 2)
    assert recall_at(scores, EVIDENCE, 2).item() == 0
    assert recall_at(scores, EVIDENCE, 2, among).item() == 1 / 2
    # evidence that is not ranked does not count
    assert average_precision(scores, torch.tensor([True, False, False, True, True]), among).item() == 1


@pytest.mark.parametrize("first", range(4))
def test_zeros_have_what_random_scores_have_wherever_the_evidence_is(first):
    evidence = torch.zeros(5, dtype=torch.bool)
    evidence[first : first + 2] = True
    zeros = torch.zeros(5)
    # each place has 2/5 of being evidence, and each one before it then 1/4
    expected = sum(2 / 5 * (1 + (place - 1) / 4) / place for place in range(1, 6)) / 2
    assert average_precision(zeros, evidence).item() == pytest.approx(expected)
    assert average_precision(torch.rand(20000, 5), evidence).mean().item() == pytest.approx(expected, abs=0.01)
    assert recall_at(zeros, evidence, 2).item() == pytest.approx(2 / 5)
    assert recall_at(zeros, evidence, 4).item() == pytest.approx(4 / 5)
    assert top1_hit(zeros, evidence).item() == 0


def test_the_default_takes_five_and_none_as_many_as_there_is_evidence():
    scores = torch.arange(9.0, 0, -1)
    evidence = torch.tensor([False] * 3 + [True] * 3 + [False] * 3)
    assert recall_at(scores, evidence).item() == pytest.approx(2 / 3)
    assert recall_at(scores, evidence, 50).item() == 1
    assert recall_at(scores, evidence, None).item() == 0


@given(scores=st.one_of(SCORES, TIED), evidence=MASKS)
def test_average_precision_is_the_mean_over_all_orders_of_ties(scores, evidence):
    found = average_precision(torch.tensor(scores, dtype=torch.float64), torch.tensor(evidence)).item()
    assert found == pytest.approx(naive_average_precision(scores, evidence))


@given(scores=st.lists(st.floats(-3, 3), min_size=8, max_size=8, unique_by=abs), evidence=st.data())
def test_average_precision_without_ties_is_scikit_learns(scores, evidence):
    sklearn = pytest.importorskip(
        "sklearn.metrics", reason="scikit-learn is not here: pip install 'captum-heta[compare]'"
    )
    marks = evidence.draw(st.lists(st.booleans(), min_size=8, max_size=8).filter(any))
    expected = sklearn.average_precision_score(marks, [abs(score) for score in scores])
    found = average_precision(torch.tensor(scores, dtype=torch.float64), torch.tensor(marks))
    assert found.item() == pytest.approx(expected)


@ALL
@given(scores=TIED, evidence=MASKS, order=st.permutations(range(5)))
def test_only_the_order_of_the_magnitudes_counts(metric, scores, evidence, order):
    scores, evidence, order = torch.tensor(scores).double(), torch.tensor(evidence), torch.tensor(order)
    expected = metric(scores, evidence)
    assert 0 <= expected <= 1 + 1e-12
    for same in (-3 * scores, scores**2, scores.abs().sqrt(), scores.float(), scores.bfloat16()):
        torch.testing.assert_close(metric(same, evidence), expected)
    torch.testing.assert_close(metric(scores[order], evidence[order]), expected)


@ALL
@given(scores=TIED, evidence=MASKS, among=MASKS)
def test_among_is_as_if_there_were_no_others(metric, scores, evidence, among):
    scores, evidence, among = torch.tensor(scores).double(), torch.tensor(evidence), torch.tensor(among)
    torch.testing.assert_close(
        metric(scores, evidence, among=torch.ones_like(among)), metric(scores, evidence), equal_nan=True
    )
    torch.testing.assert_close(
        metric(scores, evidence, among=among), metric(scores[among], evidence[among]), equal_nan=True
    )


@given(scores=st.lists(st.floats(-3, 3, width=16), min_size=5, max_size=5, unique_by=abs), evidence=MASKS)
def test_recall_of_as_many_as_there_is_evidence_is_f1(scores, evidence):
    scores, evidence = torch.tensor(scores), torch.tensor(evidence)
    assert recall_at(scores, evidence, None).item() == pytest.approx(alignment_f1(scores, evidence).item())


def test_sharper_scores_have_another_dsa_and_the_same_ranks():
    scores, distractors = torch.tensor([3.0, 1.0, 2.0, 1.0, 1.0]), torch.tensor([False, False, True, True, False])
    assert dsa(scores**2, EVIDENCE, distractors) > dsa(scores, EVIDENCE, distractors)
    assert average_precision(scores**2, EVIDENCE) == average_precision(scores, EVIDENCE)


@ALL
def test_leading_dimensions_are_examples(metric):
    scores, evidence = torch.randint(3, (4, 3, 5)), torch.rand(4, 3, 5) > 0.5
    evidence[..., 2] = True
    among = torch.rand(3, 5) > 0.3
    together = metric(scores, evidence, among=among)
    assert together.shape == (4, 3)
    for i in range(4):
        for j in range(3):
            alone = metric(scores[i, j], evidence[i, j], among=among[j])
            torch.testing.assert_close(together[i, j], alone, equal_nan=True)
    assert metric(scores, evidence[0, 0]).shape == (4, 3)


def test_without_evidence_there_is_no_precision_and_no_recall():
    nowhere = torch.zeros(5, dtype=torch.bool)
    for evidence, among in ((nowhere, None), (EVIDENCE, ~EVIDENCE), (EVIDENCE, nowhere)):
        assert math.isnan(average_precision(torch.rand(5), evidence, among).item())
        assert math.isnan(recall_at(torch.rand(5), evidence, among=among).item())
        assert top1_hit(torch.rand(5), evidence, among).item() == 0


@ALL
def test_what_is_no_number_is_refused_where_it_is_ranked(metric):
    scores = torch.tensor([1.0, 2.0, math.nan, 4.0, math.inf])
    with pytest.raises(ValueError, match="attributions are NaN for some features, which cannot be ordered: leave them"):
        metric(scores, EVIDENCE)
    found = metric(scores, EVIDENCE, among=~scores.isnan())
    torch.testing.assert_close(found, metric(torch.tensor([1.0, 2.0, 4.0, 8.0]), EVIDENCE[[0, 1, 3, 4]]))


@pytest.mark.parametrize(("k", "told"), [(0, "at least 1, got 0"), (2.5, "a whole number, got 2.5")])
def test_k_is_a_count(k, told):
    with pytest.raises(ValueError, match=f"k must be {told}"):
        recall_at(torch.ones(5), EVIDENCE, k)
