"""Every other method against its slow implementation, on three architectures, in float64."""

import math

import pytest
import torch
from sklearn.linear_model import Lasso
from sklearn.preprocessing import StandardScaler

from captum_heta.attr import (
    TDD,
    AttentionRollout,
    ContextCite,
    InformationFlowRoutes,
    LastAttention,
    NormXLogit,
    Peering,
    ProgressiveInference,
    ReAGent,
    context_cite,
)
from captum_heta.features import Features
from captum_heta.testing import methods as slow
from captum_heta.testing.architectures import VOCAB_SIZE, tiny_model

IDS = torch.tensor([5, 17, 8, 40, 2, 33, 9])
OUTPUTS = torch.tensor([11, 60, 3])
TOKENS = Features.of_tokens(range(len(IDS)))
# groups of neighbours and of others; token 4 in no feature, a feature without tokens
GROUPS = Features(((0, 1), (2, 6), (), (3,), (5,)))


@pytest.fixture(scope="module", params=["gpt2", "llama", "qwen2"])
def model(request):
    return tiny_model(request.param).double()


@pytest.fixture(scope="module")
def eager(model):
    """The same model with attention that transformers returns."""
    return tiny_model(model.config.model_type, attn_implementation="eager").double()


def prompt(k):
    """What stands before output ``k``."""
    return torch.cat([IDS, OUTPUTS[:k]])


def check(method, expected, **options):
    """Scores of every output against the slow ones, of groups and of the outputs together against their sums."""
    found = method.attribute_outputs(IDS, OUTPUTS, TOKENS, **options)
    wanted = torch.stack([torch.as_tensor(expected(k)) for k in range(len(OUTPUTS))])
    torch.testing.assert_close(found.scores.double(), wanted.double(), rtol=1e-5, atol=1e-7)
    log_probs = [slow.next_probs(method.model, prompt(k))[OUTPUTS[k]].log() for k in range(len(OUTPUTS))]
    torch.testing.assert_close(found.log_probs.double(), torch.stack(log_probs), rtol=1e-5, atol=1e-6)
    together = method.attribute_outputs(IDS, OUTPUTS, TOKENS, per_token=False, **options)
    torch.testing.assert_close(together.scores, found.scores.sum(0, keepdim=True))
    return found.scores


def check_sums(method, scores, **options):
    grouped = method.attribute_outputs(IDS, OUTPUTS, GROUPS, **options).scores
    torch.testing.assert_close(grouped, GROUPS.sum(scores))


class TestNormXLogit:
    def test_is_norm_times_own_logit(self, model):
        method = NormXLogit(model)
        scores = check(method, lambda k: slow.naive_normxlogit(model, prompt(k), OUTPUTS[k])[: len(IDS)])
        check_sums(method, scores)

    @pytest.mark.parametrize("layer", [0, 1])
    def test_of_a_layer_goes_through_the_final_norm_too(self, model, layer):
        norm = model.transformer.ln_f if model.config.model_type == "gpt2" else model.model.norm
        check(
            NormXLogit(model),
            lambda k: slow.naive_normxlogit(model, prompt(k), OUTPUTS[k], norm, layer)[: len(IDS)],
            layer=layer,
        )

    def test_last_layer_is_the_default(self, model):
        found = [NormXLogit(model).attribute(IDS[None], layer=layer) for layer in (2, None)]
        torch.testing.assert_close(*found)

    @pytest.mark.parametrize("layer", [-1, 3])
    def test_layer_out_of_range(self, model, layer):
        with pytest.raises(ValueError, match=f"layer must be from 0 to 2, the layers of .*, got {layer}"):
            NormXLogit(model).attribute(IDS[None], layer=layer)


@pytest.mark.parametrize("method", [AttentionRollout, LastAttention])
def test_attention_is_transformers_own(model, eager, method):
    naive = slow.naive_rollout if method is AttentionRollout else slow.naive_last_attention
    scores = check(method(model), lambda k: naive(eager, prompt(k))[: len(IDS)])
    check_sums(method(model), scores)
    assert scores[0].sum().item() == pytest.approx(1)  # what is left of later ones is on the outputs before
    assert (scores >= 0).all()


class TestTDD:
    @pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
    @pytest.mark.parametrize("alternatives", [None, [7], [[7, 8], [9, 10], [1, 2]]])
    def test_runs_every_part_of_the_text(self, model, direction, alternatives):
        rows = alternatives if alternatives and isinstance(alternatives[0], list) else [alternatives or []] * 3
        scores = check(
            TDD(model),
            lambda k: slow.naive_tdd(model, IDS, int(OUTPUTS[k]), rows[k], direction, OUTPUTS[:k]),
            direction=direction,
            alternatives=alternatives,
            perturbations_per_eval=3,
        )
        check_sums(TDD(model), scores, direction=direction, alternatives=alternatives)

    @pytest.mark.parametrize(("direction", "times"), [("forward", 1), ("backward", 1), ("bidirectional", 2)])
    def test_sums_to_the_difference_of_probabilities(self, model, direction, times):
        probs = slow.next_probs(model, IDS)
        found = TDD(model).attribute(IDS[None], target=11, direction=direction, alternatives=7)
        assert found.sum().item() == pytest.approx(times * (probs[11] - probs[7]).item(), rel=1e-4)

    def test_options_out_of_range(self, model):
        with pytest.raises(ValueError, match="direction must be one of forward, backward, bidirectional, got 'up'"):
            TDD(model).attribute(IDS[None], direction="up")
        with pytest.raises(ValueError, match=r"one row for each of the 1 outputs, got \(2, 1\) torch.int64"):
            TDD(model).attribute(IDS[None], alternatives=[[1], [2]])


def test_progressive_inference_runs_every_prefix(model):
    def steps(k):
        probs = [slow.next_probs(model, prompt(k)[: i + 1])[OUTPUTS[k]].item() for i in range(len(IDS))]
        return [after - before for before, after in zip([0.0, *probs], probs, strict=False)]

    scores = check(ProgressiveInference(model), steps)
    check_sums(ProgressiveInference(model), scores)
    assert scores[0].sum().item() == pytest.approx(slow.next_probs(model, IDS)[11].item(), rel=1e-5)


class TestPeering:
    @pytest.mark.parametrize("layer", [0, 1])
    def test_is_a_cosine(self, model, layer):
        check(
            Peering(model),
            lambda k: slow.naive_peering(model, prompt(k), int(OUTPUTS[k]), layer)[: len(IDS)],
            layer=layer,
        )

    def test_middle_layer_is_the_default_and_features_have_means(self, model):
        whole = Peering(model).attribute_outputs(IDS, OUTPUTS, TOKENS, layer=1).scores
        grouped = Peering(model).attribute_outputs(IDS, OUTPUTS, GROUPS).scores
        expected = [whole[:, list(group)].mean(1) if group else torch.zeros(3) for group in GROUPS.groups]
        torch.testing.assert_close(grouped, torch.stack(expected, dim=1))


class TestReAGent:
    options = {"max_steps": 6, "replace_ratio": 0.4, "keep_ratio": 0.3}  # noqa: RUF012

    @pytest.mark.parametrize("top_k", [3, 40])
    def test_one_probe_is_the_papers_recursion(self, model, top_k):
        method = ReAGent(model)
        steps = []

        def expected(k):
            def replacer(ids, replaced, generator):
                changed = method.replacer(ids[:, : len(IDS)], replaced[:, : len(IDS)], generator)
                return torch.cat([changed, ids[:, len(IDS) :]], dim=1)

            # the slow one is given the outputs before as tokens that never change
            probe = _Prefix(model, OUTPUTS[:k])
            scores, taken = slow.naive_reagent(
                probe, IDS, int(OUTPUTS[k]), replacer, seed=4, top_k=top_k, **self.options
            )
            steps.append(taken)
            return scores

        check(method, expected, n_probes=1, seed=4, top_k=top_k, **self.options)
        assert max(steps) == 6 if top_k == 3 else min(steps) < 6  # probes run out of steps, and stop

    def test_scores_are_means_over_probes_that_sum_to_one(self, model):
        found = ReAGent(model).attribute_outputs(IDS, OUTPUTS, TOKENS, **self.options).scores
        torch.testing.assert_close(found.sum(1), torch.ones(3))

    def test_draws_are_of_the_seed_alone(self, model):
        before = torch.get_rng_state()
        first = ReAGent(model).attribute(IDS[None], **self.options)
        torch.rand(3)
        assert torch.equal(ReAGent(model).attribute(IDS[None], **self.options), first)
        assert not torch.equal(ReAGent(model).attribute(IDS[None], seed=1, **self.options), first)
        torch.testing.assert_close(ReAGent(model).attribute(IDS[None], perturbations_per_eval=3, **self.options), first)
        torch.set_rng_state(before)

    def test_every_option_matters(self, model):
        first = ReAGent(model).attribute(IDS[None], target=11, **self.options)
        for change in (
            {"n_probes": 3},
            {"max_steps": 2},
            {"replace_ratio": 0.8},
            {"keep_ratio": 0.9, "top_k": 60},
        ):
            assert not torch.equal(ReAGent(model).attribute(IDS[None], target=11, **(self.options | change)), first)
        trials = ReAGent(model).attribute_outputs(IDS, OUTPUTS[:1], TOKENS, num_trials=2, n_probes=4, **self.options)
        probes = ReAGent(model).attribute_outputs(IDS, OUTPUTS[:1], TOKENS, n_probes=8, **self.options)
        assert torch.equal(trials.scores, probes.scores)

    def test_features_are_replaced_together_and_context_never(self, model):
        seen = []

        def replacer(ids, replaced, generator):
            seen.append(replaced)
            return ids

        ReAGent(model, replacer).attribute_outputs(IDS, OUTPUTS[:1], GROUPS, **self.options)
        masks = torch.cat(seen)
        assert (masks[:, 0] == masks[:, 1]).all()
        assert (masks[:, 2] == masks[:, 6]).all()
        assert not masks[:, 4].any()
        assert masks.any(0).sum() == 6

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ({"replace_ratio": 1.0}, r"replace_ratio is a part of the features and must be in \(0, 1\), got 1.0"),
            ({"keep_ratio": 0.0}, r"keep_ratio is a part"),
            ({"n_probes": 0}, "n_probes must be at least 1, got 0"),
            ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
            ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ],
    )
    def test_options_out_of_range(self, model, option, message):
        with pytest.raises(ValueError, match=message):
            ReAGent(model).attribute(IDS[None], **option)


class _Prefix:
    """A model that reads some tokens after whatever it is given."""

    def __init__(self, model, after):
        self.model, self.after = model, after

    def __call__(self, input_ids, **kwargs):
        return self.model(input_ids=torch.cat([input_ids, self.after[None]], dim=1), **kwargs)


class TestContextCite:
    def recorded(self, model, features, **options):
        """Scores, and the masks that they were fitted to."""
        masks = []
        log_probs = context_cite.log_probs_without
        with pytest.MonkeyPatch.context() as patch:
            recorded = lambda lm, kept, task: masks.append(kept) or log_probs(lm, kept, task)  # noqa: E731
            patch.setattr(context_cite, "log_probs_without", recorded)
            scores = ContextCite(model).attribute_outputs(IDS, OUTPUTS, features, **options).scores
        return scores[0].double(), torch.cat(masks[:-1])  # the last is the whole prompt

    @pytest.mark.parametrize("alpha", [0.001, 0.01])
    def test_is_the_papers_lasso_on_the_same_masks(self, model, alpha):
        scores, masks = self.recorded(model, GROUPS, n_samples=400, alpha=alpha)
        assert masks.shape == (400, len(GROUPS))
        odds = []
        for mask in masks:
            dropped = [i for group, keep in zip(GROUPS.groups, mask, strict=True) if not keep for i in group]
            odds.append(
                slow.naive_log_odds(model, IDS[[i for i in range(len(IDS)) if i not in dropped]], OUTPUTS.tolist())
            )
        scaler = StandardScaler()
        lasso = Lasso(alpha=alpha).fit(scaler.fit_transform(masks.numpy()), torch.tensor(odds) / len(OUTPUTS))
        expected = torch.tensor(lasso.coef_ / scaler.scale_ * len(OUTPUTS))
        # the deviation of a source is 1/2, and in a sample nearly
        torch.testing.assert_close(scores, expected, rtol=0.05, atol=0.1 * alpha * len(OUTPUTS))

    def test_penalty_makes_it_sparse(self, model):
        few, many = (self.recorded(model, TOKENS, alpha=alpha)[0] for alpha in (0.5, 0.0001))
        assert (few == 0).sum() > (many == 0).sum()

    def test_draws_are_of_the_seed_alone(self, model):
        before = torch.get_rng_state()
        first, masks = self.recorded(model, TOKENS)
        assert torch.equal(torch.get_rng_state(), before)
        again, other = self.recorded(model, TOKENS, perturbations_per_eval=3)
        torch.testing.assert_close(first, again)
        assert torch.equal(masks, other)
        assert masks.shape == (64, 7)
        assert not torch.equal(self.recorded(model, TOKENS, seed=1)[1], masks)
        assert len(self.recorded(model, TOKENS, num_trials=2)[1]) == 128

    def test_a_single_source_leaves_something_to_read(self, model):
        scores, masks = self.recorded(model, Features((tuple(range(len(IDS))),)))
        assert 0 < masks.sum() < len(masks)
        assert math.isfinite(scores.item())

    def test_a_sure_answer_has_finite_odds(self, model):
        sure = tiny_model("llama").double()
        sure.lm_head.weight.data *= 500
        output = slow.next_probs(sure, IDS).argmax()[None]
        found = ContextCite(sure).attribute_outputs(IDS, output, TOKENS)
        assert torch.isfinite(found.scores).all()

    @pytest.mark.parametrize(("option", "message"), [({"n_samples": 0}, "n_samples must"), ({"alpha": -1}, "alpha")])
    def test_options_out_of_range(self, model, option, message):
        with pytest.raises(ValueError, match=message):
            ContextCite(model).attribute(IDS[None], **option)

    def test_other_sources_are_refused(self, model):
        with pytest.raises(ValueError, match="sources must be 'sentence' or 'token', got 'page'"):
            ContextCite(model, sources="page")


ALL = {
    "AttentionRollout": {},
    "ContextCite": {"n_samples": 8},
    "InformationFlowRoutes": {},
    "LastAttention": {},
    "NormXLogit": {},
    "Peering": {},
    "ProgressiveInference": {},
    "ReAGent": {"max_steps": 2, "n_probes": 2},
    "TDD": {},
}
CLASSES = {
    method.__name__: method
    for method in (
        AttentionRollout, ContextCite, InformationFlowRoutes, LastAttention, NormXLogit, Peering, ProgressiveInference,
        ReAGent, TDD,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
class TestEveryMethod:
    def test_explains_padded_batches_row_by_row(self, model, name):
        method, options = CLASSES[name](model), ALL[name]
        batch = torch.stack([IDS, torch.cat([torch.zeros(2, dtype=torch.long), IDS[:5]])])
        mask = torch.ones_like(batch)
        mask[1, :2] = 0
        scores = method.attribute(batch, [11, 60], mask, **options)
        assert scores.shape == batch.shape
        assert scores.dtype == torch.float32
        assert (scores[1, :2] == 0).all()
        torch.testing.assert_close(scores[0], method.attribute(IDS[None], 11, **options)[0])
        torch.testing.assert_close(scores[1, 2:], method.attribute(IDS[None, :5], 60, **options)[0])

    def test_explains_the_models_own_choice_without_a_target(self, model, name):
        method, options = CLASSES[name](model), ALL[name]
        own = int(slow.next_probs(model, IDS).argmax())
        assert torch.equal(method.attribute(IDS[None], **options), method.attribute(IDS[None], own, **options))
        (scores,) = method.attribute((IDS[None],), **options)
        assert torch.equal(scores, method.attribute(IDS[None], own, **options))

    def test_each_token_carries_its_features_score(self, model, name):
        method, options = CLASSES[name](model), ALL[name]
        mask = torch.tensor([[3, 3, 5, 3, 1, 1, 1]])
        scores = method.attribute(IDS[None], 11, feature_mask=mask, **options)[0]
        assert scores[0] == scores[1] == scores[3]
        assert scores[4] == scores[5] == scores[6]
        grouped = Features(((4, 5, 6), (0, 1, 3), (2,)))
        expected = method.attribute_outputs(IDS, torch.tensor([11]), grouped, **options).scores[0]
        torch.testing.assert_close(torch.stack([scores[4], scores[0], scores[2]]), expected)

    def test_leaves_the_model_as_it_was(self, model, name):
        # a fresh one: transformers' own outputs leave hooks on a model for good
        model = tiny_model(model.config.model_type).train()
        before = [parameter.requires_grad for parameter in model.parameters()]
        CLASSES[name](model).attribute(IDS[None], **ALL[name])
        assert model.training
        assert [parameter.requires_grad for parameter in model.parameters()] == before
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert model.config._attn_implementation == "sdpa"

    def test_other_positions_are_refused(self, model, name):
        with pytest.raises(ValueError, match=f"{name} takes no position_ids"):
            CLASSES[name](model).attribute(
                IDS[None], additional_forward_args={"position_ids": torch.arange(3, 10)[None]}
            )

    def test_inputs_are_checked(self, model, name):
        with pytest.raises(ValueError, match=f"inputs has token id {VOCAB_SIZE}"):
            CLASSES[name](model).attribute(torch.tensor([[VOCAB_SIZE]]))
        with pytest.raises(ValueError, match="more than the 64 positions"):
            CLASSES[name](model).attribute(torch.ones(1, 65, dtype=torch.long), target=1)
        with pytest.raises(NotImplementedError):
            CLASSES[name](model).attribute_future()
