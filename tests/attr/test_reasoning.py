"""Answers followed through the reasoning before them."""

import json
from itertools import pairwise

import pytest
import torch

from captum_heta import HETA, LLMTokenAttribution, TargetedHETA, TextInput
from captum_heta.attr import TDD, GradientNorm, ReasoningTrace
from captum_heta.attr.hops import followed
from captum_heta.attr.recursion import parts_of, through
from captum_heta.features import Features
from captum_heta.testing.architectures import tiny_model

PROMPT, OUTPUTS = torch.tensor([5, 6, 7, 8, 9]), torch.tensor([10, 11, 12, 13])
WEIGHTS = torch.tensor([0.0, 0.5, 2.0, 0.25])
TEXT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
OUTPUT = " Ben lives in Oslo. Oslo"
PARTS = {"reasoning": slice(0, 5), "answer": slice(5, None)}


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama").double()


@pytest.fixture(scope="module")
def llm(demo):
    return LLMTokenAttribution(TargetedHETA(demo[0]), demo[1])


@pytest.fixture(scope="module")
def inp(demo):
    return TextInput(TEXT, demo[1])


@pytest.fixture(scope="module")
def trace(llm, inp):
    return llm.trace(inp, OUTPUT, **PARTS)


class TestTogether:
    @pytest.mark.parametrize("method", [HETA, TargetedHETA, GradientNorm])
    def test_of_one_output_is_its_own(self, model, method):
        options = {} if method is GradientNorm else {"curvature": "fisher"}
        features, weights = Features.of_tokens(range(8)), torch.tensor([0.0, 0, 1, 0])
        found = method(model).attribute_together(PROMPT, OUTPUTS, weights, features, **options)
        longer = torch.cat([PROMPT, OUTPUTS[:2]])
        expected = method(model).attribute_outputs(longer, OUTPUTS[2:3], Features.of_tokens(range(7)), **options)
        torch.testing.assert_close(found.scores[:, :7], expected.scores)
        assert found.scores[0, 7] == 0  # what is explained is no source of itself

    def test_information_is_the_weighted_fall(self, model):
        features = Features(((0,), (1, 3), (5, 6), (7,), (8,)))
        found = HETA(model).attribute_together(
            PROMPT, OUTPUTS, WEIGHTS, features, information="target", curvature="fisher", baselines=3
        )

        def weighted(ids):
            log_probs = model(ids[None]).logits[0, 4:8].log_softmax(-1)
            return (WEIGHTS * log_probs.gather(1, OUTPUTS[:, None])[:, 0]).sum()

        with torch.no_grad():
            ids = torch.cat([PROMPT, OUTPUTS])
            for i, group in enumerate(features.groups):
                masked = ids.clone()
                masked[list(group)] = 3
                expected = weighted(ids) - weighted(masked)
                assert found.terms.target_information[0, i].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-8)

    def test_gradient_norm_is_of_the_weighted_sum(self, model):
        features = Features.of_tokens(range(8))
        found = GradientNorm(model).attribute_together(PROMPT, OUTPUTS, WEIGHTS, features).scores[0]
        x = model.get_input_embeddings()(torch.cat([PROMPT, OUTPUTS])).detach().requires_grad_()
        log_probs = model(inputs_embeds=x[None]).logits[0, 4:8].log_softmax(-1).gather(1, OUTPUTS[:, None])[:, 0]
        (gradient,) = torch.autograd.grad((WEIGHTS * log_probs).sum(), x)
        torch.testing.assert_close(found, gradient[:8].square().sum(-1).float())

    @pytest.mark.parametrize("weights", [[0.0, 0, 0, 0], [1.0, -1, 1, 1], [1.0, 1], [float("nan"), 1, 1, 1]])
    def test_other_weights(self, model, weights):
        with pytest.raises(ValueError, match="weights must be 4 non-negative numbers"):
            HETA(model).attribute_together(PROMPT, OUTPUTS, torch.tensor(weights), Features.of_tokens(range(5)))

    def test_a_contrast(self, model):
        with pytest.raises(ValueError, match="contrast compares outputs one by one"):
            HETA(model).attribute_together(
                PROMPT, OUTPUTS, WEIGHTS, Features.of_tokens(range(5)), contrast=[1, 2, 3, 4]
            )

    @pytest.mark.parametrize("method", [HETA, TargetedHETA, GradientNorm])
    @pytest.mark.filterwarnings("ignore:Nothing in the prompt supports")  # nor alone
    @pytest.mark.parametrize("coarse", [{}, {"parts": [0, 0, 1, 1, 1, 2, 2, 2]}])  # the last in the outputs
    def test_one_after_the_other_as_each_alone(self, model, method, coarse):
        options = coarse | ({} if method is GradientNorm else {"curvature": "fisher"})
        features = Features.of_tokens(range(8))
        several = [torch.tensor(some) for some in ([0, 0, 0, 1.0], [0, 1, 0.5, 0], [0.2, 0, 0.1, 0], WEIGHTS.tolist())]
        with method(model).explaining_together(
            PROMPT, OUTPUTS, torch.ones(4, dtype=torch.bool), features, times=4, **options
        ) as explained:
            found = [explained(weights) for weights in several]
        for weights, one in zip(several, found, strict=True):
            alone = method(model).attribute_together(PROMPT, OUTPUTS, weights, features, **options)
            torch.testing.assert_close(one.scores, alone.scores, rtol=1e-4, atol=1e-9)

    def test_masked_passes_serve_all_weights(self, model):
        features, among = Features.of_tokens(range(8)), torch.ones(4, dtype=torch.bool)
        with HETA(model).explaining_together(PROMPT, OUTPUTS, among, features, curvature="fisher") as explained:
            passes = [explained(weights).about["passes"] for weights in (WEIGHTS, torch.tensor([1.0, 0, 0, 0]))]
        assert passes == [8, 8]

    @pytest.mark.parametrize("among", [[False] * 4, [True] * 3, [1, 0, 1, 0]])
    def test_other_choices_of_outputs(self, model, among):
        features = Features.of_tokens(range(8))
        with (
            pytest.raises(ValueError, match="among must be 4 booleans, one of them true"),
            GradientNorm(model).explaining_together(PROMPT, OUTPUTS, torch.tensor(among), features),
        ):
            pass

    def test_refine_without_parts(self, model):
        with pytest.raises(ValueError, match="refine looks into parts, and there are none"):
            GradientNorm(model).attribute_together(PROMPT, OUTPUTS, WEIGHTS, Features.of_tokens(range(8)), refine=0.9)

    def test_weights_of_other_outputs(self, model):
        features = Features.of_tokens(range(8))
        with (
            GradientNorm(model).explaining_together(PROMPT, OUTPUTS, torch.arange(4) > 1, features) as explained,
            pytest.raises(ValueError, match=r"weights are for the outputs \[2, 3\]"),
        ):
            explained(WEIGHTS)


class TestFollowed:
    def test_hops_add_up_to_what_comes_through_all_of_the_output(self):
        torch.manual_seed(0)
        direct, earlier = parts_of(torch.rand(6, 4), torch.rand(6, 6))
        answer = torch.tensor([0.0, 0, 0, 0, 1, 3])
        thoughts = [0, 1, 2, 3, 4]

        def explained(weights):
            return weights @ direct, (weights @ earlier)[thoughts]

        hops = followed(explained, answer, thoughts, 10)
        assert len(hops) <= 6  # as each leads to an earlier token
        expected = (answer.double() / 4) @ through(direct, earlier)
        found = sum(hop.prompt for hop in hops)
        assert (expected - found).sum() < 0.001
        assert ((expected - found) >= -1e-12).all()
        for before, hop in pairwise(hops):
            torch.testing.assert_close(hop.weights.sum(), before.reasoning.sum())

    def test_stops_when_little_is_left(self):
        calls = []

        def explained(weights):
            calls.append(weights)
            return torch.tensor([0.9995]), torch.tensor([0.0005])

        assert len(followed(explained, torch.tensor([0.0, 1]), [0], 5)) == len(calls) == 1

    def test_stops_where_nothing_supports_it(self):
        hops = followed(lambda weights: (torch.zeros(1), torch.zeros(1)), torch.tensor([0.0, 1]), [0], 5)
        assert len(hops) == 1


class TestTrace:
    def test_parts(self, trace):
        assert [piece.strip() for piece in trace.pieces[:2]] == ["Anna lives in Rome.", "Ben lives in Oslo."]
        assert [piece.strip() for piece in trace.reasoning_pieces] == ["Ben lives in Oslo."]
        assert trace.answer.strip() == "Oslo"
        assert trace.prompt == TEXT
        assert trace.output.strip() == OUTPUT.strip()

    def test_shares_add_up(self, trace):
        assert trace.prompt_attr.sum().item() + trace.left == pytest.approx(1)
        first = trace.hops[0]
        assert first.prompt.sum().item() + first.reasoning.sum().item() == pytest.approx(1)
        assert trace.direct_attr.tolist() == first.prompt.float().tolist()
        for before, hop in pairwise(trace.hops):
            assert hop.prompt.sum() + hop.reasoning.sum() == pytest.approx(before.reasoning.sum().item())

    def test_first_hop_is_the_attribution_to_sentences(self, demo, llm, inp, trace):
        longer = TextInput(inp.ids + demo[1].encode(OUTPUT, add_special_tokens=False)[:5], demo[1])
        mask = torch.cat([inp.sentence_mask(), torch.full((5,), 99)])
        whole = llm.attribute(longer, target=" Oslo", feature_mask=mask).seq_attr
        first = [mask.tolist().index(part) for part in mask.unique()]  # each token carries its sentence's score
        torch.testing.assert_close(torch.cat([trace.direct_attr, trace.reasoning_attr]), whole[first])

    def test_coarse_to_fine_has_tokens(self, llm, inp):
        found = llm.trace(inp, OUTPUT, refine=0.9, **PARTS)
        assert found.pieces == inp.pieces
        assert len(found.reasoning_attr) == 5
        assert found.prompt_attr.sum().item() + found.left == pytest.approx(1)
        assert found.provenance["options"]["refine"] == 0.9

    @pytest.mark.parametrize("method", [HETA, GradientNorm])
    def test_other_methods(self, demo, inp, method):
        found = LLMTokenAttribution(method(demo[0]), demo[1]).trace(inp, OUTPUT, hops=2, **PARTS)
        assert len(found.hops) == 2
        assert found.provenance["hops"] == 2

    def test_a_method_without_weights(self, demo, inp):
        with pytest.raises(TypeError, match="TDD does not explain a weighted sum"):
            LLMTokenAttribution(TDD(demo[0]), demo[1]).trace(inp, OUTPUT, **PARTS)

    def test_a_file_keeps_all(self, trace, tmp_path):
        trace.save(tmp_path / "it.json")
        found = ReasoningTrace.load(tmp_path / "it.json")
        torch.testing.assert_close(found.prompt_attr, trace.prompt_attr)
        for name in ("method", "prompt", "places", "output", "reasoning_places", "answer_place", "of_sentences"):
            assert getattr(found, name) == getattr(trace, name)
        assert found.to_html() == trace.to_html()

    @pytest.mark.parametrize(
        "change",
        [{"kind": "x"}, {"hops": []}, {"places": [[[0, 10_000]]]}, {"hops": [{"weights": 3}]}, {"answer_place": 4}],
    )
    def test_another_file(self, trace, tmp_path, change):
        trace.save(tmp_path / "it.json")
        record = json.loads((tmp_path / "it.json").read_text()) | change
        (tmp_path / "other.json").write_text(json.dumps(record))
        with pytest.raises(ValueError, match="is no trace saved by captum_heta"):
            ReasoningTrace.load(tmp_path / "other.json")

    def test_says_what_it_is_of(self, trace):
        assert repr(trace).startswith("ReasoningTrace(answer='Oslo', method='TargetedHETA', hops=3, left=0.")

    def test_table_and_page(self, trace):
        table = trace.to_dataframe()
        assert list(table["in"]) == ["prompt"] * len(trace.places) + ["reasoning"]
        page = trace.to_html()
        assert "<script" not in page
        assert "Ben lives in Oslo." in page
        assert f"{trace.left:.0%} of the answer stayed in the reasoning" in page
        assert "Reasoning" in trace._repr_html_()
