import pytest
import torch

from captum_heta.models import CausalLM
from captum_heta.models.head import contiguous_before, cut_after
from captum_heta.testing.architectures import tiny_model


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "bloom"])
def test_a_cut_head_predicts_the_same_and_does_not_know_from_what(name):
    model = tiny_model(name).double()
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready(), torch.enable_grad():
        x = lm.embed(torch.tensor([5, 6, 7])).requires_grad_()
        whole = lm.log_probs(x[None])
        with lm.cut_at_head() as cut:
            found = lm.log_probs(x[None])
        state, leaf, weight = cut.only()
        assert torch.equal(found, whole)
        assert torch.autograd.grad(found[0, 0, 3], x, retain_graph=True, allow_unused=True) == (None,)
        # the chain rule puts both parts together again
        (above,) = torch.autograd.grad(found[0, 0, 3], leaf)
        (through,) = torch.autograd.grad(state, x, above @ weight)
        torch.testing.assert_close(through, torch.autograd.grad(whole[0, 0, 3], x)[0])
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_heads_whose_derivatives_are_not_known_are_not_cut():
    class Quantized(torch.nn.Linear):
        pass

    for head in (Quantized(3, 4), None):
        with cut_after(head) as cut:
            if head is not None:
                head(torch.ones(1, 3))
        assert cut.only() is None
        assert cut.states == []


def test_a_model_may_write_into_what_a_cut_head_gives():
    head = torch.nn.Linear(3, 4)
    with cut_after(head) as cut:
        logits = head(torch.ones(1, 3))
        logits[:, 0] = -1e4
    _, leaf, _ = cut.only()
    assert torch.equal(leaf, head(torch.ones(1, 3)))
    (above,) = torch.autograd.grad(logits.sum(), leaf)
    assert above.tolist() == [[0, 1, 1, 1]]


def test_a_head_that_is_called_twice_is_told():
    head = torch.nn.Linear(3, 4)
    with cut_after(head) as cut:
        head(torch.ones(1, 3))
        head(torch.ones(1, 3))
    assert cut.only() is None
    assert len(cut.states) == 2


def test_views_with_gaps_are_made_whole():
    head, seen = torch.nn.Linear(3, 4), []
    head.register_forward_pre_hook(lambda _, given: seen.append(given[0].is_contiguous()))
    states = torch.randn(2, 5, 3)[:, -1:]
    with contiguous_before(head):
        found = head(states)
    assert seen[0]
    torch.testing.assert_close(found, head(states))
