import pytest
import torch

from captum_heta.inputs.parts import summed


def test_sums_are_of_the_parts_in_their_order():
    assert summed(torch.tensor([1.0, -2.0, 4.0]), ["b", "a", "b"], ["a", "c", "b"]) == {"a": -2.0, "c": 0.0, "b": 5.0}
    assert list(summed([1.0], ["b"], ["c", "b"])) == ["c", "b"]


@pytest.mark.parametrize("scores", [[1.0], [[1.0, 2.0]], 3.0])
def test_scores_that_are_not_one_for_each_feature_are_an_error(scores):
    with pytest.raises(ValueError, match="one number for each of the 2 features, \\(2,\\), got shape.*seq_attr"):
        summed(scores, ["a", "b"], ["a", "b"])
