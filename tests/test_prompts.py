"""What a person may pass to HETA.attribute, and what each wrong thing is answered with."""

import pytest
import torch

from captum_heta import HETA
from captum_heta.testing.architectures import VOCAB_SIZE, tiny_model

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def heta():
    return HETA(tiny_model("llama"))


def attribute(heta, ids=IDS, **options):
    return heta.attribute(ids, **({"target": 3, "n_samples": 1} | options))


def two_prompts(pad_left):
    ids = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    return (ids.flip(1) if pad_left else ids), (mask.flip(1) if pad_left else mask)


class TestErrors:
    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            (torch.zeros(1, 0, dtype=torch.long), "The prompt is empty"),
            (torch.zeros(0, 3, dtype=torch.long), "The prompt is empty"),
            (torch.zeros(3, dtype=torch.long), r"integer tensor of shape \(batch, length\), got \(3,\)"),
            (torch.zeros(1, 3), "got .*float32"),
            ([[1, 2]], "got list"),
            (torch.tensor([[1, VOCAB_SIZE]]), f"inputs has token id {VOCAB_SIZE}, outside the vocabulary"),
            (torch.tensor([[1, -1]]), "inputs has token id -1"),
            (torch.ones(1, 65, dtype=torch.long), "65 tokens, more than the 64 positions .*shorten the prompt"),
            (
                torch.ones(1, 2, dtype=torch.long, device="meta"),
                "inputs are on meta, the model's embeddings on cpu: move",
            ),
        ],
    )
    def test_inputs(self, heta, ids, message):
        with pytest.raises(ValueError, match=message):
            attribute(heta, ids)

    @pytest.mark.parametrize("target", [VOCAB_SIZE, -1, [1, 2], 0.5, True, torch.tensor([1, 2, 3])])
    def test_target(self, heta, target):
        with pytest.raises(ValueError, match="target"):
            attribute(heta, target=target)

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("beta", -0.1, "beta .* must be >= 0, got -0.1"),
            ("gamma", -1, "gamma .* must be >= 0, got -1"),
            ("beta", float("nan"), "beta .* got nan"),
            ("n_samples", 0, "n_samples must be at least 1, got 0"),
            ("rank", 0, "rank must be at least 1"),
            ("window", 0, "window must be at least 1"),
            ("last_n_layers", 0, "last_n_layers must be at least 1"),
            ("last_n_layers", 3, "last_n_layers is 3, and LlamaForCausalLM has 2 layers"),
            ("overlap", 1.0, r"overlap .* in \[0, 1\), got 1.0"),
            ("perturbations_per_eval", 0, "perturbations_per_eval must be at least 1"),
            ("curvature", "hessian", "curvature must be one of auto, exact, .* got 'hessian'"),
            ("baselines", "black", "baselines must be 'zero', 'mean', 'vocabulary' or token ids, got 'black'"),
            ("baselines", 0.5, "baselines must be an integer tensor"),
            ("baselines", VOCAB_SIZE, "baselines has token id"),
            ("baselines", torch.zeros(3, dtype=torch.long), "baselines has shape"),
            ("feature_mask", torch.zeros(1, 3, dtype=torch.long), r"feature_mask has shape \(1, 3\), .* \(1, 4\)"),
            ("feature_mask", torch.zeros(1, 4), "feature_mask must be an integer tensor, got torch.float32"),
            ("feature_mask", (torch.zeros(1, 4), torch.zeros(1, 4)), "feature_mask has 2 entries for one input"),
            ("additional_forward_args", torch.zeros(1, 4, dtype=torch.long), "The prompt in row 0 is empty"),
            ("additional_forward_args", torch.tensor([[1, 0, 1, 1]]), "attention_mask has a hole"),
            ("additional_forward_args", {"labels": IDS}, "has 'labels'; it takes attention_mask and position_ids"),
            ("additional_forward_args", (IDS, IDS, IDS), "has 3 entries"),
        ],
    )
    def test_option(self, heta, option, value, message):
        with pytest.raises(ValueError, match=message):
            attribute(heta, **{option: value})

    def test_position_ids_for_a_model_that_counts_itself(self):
        with pytest.raises(ValueError, match="BloomForCausalLM takes no position_ids"):
            attribute(HETA(tiny_model("bloom")), additional_forward_args={"position_ids": torch.arange(4)[None]})


class TestBatches:
    @pytest.mark.parametrize("pad_left", [True, False])
    @pytest.mark.parametrize("form", ["tensor", "tuple", "dictionary", "boolean"])
    def test_padded_rows_score_as_alone(self, heta, pad_left, form):
        ids, mask = two_prompts(pad_left)
        forms = {"tensor": mask, "tuple": (mask,), "dictionary": {"attention_mask": mask}, "boolean": mask.bool()}
        scores = attribute(heta, ids, target=torch.tensor([3, 4]), additional_forward_args=forms[form])
        for i, target in enumerate((3, 4)):
            alone = attribute(heta, ids[i][mask[i] == 1][None], target=target)
            torch.testing.assert_close(scores[i][mask[i] == 1], alone[0], rtol=0, atol=0)
            assert (scores[i][mask[i] == 0] == 0).all()

    def test_one_target_serves_all_rows(self, heta):
        ids = torch.tensor([[5, 6], [7, 8]])
        expected = attribute(heta, ids, target=[3, 3])
        for target in (3, (3,), torch.tensor(3), torch.tensor([3])):
            assert torch.equal(attribute(heta, ids, target=target), expected)

    def test_position_ids_reach_the_model(self):
        heta = HETA(tiny_model("gpt2"))
        shifted = attribute(heta, additional_forward_args={"position_ids": torch.arange(4)[None] + 7})
        assert not torch.allclose(shifted, attribute(heta))
        default = attribute(heta, additional_forward_args=(torch.ones_like(IDS), torch.arange(4)[None]))
        assert torch.equal(default, attribute(heta))


class TestBaselines:
    def information(self, heta, **options):
        return attribute(heta, return_terms=True, **options)[1].information

    def test_each_kind_differs_and_reaches_the_information_alone(self, heta):
        found = {kind: attribute(heta, baselines=kind, return_terms=True)[1] for kind in ("zero", "mean", 9)}
        assert not torch.allclose(found["zero"].information, found["mean"].information)
        assert not torch.allclose(found["zero"].information, found[9].information)
        for terms in found.values():
            assert torch.equal(terms.curvature, found["zero"].curvature)
            assert torch.equal(terms.semantic_flow, found["zero"].semantic_flow)

    def test_none_is_zero(self, heta):
        assert torch.equal(self.information(heta), self.information(heta, baselines="zero"))

    def test_token_ids_in_captums_forms(self, heta):
        expected = self.information(heta, baselines=9)
        for form in (torch.tensor(9), torch.tensor([9]), torch.full((1, 4), 9), (9,)):
            assert torch.equal(self.information(heta, baselines=form), expected)

    def test_a_token_as_its_own_baseline_loses_nothing(self, heta):
        lost = self.information(heta, baselines=torch.tensor([[5, 6, 9, 8]]))
        assert lost[0, [0, 1, 3]].tolist() == pytest.approx([0, 0, 0], abs=1e-6)
        assert lost[0, 2] > 1e-6

    def test_row_of_a_padded_batch_gets_its_own_ids(self, heta):
        ids, mask = two_prompts(pad_left=True)
        baselines = torch.arange(8).reshape(2, 4)
        terms = attribute(heta, ids, baselines=baselines, additional_forward_args=mask, return_terms=True)[1]
        alone = attribute(heta, ids[1:, 2:], baselines=baselines[1:, 2:], return_terms=True)[1]
        assert torch.equal(terms.information[1, 2:], alone.information[0])


def test_errors_come_before_any_work(heta, monkeypatch):
    monkeypatch.setattr("captum_heta.attr.sequences.trace_of", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(ValueError, match="baselines"):
        attribute(heta, baselines="black")
