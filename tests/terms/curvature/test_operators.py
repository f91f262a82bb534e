import torch

from captum_heta.terms.curvature.operators import gauss_newton, hessian, jacobian_transposed


def test_hessian_products_are_those_of_the_dense_hessian():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def f(x):
        return (x.sin().sum(0).prod() * x[1:].square().sum()).exp().log1p()

    dense = torch.autograd.functional.hessian(f, x).reshape(12, 12)
    vectors = torch.randn(5, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(hessian(f(x), x)(vectors).flatten(1), vectors.flatten(1) @ dense)


def test_linear_function_has_no_curvature():
    x = torch.randn(4, 3, requires_grad=True)
    assert (hessian((x * torch.randn(4, 3)).sum(), x)(torch.randn(2, 4, 3)) == 0).all()


def test_constant_function_has_no_curvature():
    x = torch.randn(4, 3, requires_grad=True)
    constant = torch.ones(1, requires_grad=True).square().sum()
    assert (hessian(constant, x)(torch.randn(2, 4, 3)) == 0).all()


def test_jacobian_products():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, dtype=torch.float64)

    def f(x):
        return (weight @ x.exp()).sum(-1)

    dense = torch.autograd.functional.jacobian(f, x)
    vectors = torch.randn(6, 5, dtype=torch.float64)
    found = jacobian_transposed(f(x), x)(vectors)
    torch.testing.assert_close(found, torch.einsum("pv,vid->pid", vectors, dense))


def test_gauss_newton_products():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, dtype=torch.float64)

    def logits(x):
        return (weight @ x.exp()).sum(-1)

    p = logits(x).softmax(-1).detach()
    jacobian = torch.autograd.functional.jacobian(logits, x).flatten(1)
    dense = jacobian.T @ (p.diag() - torch.outer(p, p)) @ jacobian
    vectors = torch.randn(6, 4, 3, dtype=torch.float64)
    found = gauss_newton(logits(x).log_softmax(-1), x)(vectors)
    torch.testing.assert_close(found.flatten(1), vectors.flatten(1) @ dense)
