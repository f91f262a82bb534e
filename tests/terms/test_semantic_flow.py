import pytest
import torch
from torch import nn

from captum_heta.models import AttentionLayer
from captum_heta.terms.semantic_flow import rollout, semantic_flow
from captum_heta.testing.reference import naive_semantic_flow


def layer(heads=4, shared=2, length=5, size=3, width=6):
    weights = torch.rand(heads, length, length, dtype=torch.float64).tril()
    projection = nn.Linear(heads * size, width, dtype=torch.float64).requires_grad_(False)
    values = torch.randn(shared, length, size, dtype=torch.float64)
    weights /= weights.sum(-1, keepdim=True)
    return AttentionLayer(lambda: iter([(0, weights[:, :2, :2]), (2, weights[:, 2:])]), values, projection)


@pytest.mark.parametrize("shared", [1, 2, 4])
def test_equals_triple_loop(shared):
    layers = [layer(shared=shared) for _ in range(3)]
    positions = torch.tensor([4, 2])
    expected = [naive_semantic_flow(layers, int(p), [part.projection.weight.T for part in layers]) for p in positions]
    torch.testing.assert_close(semantic_flow(layers, positions), torch.stack(expected))


def test_is_a_distribution_over_what_the_target_sees():
    flow = semantic_flow([layer() for _ in range(3)], torch.tensor([4, 2, 0]))
    assert (flow >= 0).all()
    torch.testing.assert_close(flow.sum(-1), torch.ones(3, dtype=torch.float64))
    assert (flow[1, 3:] == 0).all()
    assert flow[2].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_rollout_keeps_the_mass_of_the_target():
    for followed in rollout([layer() for _ in range(4)], torch.tensor([4, 1])):
        torch.testing.assert_close(followed.sent.sum(-1), torch.ones(2, dtype=torch.float64))
        torch.testing.assert_close(followed.below.sum(-1), torch.ones(2, dtype=torch.float64))


def test_a_token_that_no_head_attends_to_has_no_flow():
    layers = [layer() for _ in range(2)]
    for part in layers:
        for start, weights in part.weights():
            weights[:, :, 1] = 0
            if start == 0:  # the token attends to itself
                weights[:, 1] = torch.tensor([0.0, 1.0])
    assert semantic_flow(layers, torch.tensor([4]))[0, 1] == 0


def test_attention_without_values_is_an_error():
    empty = layer()
    empty.values.zero_()
    with pytest.raises(ValueError, match="No attention head carries anything"):
        semantic_flow([empty], torch.tensor([4]))


def test_joint_flow_starts_from_all_targets_at_once():
    layers, positions = [layer() for _ in range(3)], torch.tensor([4, 2])
    together = [followed.sent for followed in rollout(layers, positions, torch.tensor([3.0, 1.0]))]
    apart = [
        followed.sent.T @ torch.tensor([0.75, 0.25], dtype=followed.sent.dtype)
        for followed in rollout(layers, positions)
    ]
    apart = [row[None] for row in apart]
    torch.testing.assert_close(together, apart)
    assert semantic_flow(layers, positions, torch.ones(2)).shape == (1, 5)
    torch.testing.assert_close(
        semantic_flow(layers, positions[:1], torch.ones(1)), semantic_flow(layers, positions[:1])
    )
