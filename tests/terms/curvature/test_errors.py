"""Error bars of S: whether they hold, and what is done with them."""

import pytest
import torch

from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, trace_of
from captum_heta.options import CurvatureOptions
from captum_heta.terms.curvature import curvature
from captum_heta.terms.curvature.low_rank import low_rank
from captum_heta.testing import reference
from captum_heta.testing.architectures import tiny_model

# of Student's t with as many degrees of freedom: the half width of a 95% interval in standard errors
T = {9: 2.262, 29: 2.045, 99: 1.984}
FEATURES = Features(((0,), (1, 2), (3,), (4,)))


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def case(request):
    model = tiny_model(request.param).double()
    lm = CausalLM(model)
    with lm.lock, lm.restored(), lm.ready():
        yield model, trace_of(lm, lm.embed(torch.tensor([5, 6, 7, 8, 9])), 1)


def found(case, mode, contrast=None, **options):
    options = CurvatureOptions(curvature=mode, **options)
    return curvature(case[1], FEATURES, [3], options, Batch(64), contrast=contrast)


def truth(case, mode):
    """S from the dense matrix and very many probes."""
    model, trace = case
    matrix = (
        reference.dense_hessian(model, trace.embeds, 3)
        if mode in ("exact", "low_rank")
        else reference.dense_fisher(model, trace.embeds)
    ).detach()
    means = []
    generator = torch.Generator().manual_seed(77)
    for group in FEATURES.groups:
        block = matrix[list(group)][:, :, list(group)].flatten(2).flatten(0, 1)
        signs = 2.0 * torch.randint(2, (20_000, len(block)), generator=generator) - 1
        means.append((signs.double() @ block).abs().sum(-1).mean())
    return torch.stack(means)


@pytest.mark.parametrize("mode", ["exact", "gauss_newton", "low_rank", "fisher"])
@pytest.mark.parametrize("count", [10, 30])
def test_the_interval_holds_in_95_cases_of_a_hundred(case, mode, count):
    whole = {"low_rank": {"rank": 10_000, "tolerance": 0}, "fisher": {"rank": 1000, "coverage": 1.0}}.get(mode, {})
    right = truth(case, mode)
    seeds = 12 if mode == "low_rank" else 40
    inside = []
    for seed in range(seeds):
        one = found(case, mode, n_samples=count, seed=seed, **whole)
        assert one.omitted < 1e-6
        inside.append((one.scores[0] - right).abs() <= T[count - 1] * one.errors[0])
    share = torch.stack(inside).double().mean().item()
    assert share >= 0.90  # of 160 draws or 48, 95% expected
    assert torch.stack(inside).double().mean() > 0.9


def test_a_single_probe_knows_no_error(case):
    assert found(case, "exact", n_samples=1).errors.isnan().all()


class TestTolerance:
    @pytest.mark.parametrize("mode", ["exact", "gauss_newton"])
    def test_draws_until_the_error_is_below_it(self, case, mode):
        one = found(case, mode, tolerance=0.05)
        assert (one.errors <= 0.05 * one.scores).all()
        assert len(FEATURES) * 10 < one.products < len(FEATURES) * 400
        assert found(case, mode, tolerance=0.1).products < one.products
        right = truth(case, mode)
        assert ((one.scores[0] - right).abs() < 0.2 * right).all()

    def test_draws_at_most_so_many(self, case):
        one = found(case, "exact", tolerance=0.0, n_samples=25)
        assert one.products == 25 * len(FEATURES)
        whole = found(case, "exact", n_samples=25)
        assert ((one.scores - whole.scores).abs() < 0.6 * whole.scores).all()

    def test_without_it_all_are_drawn(self, case):
        assert found(case, "exact").products == 10 * len(FEATURES)

    def test_a_choice_between_two_tokens_takes_all_probes_as_they_cost_nothing(self, case):
        errors = [
            found(case, "gauss_newton", contrast=[5], **more).errors
            for more in ({"n_samples": 10}, {}, {"tolerance": 0.05})
        ]
        assert errors[1].mean() < 0.5 * errors[0].mean()
        assert errors[2].mean() < 0.7 * errors[1].mean()

    @pytest.mark.parametrize("mode", ["fisher", "gradient"])
    def test_is_refused_where_it_means_nothing(self, mode):
        with pytest.raises(ValueError, match=f"tolerance is of .* got 0.1 with '{mode}': leave it out"):
            CurvatureOptions(curvature=mode, tolerance=0.1)


@pytest.fixture(scope="module")
def demo_trace(demo):
    model, tokenizer = demo
    lm = CausalLM(model)
    ids = torch.tensor(
        tokenizer.encode("Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:")
    )
    with lm.lock, lm.restored(), lm.ready():
        yield trace_of(lm, lm.embed(ids), 1)


class TestSettling:
    def features(self, trace):
        return Features.of_tokens(range(len(trace.embeds)))

    def found(self, trace, **options):
        chosen = CurvatureOptions(curvature="low_rank", **options)
        return curvature(trace, self.features(trace), [3], chosen, Batch(64))

    def test_stops_before_the_rank_when_s_has_settled(self, demo_trace):
        all_of_them = self.found(demo_trace, tolerance=0)
        early = self.found(demo_trace)
        late = self.found(demo_trace, tolerance=0.01)
        assert all_of_them.products == 64
        assert 16 <= early.products < 64
        assert early.products <= late.products <= 64
        assert 0 < all_of_them.omitted < 0.3
        change = (early.scores - all_of_them.scores).abs().sum() / all_of_them.scores.sum()
        assert 0 < change < 0.5

    def test_a_single_block_says_that_half_may_be_left(self, demo_trace):
        assert self.found(demo_trace, rank=1, tolerance=0).omitted == 0.5


class TestWhatIsKnown:
    """The bounds of the page "How exact is S?", on dense matrices of tiny models."""

    def blocks(self, case, mode="exact"):
        model, trace = case
        find = reference.dense_hessian if mode == "exact" else reference.dense_fisher
        matrix = (find(model, trace.embeds, 3) if mode == "exact" else find(model, trace.embeds)).detach()
        for group in FEATURES.groups:
            yield matrix[list(group)][:, :, list(group)].flatten(2).flatten(0, 1)

    def test_s_lies_between_the_sum_of_row_norms_and_that_over_the_root_of_two(self, case):
        for block, s in zip(self.blocks(case), truth(case, "exact"), strict=True):
            rows = block.norm(dim=1).sum()
            assert rows / 2**0.5 * 0.99 <= s <= rows * 1.01

    def test_the_variance_of_a_probe_is_at_most_the_squares_of_column_norms(self, case):
        generator = torch.Generator().manual_seed(5)
        for block in self.blocks(case):
            signs = 2.0 * torch.randint(2, (4000, len(block)), generator=generator).double() - 1
            assert (signs @ block).abs().sum(-1).var() <= block.abs().sum(0).square().sum()

    def test_what_fisher_leaves_out_changes_s_by_at_most_its_trace(self, case):
        whole = found(case, "fisher", rank=1000, coverage=1.0, n_samples=2000)
        few = found(case, "fisher", rank=4, remainder=0, n_samples=2000)
        assert 0 < few.omitted < 1
        left = sum(block.trace() for block in self.blocks(case, "fisher"))
        for i, block in enumerate(self.blocks(case, "fisher")):
            assert (whole.scores[0, i] - few.scores[0, i]).abs() <= len(block) ** 0.5 * block.trace() * 1.01
        assert left > 0

    def test_what_low_rank_leaves_out_is_told(self, case):
        """As the falling gains of its blocks go on, which is right to a small factor."""
        model, trace = case
        matrix = reference.dense_hessian(model, trace.embeds, 3).detach().flatten(2).flatten(0, 1)
        said, left = [], []
        for rank in (16, 32, 64):
            found = low_rank(
                lambda vectors: (vectors.flatten(1) @ matrix).view_as(vectors),
                torch.zeros_like(trace.embeds),
                rank,
                torch.Generator().manual_seed(0),
                Batch(100),
            )
            said.append(found.omitted)
            left.append((1 - found.values.square().sum() / matrix.square().sum()).item())
            # what is left out is orthogonal to what is kept: its squared norm is the difference
            kept = torch.einsum("k,ki,kj->ij", found.values, found.vectors.flatten(1), found.vectors.flatten(1))
            torch.testing.assert_close((matrix - kept).square().sum(), left[-1] * matrix.square().sum())
        for one, other in zip(said, left, strict=True):
            assert other / 6 < one < other * 6
        assert said[0] > said[-1]
