import pytest
import torch

from captum_heta.terms.curvature.layerwise import Chain
from captum_heta.terms.curvature.operators import gauss_newton, hessian, jacobian_transposed

M, D = 4, 3


def mixed(weight):
    return lambda x: (weight @ x).tanh() * x.exp()


GENERATOR = torch.Generator().manual_seed(0)


def drawn(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


STAGES = {
    "none": [],
    "linear": [lambda x: 2 * x + 1],
    "mixed": [mixed(drawn(M, M)) for _ in range(3)],
}


POINT = 0.3 * drawn(M, D)
VECTORS = drawn(5, M, D)


def whole(name, last):
    x = POINT.clone().requires_grad_()
    states = x
    for stage in STAGES[name]:
        states = stage(states)
    return last(states), x


def logits(states):
    return (states.exp().sum(-1) * torch.arange(1, M + 1)).log_softmax(-1)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("last", [lambda h: h.square().sum().log1p(), lambda h: h.sum()])
def test_hessian_products_are_those_of_the_whole_graph(name, last):
    expected = hessian(*whole(name, last))(VECTORS)
    product = Chain(STAGES[name], POINT).hessian(last)
    torch.testing.assert_close(product(VECTORS), expected)
    torch.testing.assert_close(product(VECTORS[:2]), expected[:2])  # any number of times


@pytest.mark.parametrize("name", STAGES)
def test_gauss_newton_products_are_those_of_the_whole_graph(name):
    chain = Chain(STAGES[name], POINT)
    product = chain.sandwiched(gauss_newton(logits(chain.top), chain.top))
    expected = gauss_newton(*whole(name, logits))(VECTORS)
    torch.testing.assert_close(product(VECTORS), expected)
    torch.testing.assert_close(product(VECTORS[:2]), expected[:2])


@pytest.mark.parametrize("name", STAGES)
def test_gradients_are_those_of_the_whole_graph(name):
    chain, rows = Chain(STAGES[name], POINT), drawn(6, M)
    above = jacobian_transposed(logits(chain.top), chain.top)(rows)
    expected = jacobian_transposed(*whole(name, logits))(rows)
    torch.testing.assert_close(chain.pulled_back(above), expected)
    torch.testing.assert_close(Chain(STAGES[name], POINT, batched=False).pulled_back(above), expected)
