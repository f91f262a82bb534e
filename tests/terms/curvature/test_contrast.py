import pytest
import torch

from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, trace_of
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature import curvature
from captum_heta.terms.curvature.estimators import draw_probes
from captum_heta.testing import reference
from captum_heta.testing.architectures import tiny_model

FEATURES = Features(((0,), (1, 2), (3,), (4,)))
IDS = torch.tensor([5, 6, 7, 8, 9])
NAMES = ["llama", "gpt2", "gemma2"]


def probes(embeds, features=FEATURES):
    drawn = torch.zeros(3, *embeds.shape, dtype=embeds.dtype)
    tokens = sorted(token for group in features.groups for token in group)
    drawn[:, tokens] = draw_probes(features.groups, 3, embeds, torch.Generator().manual_seed(0))
    return drawn


def estimate(trace, mode, targets, contrast, together=None, features=FEATURES, **options):
    chosen = CurvatureOptions(curvature=mode, n_samples=3, **options)
    return curvature(trace, features, targets, chosen, Batch(16), together=together, contrast=contrast).scores


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    model = tiny_model(request.param).double()
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready():
        yield model, trace_of(lm, lm.embed(IDS), 1)


def test_exact_is_the_hessian_of_the_difference(case):
    model, trace = case
    expected = reference.dense_curvature(
        reference.dense_hessian(model, trace.embeds, 3, 7), FEATURES.groups, probes(trace.embeds)
    )
    torch.testing.assert_close(estimate(trace, "exact", [3], [7])[0], expected)


@pytest.mark.parametrize("mode", ["fisher", "gauss_newton"])
def test_the_matrix_of_the_choice_between_the_two(case, mode):
    model, trace = case
    expected = reference.dense_curvature(
        reference.dense_choice(model, trace.embeds, 3, 7), FEATURES.groups, probes(trace.embeds)
    )
    torch.testing.assert_close(estimate(trace, mode, [3], [7])[0], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("contrast", [None, 7])
def test_the_squared_gradient(case, contrast):
    model, trace = case
    expected = reference.naive_squared_gradient(model, trace.embeds, 3, FEATURES.groups, contrast)
    others = None if contrast is None else [contrast]
    torch.testing.assert_close(estimate(trace, "gradient", [3], others)[0], expected)


def test_full_rank_is_exact(case):
    _, trace = case
    exact = estimate(trace, "exact", [3], [7])
    torch.testing.assert_close(
        estimate(trace, "low_rank", [3], [7], rank=trace.embeds.numel(), tolerance=0), exact, rtol=1e-4, atol=0
    )


def test_a_token_compared_with_itself_has_none(case):
    _, trace = case
    for mode in ("exact", "fisher", "gradient"):
        assert estimate(trace, mode, [3], [3]).abs().max() < 1e-12


def test_outputs_together_are_compared_together(case):
    model, _ = case
    lm, prompt = CausalLM(model), Features(FEATURES.groups[:3])
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(IDS), 2)
        joint = estimate(trace, "exact", [3, 4], [7, 8], together=torch.ones(2), features=prompt)[0]
        choices = estimate(trace, "fisher", [3, 4], [7, 8], together=torch.ones(2), features=prompt)[0]
    # the first output is predicted before the last token
    hessians = torch.zeros(*trace.embeds.shape, *trace.embeds.shape, dtype=torch.float64)
    fishers = hessians.clone()
    for k, (target, other) in enumerate([(3, 7), (4, 8)]):
        seen = len(IDS) - 1 + k
        hessians[:seen, :, :seen] += reference.dense_hessian(model, trace.embeds[:seen], target, other)
        fishers[:seen, :, :seen] += reference.dense_choice(model, trace.embeds[:seen], target, other)
    drawn = probes(trace.embeds, prompt)
    torch.testing.assert_close(joint, reference.dense_curvature(hessians, prompt.groups, drawn))
    torch.testing.assert_close(choices, reference.dense_curvature(fishers, prompt.groups, drawn), rtol=1e-6, atol=0)


def test_a_choice_takes_a_gradient_an_output(case):
    _, trace = case

    def products(contrast, **options):
        found = curvature(trace, FEATURES, [3], CurvatureOptions(**options), Batch(4), contrast=contrast)
        return found.mode, found.products

    assert products(None, curvature="fisher", rank=12, remainder=12) == ("fisher", 12)
    assert products([7], curvature="fisher", rank=12) == ("fisher", 1)
    assert products([7], curvature="gauss_newton") == ("gauss_newton", 1)
    assert products(None, curvature="gradient") == ("gradient", 1)
    assert products(None, curvature="exact", n_samples=3) == ("exact", 3 * len(FEATURES))
