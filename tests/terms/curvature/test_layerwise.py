import pytest
import torch

from captum_heta.terms.curvature.layerwise import layerwise_hessian
from captum_heta.terms.curvature.operators import hessian

M, D = 4, 3


def mixed(weight):
    return lambda x: (weight @ x).tanh() * x.exp()


STAGES = {
    "none": [],
    "linear": [lambda x: 2 * x + 1],
    "mixed": [mixed(torch.randn(M, M, dtype=torch.float64)) for _ in range(3)],
}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("last", [lambda h: h.square().sum().log1p(), lambda h: h.sum()])
def test_products_are_those_of_the_whole_graph(name, last):
    x = 0.3 * torch.randn(M, D, dtype=torch.float64)
    vectors = torch.randn(5, M, D, dtype=torch.float64)

    def whole(x):
        for stage in STAGES[name]:
            x = stage(x)
        return last(x)

    leaf = x.clone().requires_grad_()
    expected = hessian(whole(leaf), leaf)(vectors)
    product = layerwise_hessian(STAGES[name], last, x)
    torch.testing.assert_close(product(vectors), expected)
    torch.testing.assert_close(product(vectors[:2]), expected[:2])  # any number of times
