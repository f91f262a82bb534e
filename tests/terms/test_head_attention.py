import pytest
import torch

from captum_heta.models import CausalLM
from captum_heta.models.trace import trace_of
from captum_heta.terms.head_attention import Ablated, attention_of_heads, correlation, head_weights
from captum_heta.testing.architectures import tiny_model


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_rows_are_those_that_the_model_returns(name):
    model = tiny_model(name)
    ids, lm = torch.tensor([5, 17, 8, 40, 2, 33, 9]), CausalLM(model)
    with lm.ready(), torch.no_grad():
        trace = trace_of(lm, lm.embed(ids), 2)
        returned = model(ids[None], output_attentions=True).attentions
        for layer, expected in zip(trace.layers, returned, strict=True):
            torch.testing.assert_close(attention_of_heads(layer, trace.output_positions), expected[0, :, 5:7])


def drawn(seed, weights, noise=0.0, sources=6, rows=40):
    generator = torch.Generator().manual_seed(seed)
    attention = torch.rand(sources, len(weights), generator=generator)
    kept = torch.randint(2, (rows, sources), generator=generator).bool()
    outcomes = kept.double() @ attention.double() @ weights
    return Ablated(attention, kept, outcomes + noise * torch.randn(rows, generator=generator, dtype=torch.float64))


def test_weights_that_made_the_outcomes_are_found_up_to_their_scale():
    weights = torch.tensor([2.0, 0, -1, 0.5], dtype=torch.float64)
    examples = [drawn(0, weights)]
    found = head_weights(examples, penalty=0)
    torch.testing.assert_close(found / found[0], weights / weights[0])
    assert correlation(examples, found) == pytest.approx(1)
    assert correlation(examples, -found) == pytest.approx(-1)


def test_it_is_the_ridge_regression():
    weights = torch.tensor([2.0, 0, -1], dtype=torch.float64)
    examples = [drawn(seed, weights, noise=0.3) for seed in (1, 2)]
    rows, outcomes = (torch.cat(columns) for columns in zip(*(one.design() for one in examples), strict=True))
    # of equally many rows each example counts the same
    gram = rows.T @ rows / 40
    expected = torch.linalg.solve(
        gram + 0.2 * gram.diagonal().mean() * torch.eye(3, dtype=torch.float64), rows.T @ outcomes / 40
    )
    torch.testing.assert_close(head_weights(examples, penalty=0.2), expected)


def test_an_answer_that_nothing_changes_teaches_nothing():
    weights = torch.tensor([1.0, -1], dtype=torch.float64)
    constant = drawn(3, weights)._replace(outcomes=torch.full((40,), 2.5))
    assert constant.design()[1].tolist() == [0.0] * 40
    assert head_weights([constant], penalty=0.1).abs().max() == 0
    assert correlation([constant], weights) == 0
