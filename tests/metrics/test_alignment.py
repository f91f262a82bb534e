import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_heta.metrics import alignment_f1, dsa, top1_hit

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


@given(st.permutations(range(5)), st.lists(st.floats(-3, 3, width=32), min_size=5, max_size=5, unique=True))
def test_order_of_the_tokens_does_not_matter(order, scores):
    scores = torch.tensor(scores).abs() + 0.01 * torch.arange(5)  # no ties
    for metric, masks in ((dsa, (EVIDENCE, DISTRACTORS)), (alignment_f1, (EVIDENCE,)), (top1_hit, (EVIDENCE,))):
        assert metric(scores[order], *(mask[order] for mask in masks)).item() == pytest.approx(
            metric(scores, *masks).item(), abs=1e-6
        )


def test_leading_dimensions_are_examples():
    scores = torch.rand(3, 5)
    for metric, masks in ((dsa, (EVIDENCE, DISTRACTORS)), (alignment_f1, (EVIDENCE,)), (top1_hit, (EVIDENCE,))):
        together = metric(scores, *(mask.expand(3, 5) for mask in masks))
        torch.testing.assert_close(together, torch.stack([metric(row, *masks) for row in scores]))
