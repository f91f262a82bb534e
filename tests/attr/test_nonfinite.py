"""No number that is none: an error says what, or the number is right."""

import pytest
import torch
from transformers import LlamaForCausalLM

from captum_heta import HETA
from captum_heta.attr import TDD, ContextCite, NormXLogit, ReAGent
from captum_heta.terms.curvature.estimate import Estimate
from captum_heta.terms.information import divergence
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[2, 5, 9, 23, 7, 9, 41, 3]])
MODES = ("auto", "exact", "low_rank", "gauss_newton", "fisher")
every_mode = pytest.mark.parametrize("mode", MODES)


class Impossible(LlamaForCausalLM):
    """Gives one token the probability 0, as models with bad words or grammars do."""

    def forward(self, *arguments, **named):
        output = super().forward(*arguments, **named)
        output.logits = output.logits.index_fill(-1, torch.tensor([7]), -torch.inf)
        return output


@pytest.fixture
def impossible():
    model = Impossible(tiny_model("llama").config).eval()
    model.load_state_dict(tiny_model("llama").state_dict())
    return model


@every_mode
def test_an_impossible_token_adds_nothing(impossible, mode):
    scores, terms = HETA(impossible).attribute(IDS, target=4, curvature=mode, return_terms=True)
    assert torch.isfinite(scores).all()
    embeds = impossible.get_input_embeddings()(IDS).detach()
    with torch.no_grad():
        original = impossible(inputs_embeds=embeds).logits[0, -1].log_softmax(-1)
        for i in range(8):
            masked = embeds.clone()
            masked[0, i] = 0
            changed = impossible(inputs_embeds=masked).logits[0, -1].log_softmax(-1)
            kept = original > -torch.inf
            expected = (original.exp() * (original - changed))[kept].sum()
            torch.testing.assert_close(terms.information[0, i], expected, rtol=1e-3, atol=1e-6)


@every_mode
def test_an_impossible_target_is_refused(impossible, mode):
    with pytest.raises(ValueError, match="gives token 7 the probability 0: there is nothing to explain"):
        HETA(impossible).attribute(IDS, target=7, curvature=mode)


@every_mode
@pytest.mark.parametrize("part", ["lm_head.weight", "model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers(mode, part, value):
    model = tiny_model("llama", tie_word_embeddings=False)
    model.get_parameter(part).data[9] = value
    with pytest.raises(RuntimeError, match="predicts NaN after this prompt: check its embeddings and weights"):
        HETA(model).attribute(IDS, target=5, curvature=mode)


@pytest.mark.parametrize("mode", ["auto", "exact", "low_rank"])
def test_second_derivatives_that_overflow(mode):
    model = tiny_model("gpt2").half()
    model.transformer.wte.weight.data *= 0.01  # GPT-2's attention scales by the deviation of its inputs
    try:
        scores = HETA(model).attribute(IDS, target=5, curvature=mode)
    except RuntimeError as error:
        assert "second derivatives of GPT2LMHeadModel in torch.float16 are not finite" in str(error)  # noqa: PT017
    else:
        assert torch.isfinite(scores).all()
        assert (scores > 0).any()


def test_low_rank_does_not_take_nan_for_zero(monkeypatch):
    monkeypatch.setattr(
        Estimate,
        "_hessian",
        lambda self, function, x: (lambda vectors: torch.full_like(vectors, torch.nan), self.batch),
    )
    with pytest.raises(RuntimeError, match="second derivatives of LlamaForCausalLM in torch.float32 are not finite"):
        HETA(tiny_model("llama")).attribute(IDS, target=5, curvature="low_rank")


@pytest.mark.parametrize("method", [NormXLogit, TDD, ReAGent, ContextCite])
def test_other_methods_give_no_nan(method):
    model = tiny_model("llama", tie_word_embeddings=False)
    model.model.layers[1].mlp.down_proj.weight.data[9] = torch.nan
    with pytest.raises((RuntimeError, ValueError), match="NaN|not finite"):
        method(model).attribute(IDS, target=5)


def test_divergence():
    original = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]).log()
    changed = torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.5, 0.0]]).log()
    torch.testing.assert_close(divergence(original, changed), torch.tensor([0.5 + 0.5, 1.0]) * torch.tensor(2.0).log())
    assert divergence(changed[:1], original[:1]).item() == torch.inf
    assert divergence(original, original).tolist() == [0, 0]
