import itertools

import pytest
import torch
from captum.attr import Attribution

from captum_heta import HETA
from captum_heta.features import Features
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


@pytest.fixture(scope="module")
def heta():
    return HETA(tiny_model("llama"))


def attribute(heta, ids=IDS, **options):
    return heta.attribute(ids, **({"target": 3, "n_samples": 2} | options))


def test_is_a_captum_attribution(heta):
    assert isinstance(heta, Attribution)
    assert heta.get_name() == "HETA"
    assert not heta.has_convergence_delta()
    with pytest.raises(NotImplementedError, match="attribute_future is not implemented for HETA"):
        heta.attribute_future()


def test_scores_have_the_shape_of_the_inputs(heta):
    scores, terms = attribute(heta, return_terms=True)
    for values in (scores, *terms):
        assert values.shape == IDS.shape
        assert values.dtype == torch.float32
        assert (values >= 0).all()
        assert not values.requires_grad


def test_a_tuple_is_answered_with_a_tuple(heta):
    (scores,) = attribute(heta, (IDS,))
    assert torch.equal(scores, attribute(heta))


def test_equation_five(heta):
    scores, terms = attribute(heta, beta=0.2, gamma=3.0, return_terms=True)
    flow, curved, lost = terms
    torch.testing.assert_close(scores, flow * (0.2 * curved + 3.0 * lost))
    assert not torch.allclose(scores, attribute(heta))
    torch.testing.assert_close(attribute(heta), flow * (0.5 * curved + 0.5 * lost))
    torch.testing.assert_close(flow.sum(), torch.tensor(1.0))


def test_target_none_explains_the_argmax(heta):
    with torch.no_grad():
        likeliest = heta.model(IDS).logits[0, -1].argmax().item()
    assert torch.equal(attribute(heta, target=None), attribute(heta, target=likeliest))
    assert not torch.allclose(attribute(heta, target=(likeliest + 1) % 97), attribute(heta, target=likeliest))


def test_same_seed_same_scores(heta):
    before = torch.get_rng_state()
    assert torch.equal(attribute(heta, seed=4), attribute(heta, seed=4))
    assert not torch.allclose(attribute(heta, seed=4), attribute(heta, seed=5))
    assert torch.equal(torch.get_rng_state(), before)


def test_causality_what_follows_the_prompt_changes_nothing(heta):
    longer = torch.cat([IDS, torch.tensor([[20, 21]])], dim=1)
    mask = (torch.arange(8) < 6).long()[None]
    assert torch.equal(attribute(heta, longer, additional_forward_args=mask)[:, :6], attribute(heta))


def test_one_token_gets_the_whole_gate(heta):
    scores, terms = attribute(heta, torch.tensor([[5]]), return_terms=True)
    assert scores.shape == (1, 1)
    assert terms.semantic_flow.item() == pytest.approx(1.0)
    assert scores.item() > 0


class TestFeatureMask:
    MASK = torch.tensor([[4, 4, 0, 1, 0, 1]])

    def test_tokens_of_a_feature_share_its_score(self, heta):
        scores, terms = attribute(heta, feature_mask=self.MASK, return_terms=True)
        for values in (scores, *terms):
            assert values[0, 0] == values[0, 1]
            assert values[0, 2] == values[0, 4]
            assert values[0, 3] == values[0, 5]
        alone = attribute(heta, return_terms=True)[1]
        torch.testing.assert_close(terms.semantic_flow[0, 2], alone.semantic_flow[0, [2, 4]].sum())
        assert not torch.allclose(terms.information[0, 2], alone.information[0, 2])

    def test_a_mask_of_single_tokens_changes_nothing(self, heta):
        assert torch.equal(attribute(heta, feature_mask=torch.arange(6)[None]), attribute(heta))

    def test_only_which_tokens_are_grouped_matters(self, heta):
        other_names = torch.tensor([[10, 10, 3, 7, 3, 7]])
        first, second = (attribute(heta, feature_mask=mask, return_terms=True)[1] for mask in (self.MASK, other_names))
        torch.testing.assert_close(first, second)

    def test_broadcasts_over_the_batch(self, heta):
        both = attribute(heta, IDS.repeat(2, 1), feature_mask=self.MASK)
        torch.testing.assert_close(both, attribute(heta, feature_mask=(self.MASK,)).repeat(2, 1))


class TestOptions:
    def test_curvature_modes_differ_in_the_curvature_alone(self, heta):
        modes = ("exact", "low_rank", "gauss_newton", "fisher")
        found = [attribute(heta, curvature=mode, rank=4, return_terms=True)[1] for mode in modes]
        for one, other in itertools.combinations(found, 2):
            assert not torch.allclose(one.curvature, other.curvature)
            assert torch.equal(one.information, other.information)

    def test_auto_is_exact_for_a_short_prompt(self, heta):
        assert torch.equal(attribute(heta, curvature="auto"), attribute(heta, curvature="exact"))
        assert torch.equal(attribute(heta, rank=2), attribute(heta, curvature="low_rank", rank=2))

    @pytest.mark.parametrize("curvature", ["low_rank", "fisher"])
    def test_rank(self, heta, curvature):
        assert not torch.allclose(attribute(heta, curvature=curvature, rank=2), attribute(heta, curvature=curvature))

    @pytest.mark.parametrize("curvature", ["exact", "gauss_newton", "fisher"])
    def test_a_window_cuts_no_feature(self, heta, curvature):
        # the windows are for the mode that takes all tokens' Hessian at once; these take one feature's block at a time
        expected = attribute(heta, curvature=curvature)
        assert torch.equal(attribute(heta, curvature=curvature, window=2, overlap=0.0), expected)
        assert torch.equal(attribute(heta, curvature=curvature, window=None), expected)

    def test_window_and_overlap_of_low_rank(self, heta):
        options = {"curvature": "low_rank", "rank": 4}
        found = [attribute(heta, **options)] + [
            attribute(heta, **options, window=2, overlap=overlap) for overlap in (0.0, 0.5)
        ]
        assert not torch.allclose(found[0], found[1])
        assert not torch.allclose(found[1], found[2])

    @pytest.mark.parametrize("size", [1, 2, 50])
    def test_perturbations_per_eval_bounds_the_batch_and_changes_no_number(self, heta, monkeypatch, size):
        rows = []
        log_probs = type(heta._lm).log_probs

        def counted(lm, embeds, *args, **kwargs):
            rows.append(len(embeds))
            return log_probs(lm, embeds, *args, **kwargs)

        expected = attribute(heta)
        monkeypatch.setattr(type(heta._lm), "log_probs", counted)
        torch.testing.assert_close(attribute(heta, perturbations_per_eval=size), expected)
        assert max(rows) <= size

    @pytest.mark.parametrize("mode", ["exact", "low_rank", "gauss_newton", "fisher"])
    def test_last_n_layers_reaches_the_curvature_alone(self, heta, mode):
        whole, last = (
            attribute(heta, curvature=mode, last_n_layers=count, return_terms=True)[1] for count in (None, 1)
        )
        assert not torch.allclose(whole.curvature, last.curvature)
        assert torch.equal(whole.information, last.information)

    def test_progress_bar_is_captums_and_reaches_its_end(self, heta, capsys):
        attribute(heta, show_progress=True)
        shown = capsys.readouterr().err
        assert "HETA attribution: 100%" in shown
        assert "12/12" in shown
        attribute(heta)
        assert capsys.readouterr().err == ""


class TestOutputs:
    """`attribute_outputs`, which serves the LLM wrapper."""

    def test_each_output_is_what_attribute_says_after_the_outputs_before_it(self, heta):
        outputs = torch.tensor([3, 20, 4])
        features = Features.of_tokens(range(6))
        result = heta.attribute_outputs(IDS[0], outputs, features, n_samples=2)
        assert result.scores.shape == (3, 6)
        for t, target in enumerate(outputs.tolist()):
            longer = torch.cat([IDS, outputs[None, :t]], dim=1)
            scores, terms = attribute(heta, longer, target=target, return_terms=True)
            torch.testing.assert_close(result.scores[t], scores[0, :6])
            torch.testing.assert_close(result.terms.semantic_flow[t], terms.semantic_flow[0, :6])

    def test_trials_average_fresh_draws(self, heta):
        features = Features.of_tokens(range(6))
        options = {"outputs": torch.tensor([3]), "features": features, "n_samples": 2, "seed": 1, "curvature": "exact"}
        one = heta.attribute_outputs(IDS[0], **options)
        three = heta.attribute_outputs(IDS[0], **options, num_trials=3)
        assert not torch.allclose(one.terms.curvature, three.terms.curvature)
        assert torch.equal(one.terms.information, three.terms.information)
        many = heta.attribute_outputs(IDS[0], **(options | {"n_samples": 400})).terms.curvature
        averaged = heta.attribute_outputs(IDS[0], **options, num_trials=100).terms.curvature
        assert ((averaged - many) / many).abs().max() < 0.15


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_bfloat16_is_close_to_float32(name):
    expected = attribute(HETA(tiny_model(name)), return_terms=True)[1]
    found = attribute(HETA(tiny_model(name).bfloat16()), return_terms=True)[1]
    for half, full in zip(found, expected, strict=True):
        assert half.dtype == torch.float32
        assert (half - full).abs().max() < 0.1 * full.max()
