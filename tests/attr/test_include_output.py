"""Earlier outputs as sources of later ones."""

import pytest
import torch

from captum_heta import HETA, LLMTokenAttribution, TargetedHETA, TextInput
from captum_heta.attr import (
    TDD,
    AttentionRollout,
    AttnLRP,
    ContextCite,
    GradientNorm,
    InformationFlowRoutes,
    LastAttention,
    LLMTokenAttributionResult,
    NormXLogit,
    ProgressiveInference,
    ReAGent,
)
from captum_heta.attr.recursion import parts_of, through
from captum_heta.features import Features
from captum_heta.testing.architectures import tiny_model

PROMPT, OUTPUTS = torch.tensor([5, 6, 7, 8, 9]), torch.tensor([10, 11, 12])
FEATURES = Features.of_tokens(range(5))

CASES = [
    (HETA, {"curvature": "exact", "n_samples": 2}),
    (HETA, {"curvature": "gauss_newton", "n_samples": 2}),
    (HETA, {"curvature": "gauss_newton", "n_samples": 40, "tolerance": 0.3}),
    (HETA, {"curvature": "fisher"}),
    (HETA, {"curvature": "low_rank", "rank": 300, "tolerance": 0}),
    (HETA, {"curvature": "exact", "n_samples": 2, "baselines": 3, "last_n_layers": 1}),
    (HETA, {"curvature": "fisher", "contrast": [4, 20, 21]}),
    (TargetedHETA, {"skip": 0}),
    (GradientNorm, {}),
    (AttnLRP, {}),
    (AttnLRP, {"contrast": [4, 20, 21]}),
    (AttentionRollout, {}),
    (LastAttention, {}),
    (InformationFlowRoutes, {}),
    (HETA, {"curvature": "fisher", "flow": "published"}),
    (NormXLogit, {}),
    (TDD, {"alternatives": torch.tensor([[3], [4], [5]])}),
    (ProgressiveInference, {}),
    (ReAGent, {"n_probes": 2, "max_steps": 5}),
]


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama").double()


def of_one(options, k):
    """The options of one output of several."""
    one = dict(options)
    for name in ("contrast", "alternatives"):
        if name in one:
            one[name] = torch.as_tensor(one[name])[k : k + 1]
    return one


@pytest.mark.parametrize(("method", "options"), CASES, ids=lambda case: getattr(case, "__name__", None))
def test_rows_are_those_of_the_prompt_with_the_outputs_before(model, method, options):
    attribution = method(model)
    plain = attribution.attribute_outputs(PROMPT, OUTPUTS, FEATURES, **options)
    found = attribution.attribute_outputs(PROMPT, OUTPUTS, FEATURES, include_output=True, **options)
    torch.testing.assert_close(found.scores, plain.scores, rtol=0, atol=0)
    assert plain.output_scores is None
    assert found.output_scores.shape == (3, 3)
    assert torch.equal(found.output_scores, found.output_scores.tril(-1))
    for k in range(3):
        longer = torch.cat([PROMPT, OUTPUTS[:k]])
        expected = attribution.attribute_outputs(
            longer, OUTPUTS[k : k + 1], Features.of_tokens(range(5 + k)), **of_one(options, k)
        ).scores[0]
        scale = 1
        if method in (TargetedHETA, ReAGent):  # which give shares of other wholes
            scale = found.scores[k].sum() / expected[:5].sum()
        else:
            torch.testing.assert_close(found.scores[k], expected[:5], rtol=2e-4, atol=1e-7)
        torch.testing.assert_close(found.output_scores[k, :k], scale * expected[5:], rtol=2e-4, atol=1e-7)
    assert found.output_scores.abs().max() > 0


def test_balanced_terms_are_over_those_of_the_prompt(model):
    options = {"curvature": "fisher", "include_output": True}
    plain = HETA(model).attribute_outputs(PROMPT, OUTPUTS, FEATURES, beta=1, gamma=0, **options)
    other = HETA(model).attribute_outputs(PROMPT, OUTPUTS, FEATURES, beta=0, gamma=1, **options)
    found = HETA(model).attribute_outputs(PROMPT, OUTPUTS, FEATURES, beta="balanced", **options)
    sums = [term.sum(-1, keepdim=True) for term in (plain.terms.curvature, plain.terms.information)]
    expected = (plain.output_scores / sums[0] + other.output_scores / sums[1]) / 2
    torch.testing.assert_close(found.output_scores, expected)


def test_skipping_in_the_prompt_stays_as_it_is(demo):
    """What an output takes from others does not make the prompt's own scores less exact."""
    model, tokenizer = demo
    llm = LLMTokenAttribution(TargetedHETA(model), tokenizer)
    facts = "Anna lives in Rome. Ben lives in Oslo. Clara lives in Paris. David lives in Cairo. Emma lives in Lima. "
    inp = TextInput(f"{facts * 3}Question: Where does Ben live?\nAnswer:", tokenizer)
    options = {"target": " Oslo.", "skip": 0.3}
    plain, found = (llm.attribute(inp, include_output=include, **options) for include in (False, True))
    torch.testing.assert_close(found.token_attr, plain.token_attr)
    assert found.provenance["skipped"] == plain.provenance["skipped"] > 0
    assert found.provenance["options"]["include_output"] is True


def test_coarse_to_fine_has_them_too(demo):
    model, tokenizer = demo
    llm = LLMTokenAttribution(HETA(model), tokenizer)
    inp = TextInput("Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:", tokenizer)
    options = {"target": " Oslo.", "curvature": "fisher", "include_output": True}
    whole, refined = llm.attribute(inp, **options), llm.attribute(inp, refine=0.9, **options)
    torch.testing.assert_close(refined.output_attr, whole.output_attr)


class TestThrough:
    def matrices(self):
        torch.manual_seed(0)
        return torch.rand(6, 4, dtype=torch.float64), torch.rand(6, 6, dtype=torch.float64)

    def test_is_the_dense_inverse(self):
        direct, earlier = parts_of(*self.matrices())
        expected = torch.linalg.inv(torch.eye(6) - earlier) @ direct
        torch.testing.assert_close(through(direct, earlier), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(expected.sum(-1), torch.ones(6, dtype=torch.float64))

    def test_is_the_sum_over_all_paths(self):
        direct, earlier = parts_of(*self.matrices())
        rows = []
        for k in range(6):  # what an output has directly, and its part of what those before have
            rows.append(direct[k] + sum((earlier[k, j] * rows[j] for j in range(k)), torch.zeros(4)))
        torch.testing.assert_close(through(direct, earlier), torch.stack(rows))

    def test_counts_what_speaks_against_as_nothing(self):
        scores = torch.tensor([[1.0, -3.0], [0.0, 0.0], [-1.0, -1.0]])
        earlier = torch.tensor([[0.0, 9.0, 9.0], [2.0, 0.0, 9.0], [-1.0, -2.0, 0.0]])
        found = through(*parts_of(scores, earlier))
        assert found.tolist() == [[1, 0], [1, 0], [0, 0]]  # nothing speaks for the last

    def test_does_not_leave_the_range_of_numbers(self):
        scores, earlier = self.matrices()
        expected = through(*parts_of(scores, earlier))
        small = [(1e-40 * part).float() for part in (scores, earlier)]
        torch.testing.assert_close(through(*parts_of(*small)), expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(through(*parts_of(1e300 * scores, 1e300 * earlier)), expected)


@pytest.fixture(scope="module")
def result(demo):
    model, tokenizer = demo
    inp = TextInput("Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:", tokenizer)
    llm = LLMTokenAttribution(HETA(model), tokenizer)
    return llm.attribute(inp, target=" Oslo.", curvature="fisher", include_output=True)


class TestResult:
    def test_through_output(self, result):
        count = len(result.output_tokens)
        assert count > 1
        assert result.output_attr.shape == (count, count)
        direct, earlier = result.direct_and_earlier()
        torch.testing.assert_close((direct.sum(-1) + earlier.sum(-1)), torch.ones(count))
        found = result.through_output()
        assert found.shape == result.token_attr.shape
        torch.testing.assert_close(found.sum(-1), torch.ones(count))
        expected = torch.linalg.inv(torch.eye(count).double() - earlier.double()) @ direct.double()
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)

    def test_page(self, result):
        plain, through = result.to_html(), result.to_html(through=True)
        assert "is followed to the prompt" in through
        assert "is followed to the prompt" not in plain
        count = len(result.output_tokens)
        assert plain.count("<details>") == through.count("<details>") == count

    def test_answer(self, result):
        rows = result.through_output()
        weights = -result.output_probs.log()
        torch.testing.assert_close(result.answer(), (weights / weights.sum()) @ rows)
        torch.testing.assert_close(result.answer(weights="even"), rows.mean(0))
        torch.testing.assert_close(result.answer(-1), rows[-1])
        torch.testing.assert_close(result.answer(slice(0, 1)), rows[0])
        torch.testing.assert_close(result.answer(range(1), "even"), rows[0])
        torch.testing.assert_close(result.answer("Oslo"), rows[0])

    @pytest.mark.parametrize("span", [slice(9, 12), [7], "Rome", "", []])
    def test_a_part_that_it_does_not_have(self, result, span):
        with pytest.raises(ValueError, match="span"):
            result.answer(span)

    def test_other_weights(self, result):
        with pytest.raises(ValueError, match="weights must be one of surprise, even"):
            result.answer(weights="likely")

    def test_keeps_them_in_a_file(self, result, tmp_path):
        result.save(tmp_path / "it.json")
        torch.testing.assert_close(LLMTokenAttributionResult.load(tmp_path / "it.json").output_attr, result.output_attr)

    def test_without(self, demo):
        model, tokenizer = demo
        plain = LLMTokenAttribution(GradientNorm(model), tokenizer).attribute(
            TextInput("Anna", tokenizer), target=" is"
        )
        with pytest.raises(ValueError, match="pass include_output=True"):
            plain.through_output()


class TestRefusals:
    def test_outputs_as_a_whole(self, model):
        with pytest.raises(ValueError, match="ContextCite"):
            ContextCite(model).attribute_outputs(PROMPT, OUTPUTS, FEATURES, include_output=True)
        with pytest.raises(ValueError, match="per_token=False"):
            HETA(model).attribute_outputs(PROMPT, OUTPUTS, FEATURES, include_output=True, per_token=False)

    def test_a_baseline_for_each_token_of_the_prompt(self, model):
        with pytest.raises(ValueError, match="pass one id for all"):
            HETA(model).attribute_outputs(
                PROMPT, OUTPUTS, FEATURES, include_output=True, baselines=torch.arange(5), curvature="fisher"
            )
