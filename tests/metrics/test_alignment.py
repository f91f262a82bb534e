import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.metrics import alignment_f1, dsa, mass_on, top1_hit

EVIDENCE = torch.tensor([True, True, False, False, False])
DISTRACTORS = torch.tensor([False, False, True, True, False])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.0, 1.0, 0.0, 0.0, 0.0], 1.0),
        ([0.0, 0.0, 2.0, 0.0, 0.0], -1.0),
        ([0.0, 0.0, 0.0, 0.0, 9.0], 0.0),
        ([3.0, 0.0, -1.0, 0.0, 4.0], 0.25),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 0.0),
    ],
)
def test_dsa_by_hand(scores, expected):
    assert dsa(torch.tensor(scores), EVIDENCE, DISTRACTORS).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "f1", "hit"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0], 1.0, 1.0),
        ([5.0, 1.0, 3.0, 2.0, 4.0], 0.5, 1.0),
        ([1.0, -5.0, 3.0, 2.0, 4.0], 0.5, 1.0),
        ([1.0, 2.0, 3.0, 2.5, 4.0], 0.0, 0.0),
    ],
)
def test_f1_and_hit_by_hand(scores, f1, hit):
    assert alignment_f1(torch.tensor(scores), EVIDENCE).item() == f1
    assert top1_hit(torch.tensor(scores), EVIDENCE).item() == hit


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([3.0, 0.0, -1.0, 0.0, 4.0], 0.375),
        ([-1.0, -1.0, 0.0, 0.0, 0.0], 1.0),
        ([0.0, 0.0, 1.0, 0.0, 0.0], 0.0),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 0.0),
    ],
)
def test_mass_by_hand(scores, expected):
    assert mass_on(torch.tensor(scores), EVIDENCE).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("threshold", "f1"),
    [
        (1.0, 2 / 3),  # the first alone: precision 1, recall 1/2
        (0.5, 1 / 2),  # the first and the third
        (0.4, 2 / 5),  # and the fourth, exactly at the threshold
        (0.2, 4 / 6),  # and the second: precision 1/2, recall 1
        (0.01, 4 / 7),
    ],
)
def test_f1_at_a_threshold_by_hand(threshold, f1):
    scores = torch.tensor([5.0, 1.0, -3.0, 2.0, 0.5])
    assert alignment_f1(scores, EVIDENCE, threshold).item() == pytest.approx(f1)
    assert alignment_f1(scores, EVIDENCE).item() == 0.5


def test_nothing_reaches_a_threshold_where_all_is_zero():
    assert alignment_f1(torch.zeros(2, 5), EVIDENCE, threshold=0.5).tolist() == [0, 0]


@pytest.mark.parametrize("threshold", [0, -0.5, 1.1, float("nan")])
def test_threshold_is_a_part(threshold):
    with pytest.raises(ValueError, match=rf"threshold .* must be in \(0, 1\], got {threshold}. None takes"):
        alignment_f1(torch.ones(5), EVIDENCE, threshold)


@given(st.lists(st.floats(-3, 3, width=16), min_size=5, max_size=5), st.sampled_from([0.25, 0.5, 1.0]))
def test_thresholds_do_not_know_scale_or_order(scores, threshold):
    scores, order = torch.tensor(scores), torch.tensor([4, 2, 0, 1, 3])
    f1, mass = alignment_f1(scores, EVIDENCE, threshold), mass_on(scores, EVIDENCE)
    assert 0 <= f1 <= 1
    assert 0 <= mass <= 1 + 1e-6
    assert alignment_f1(-2 * scores[order], EVIDENCE[order], threshold) == f1
    torch.testing.assert_close(mass_on(-2 * scores[order], EVIDENCE[order]), mass)


@given(st.permutations(range(5)), st.lists(st.floats(-3, 3, width=32), min_size=5, max_size=5, unique=True))
def test_order_of_the_tokens_does_not_matter(order, scores):
    scores = torch.tensor(scores).abs() + 0.01 * torch.arange(5)  # no ties
    for metric, masks in ((dsa, (EVIDENCE, DISTRACTORS)), (alignment_f1, (EVIDENCE,)), (top1_hit, (EVIDENCE,))):
        assert metric(scores[order], *(mask[order] for mask in masks)).item() == pytest.approx(
            metric(scores, *masks).item(), abs=1e-6
        )


def test_leading_dimensions_are_examples():
    scores = torch.rand(3, 5)
    masked = ((alignment_f1, (EVIDENCE,)), (mass_on, (EVIDENCE,)), (top1_hit, (EVIDENCE,)))
    for metric, masks in ((dsa, (EVIDENCE, DISTRACTORS)), *masked):
        together = metric(scores, *(mask.expand(3, 5) for mask in masks))
        torch.testing.assert_close(together, torch.stack([metric(row, *masks) for row in scores]))
