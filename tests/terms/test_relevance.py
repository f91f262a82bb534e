"""The rule of each function: what it gives is what the function gives, and its gradient is the rule's."""

import pytest
import torch
from torch import nn
from torch.nn import functional as fn

from captum_heta.terms.relevance.ruled import Nodes, ruled
from captum_heta.terms.relevance.rules import UncoveredError

X = torch.tensor([[-1.5, 0.4, 2.0], [0.3, -0.2, 1.0]], dtype=torch.float64)
Y = torch.tensor([[0.7, -1.1, 0.5], [2.0, 0.9, -0.6]], dtype=torch.float64)
W = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7], [0.2, 0.8, 1.1]], dtype=torch.float64)
B = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)


def relevance(function, *given):
    """What is given, times the gradient of the sum of what is made; the made is checked to be the function's own."""
    leaves = [one.clone().requires_grad_() for one in given]
    with ruled([]):
        made = function(*leaves)
    assert torch.equal(made, function(*given))
    if made.requires_grad:
        made.sum().backward()
    return made.detach(), [torch.zeros_like(one) if one.grad is None else one * one.grad for one in leaves]


@pytest.mark.parametrize(
    "function",
    [
        fn.silu, fn.gelu, lambda x: fn.gelu(x, approximate="tanh"), fn.relu, torch.tanh, torch.Tensor.relu,
        fn.leaky_relu, fn.elu, fn.mish, fn.hardswish, torch.square, lambda x: x**3, lambda x: x.pow(2),
        lambda x: x.clamp(-1, 1), lambda x: torch.clamp(x, max=0.5), lambda x: x * x, nn.Softsign(),
    ],
)  # fmt: skip
def test_a_function_of_one_number_hands_all_down(function):
    made, (given,) = relevance(function, X)
    torch.testing.assert_close(given.detach(), made)


def test_nothing_comes_of_nothing():
    zeros = torch.zeros(2, 3, dtype=torch.float64)
    assert torch.equal(relevance(fn.silu, zeros)[1][0], zeros)


@pytest.mark.parametrize(
    "function",
    [
        torch.mul, lambda x, y: x * y, lambda x, y: x @ y.T, lambda x, y: torch.matmul(x, y.T),
        lambda x, y: torch.bmm(x[None], y.T[None]), lambda x, y: fn.linear(x, y), lambda x, y: x.mm(y.T),
        lambda x, y: torch.einsum("ij,kj->ik", x, y), lambda x, y: torch.mul(input=x, other=y),
        lambda x, y: torch.zeros(1, 2, 2, dtype=x.dtype).baddbmm(batch1=x[None], batch2=y.T[None], beta=0.5, alpha=2.0),
        lambda x, y: torch.addmm(torch.zeros(2, dtype=x.dtype), x, y.T),
    ],
)  # fmt: skip
def test_the_factors_of_a_product_have_half_each(function):
    made, (first, second) = relevance(function, X, Y)
    torch.testing.assert_close(first.sum(), made.sum() / 2)
    torch.testing.assert_close(second.sum(), made.sum() / 2)


def test_three_factors_have_a_third_each():
    made, parts = relevance(lambda x, y, z: torch.einsum("ij,ij,ij->i", x, y, z), X, Y, X + Y)
    for part in parts:
        torch.testing.assert_close(part.sum(), made.sum() / 3)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 2 * x, lambda x: x * Y, lambda x: Y * x, lambda x: fn.linear(x, W), lambda x: x @ W,
        lambda x: W.T @ x.T, lambda x: -x, lambda x: x / 3, lambda x: x / Y, lambda x: torch.cat([x, 2 * x]),
        lambda x: x.sum(-1), lambda x: x.view(3, 2).transpose(0, 1)[:, 1:], lambda x: x.max(-1).values,
        lambda x: x.topk(2).values,
        lambda x: torch.where(Y > 0, x, 0 * x), lambda x: x.masked_fill(Y > 0, 0), lambda x: x.to(torch.float32),
        lambda x: torch.stack(x.split(1, dim=-1)), lambda x: x.repeat_interleave(2, 0), lambda x: x.T,
        lambda x: fn.conv1d(x[None], W[None, :2]), lambda x: fn.pad(x, (1, 0)), lambda x: x.cumsum(-1),
    ],
)  # fmt: skip
def test_what_is_linear_has_its_own_gradient(function):
    made, (given,) = relevance(function, X)
    torch.testing.assert_close(given.sum(), made.sum().double())
    leaf = X.clone().requires_grad_()
    function(leaf).sum().backward()
    torch.testing.assert_close(given, X * leaf.grad)


def test_in_place_sums_and_writing_are_linear():
    def function(x):
        made = torch.zeros(2, 3, dtype=x.dtype)
        made[:, 0] = x[:, 2]
        made += x
        made.index_add_(0, torch.tensor([1]), x[:1])
        return made.mul_(2).div_(4)

    made, (given,) = relevance(function, X)
    torch.testing.assert_close(given.sum(), made.sum())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
        lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt(),
        lambda x: x / x.norm(dim=-1, keepdim=True),
        lambda x: x * (x * x).mean(-1, keepdim=True).pow(-0.5),
        lambda x: x * x.square().sum(-1, keepdim=True).reciprocal(),
        lambda x: x / x.sum(-1, keepdim=True),
        *([lambda x: fn.rms_norm(x, (3,), B, 1e-6), lambda x: fn.rms_norm(x, (3,))] if hasattr(fn, "rms_norm") else []),
    ],
)
def test_what_a_norm_divides_by_is_held(function):
    made, (given,) = relevance(function, X)
    torch.testing.assert_close(given, made)


@pytest.mark.parametrize("options", [{}, {"weight": W[0]}, {"weight": W[0], "bias": B, "eps": 0.1}])
def test_a_layer_norm_is_linear_with_its_size_held(options):
    made, (given,) = relevance(lambda x: fn.layer_norm(x, (3,), **options), X)
    leaf = X.clone().requires_grad_()
    centred = leaf - leaf.mean(-1, keepdim=True)
    size = (centred.square().mean(-1, keepdim=True) + options.get("eps", 1e-5)).sqrt().detach()
    plain = centred / size * options.get("weight", torch.ones(3))
    torch.testing.assert_close(plain + options.get("bias", torch.zeros(3)), made)
    plain.sum().backward()
    torch.testing.assert_close(given, X * leaf.grad)


def test_one_over_what_varies_is_held():
    assert not relevance(lambda x: Y / x, X)[1][0].any()
    assert not relevance(lambda x: 1 / x, X)[1][0].any()
    _, (above, below) = relevance(lambda x, y: x / y, X, Y)
    torch.testing.assert_close(above, X / Y)
    assert not below.any()


def test_softmax_has_its_own_gradient():
    for function in (lambda x: fn.softmax(x, dim=-1), lambda x: x.log_softmax(-1)):
        leaf = X.clone().requires_grad_()
        function(leaf)[:, 0].sum().backward()
        with ruled([]):
            other = X.clone().requires_grad_()
            made = function(other)
        made[:, 0].sum().backward()
        torch.testing.assert_close(leaf.grad, other.grad)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (torch.exp, "exp"),
        (torch.sigmoid, "sigmoid"),
        (lambda x: 2**x, "__rpow__"),
        (fn.softplus, "softplus"),
        (lambda x: fn.normalize(x), "normalize"),
        (lambda x: x.clamp(min=0.1), "clamp to a range without 0"),
        (lambda x: (2 * x).mul_(x), r"a product in place \(mul_\)"),
        (lambda x: (2 * x).relu_(), "relu_ in place"),
        (lambda x: (2 * x).exp_(), "exp_"),
        (lambda x: x ** x.sum(), "an exponent that is no number"),
        (lambda x: fn.layer_norm(x, (3,), x[0]), "weights that depend on the prompt"),
        (lambda x: fn.prelu(x, x[0, :1]), "prelu of several tensors"),
        (lambda x: torch.special.expit(x), "expit"),
    ],
)
def test_what_has_no_rule_is_refused(function, message):
    with ruled([]), pytest.raises(UncoveredError, match=message):
        function(X.clone().requires_grad_())


def test_what_does_not_depend_on_the_prompt_is_let_alone():
    leaf = X.clone().requires_grad_()
    with ruled([]):
        assert torch.equal(torch.exp(Y), Y.exp())
        assert torch.equal(leaf.argmax(-1), X.argmax(-1))
        assert torch.equal(leaf.detach().sigmoid(), X.sigmoid())
        assert (leaf > 0).sum() == (X > 0).sum()


def test_the_rules_end_with_their_context():
    leaf = X.clone().requires_grad_()
    with pytest.raises(ZeroDivisionError), ruled([]):
        raise ZeroDivisionError
    (leaf * leaf).sum().backward()
    torch.testing.assert_close(leaf.grad, 2 * X)


class TestNodes:
    def noted(self, function):
        nodes, leaf = Nodes(), X.clone().requires_grad_()
        with ruled([], nodes):
            made = function(leaf)
        return nodes.other(made)

    def test_those_of_functions_with_rules_are_known(self):
        def function(x):
            y = fn.layer_norm(fn.silu(fn.linear(x[None], W, B)), (3,), B)
            z = torch.zeros_like(y)
            z[:, 0] = y[:, 1]
            z[:, 1] += y.softmax(-1)[:, 0]
            parts = torch.cat([z * y, y @ y.transpose(1, 2) @ y]).split(1)
            return parts[0].view(-1)

        assert self.noted(function) is None

    def test_others_are_named(self):
        class Double(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return 2 * x

            @staticmethod
            def backward(ctx, gradient):
                return 2 * gradient

        assert self.noted(lambda x: fn.silu(Double.apply(x + 1))) == "DoubleBackward"
