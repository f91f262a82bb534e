"""Coarse to fine: parts first, and then what is in those that matter."""

import pytest
import torch

from captum_heta import HETA, LLMTokenAttribution, TargetedHETA, TextInput
from captum_heta.attr import NormXLogit
from captum_heta.attr.refinement import in_parts, refined
from captum_heta.attr.task import OutputAttributions, Scorer
from captum_heta.features import Features

PROMPT = (
    "Anna lives in Rome. Ben lives in Oslo. Walter saw the key in the hallway.\nQuestion: Where does Ben live?\nAnswer:"
)


@pytest.fixture(autouse=True)
def no_end(monkeypatch):
    """Prompts as short as these would be end altogether."""
    monkeypatch.setattr("captum_heta.attr.refinement._END", 0)


class Additive(Scorer):
    """A method whose score of a feature is the sum of its tokens' weights."""

    def __init__(self, weights):
        weights = torch.tensor(weights)
        seen = []

        def score(features):
            seen.append(features.groups)
            return OutputAttributions(features.sum(weights), torch.zeros(len(weights)))

        def spread(found, features, owners):
            return found._replace(scores=in_parts(found.scores, owners))

        super().__init__(score, spread)
        vars(self).update(weights=weights, seen=seen)


def test_looks_into_the_fewest_parts_that_hold_the_share():
    method = Additive([[8.0, 1.0, 0.5, 0.25, 0.25, 0.0]])
    features, parts = Features.of_tokens(range(6)), torch.tensor([7, 7, 3, 3, 5, 5])
    found = refined(method, features, parts, 0.9)
    assert method.seen[0] == ((2, 3), (4, 5), (0, 1))  # the parts, in the order of their numbers
    assert set(method.seen[1]) == {(0,), (1,), (2, 3), (4, 5)}
    assert found.scores.tolist() == [[8.0, 1.0, 0.375, 0.375, 0.125, 0.125]]
    assert found.about["refined"] == "1 of 3 parts"
    assert found.scores.sum() == method.weights.sum()


def test_of_several_outputs_each_counts_the_same():
    method = Additive([[100.0, 100.0, 0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]])
    features, parts = Features.of_tokens(range(6)), torch.tensor([0, 0, 1, 1, 2, 2])
    found = refined(method, features, parts, 0.9)
    assert set(method.seen[1]) == {(0,), (1,), (2,), (3,), (4, 5)}
    assert torch.equal(found.scores, method.weights)


def test_all_of_the_score_looks_into_every_part_that_has_some():
    method = Additive([[2.0, 1.0, 1.0, 3.0, 0.0, 0.0]])
    found = refined(method, Features.of_tokens(range(6)), torch.tensor([0, 0, 1, 1, 2, 2]), 1.0)
    assert torch.equal(found.scores, method.weights)
    assert found.about["refined"] == "2 of 3 parts"


def test_the_end_of_the_prompt_is_always_looked_into(monkeypatch):
    monkeypatch.setattr("captum_heta.attr.refinement._END", 3)
    method = Additive([[8.0, 1.0, 0.5, 0.25, 0.25, 0.0]])
    refined(method, Features.of_tokens(range(6)), torch.tensor([0, 0, 1, 1, 2, 2]), 0.9)
    assert set(method.seen[1]) == {(0,), (1,), (2, 3), (4,), (5,)}  # the part before the last is more than the end


def test_without_any_score_parts_stay_whole():
    method = Additive([[0.0, 0.0, 0.0, 0.0]])
    found = refined(method, Features.of_tokens(range(4)), torch.tensor([0, 0, 1, 1]), 0.9)
    assert found.scores.tolist() == [[0, 0, 0, 0]]
    assert len(method.seen) == 1


@pytest.fixture(scope="module")
def model(demo):
    return demo[0]


@pytest.mark.parametrize("method", [HETA, TargetedHETA, NormXLogit])
def test_every_method_can(demo, method):
    llm, inp = LLMTokenAttribution(method(demo[0]), demo[1]), TextInput(PROMPT, demo[1])
    options = {"curvature": "fisher"} if issubclass(method, HETA) else {}
    found = llm.attribute(inp, " Oslo", refine=0.5, **options)
    assert found.provenance["refined"].endswith(" of 5 sentences")
    assert found.provenance["options"]["refine"] == 0.5
    assert found.seq_attr.shape == (len(inp.values),)
    sentence = next(parts for kind, parts in [llm_parts(inp, demo[1])] if kind == "sentences")
    scores = [found.seq_attr[sentence == number] for number in sentence.unique()]
    assert any(len(some) > 1 and not torch.allclose(some, some[0]) for some in scores)
    # a sentence that stayed whole gives its tokens equal parts, or of HETA's terms those that cost no pass
    if found.terms is None:
        assert any(len(some) > 1 and torch.allclose(some, some[0]) for some in scores)
    else:
        gate, curvature, lost = found.terms
        assert not gate.isnan().any()
        assert not curvature.isnan().any()
        same = [len(set(lost[0, sentence == number].tolist())) == 1 for number in sentence.unique()]
        assert 0 < sum(same) < len(same)


def llm_parts(inp, tokenizer):
    from captum_heta.inputs import LocatedInput

    return LocatedInput(inp, tokenizer).parts()


def test_terms_make_the_scores_and_nothing_is_computed_twice(demo):
    from captum_heta.terms.fusion import product

    llm, inp = LLMTokenAttribution(TargetedHETA(demo[0]), demo[1]), TextInput(PROMPT, demo[1])
    whole = llm.attribute(inp, " Oslo", skip=0.0)
    found = llm.attribute(inp, " Oslo", refine=0.9, skip=0.0)
    torch.testing.assert_close(found.terms.contribution_flow.sum(), whole.terms.contribution_flow.sum())
    assert found.provenance["products"] == whole.provenance["products"]  # one curvature for both runs
    looked_into = found.provenance["passes"]
    assert looked_into < whole.provenance["passes"]
    assert found.seq_attr.sum().item() == pytest.approx(1, abs=1e-5)
    assert product(*found.terms).argmax() == found.seq_attr.argmax()
    assert found.seq_attr.argmax() == whole.seq_attr.argmax()


def test_looking_into_everything_is_the_full_run(demo):
    llm, inp = (
        LLMTokenAttribution(TargetedHETA(demo[0]), demo[1]),
        TextInput("Ben lives in Oslo. Ben lives in", demo[1]),
    )
    whole, found = llm.attribute(inp, " Oslo", skip=0.0), llm.attribute(inp, " Oslo", refine=1.0, skip=0.0)
    torch.testing.assert_close(found.seq_attr, whole.seq_attr)


def test_a_prompt_without_parts_is_looked_at_as_it_is(demo):
    llm, inp = LLMTokenAttribution(NormXLogit(demo[0]), demo[1]), TextInput("Ben", demo[1], skip_tokens=None)
    found = llm.attribute(inp, " lives", refine=0.9)
    assert found.provenance["refined"] is None


@pytest.mark.parametrize("share", [0, -1, 1.5, "much"])
def test_the_share_is_checked(demo, share):
    llm = LLMTokenAttribution(NormXLogit(demo[0]), demo[1])
    with pytest.raises(ValueError, match="refine"):
        llm.attribute(TextInput(PROMPT, demo[1]), " Oslo", refine=share)


def test_features_of_a_persons_own_are_not_refined(demo):
    llm, inp = LLMTokenAttribution(NormXLogit(demo[0]), demo[1]), TextInput(PROMPT, demo[1])
    with pytest.raises(ValueError, match="leave out refine, or feature_mask"):
        llm.attribute(inp, " Oslo", refine=0.9, feature_mask=torch.zeros(len(inp.values), dtype=torch.long))


def test_parts_and_share_go_together(demo):
    method = NormXLogit(demo[0])
    ids = torch.tensor([5, 6, 7])
    with pytest.raises(ValueError, match="parts and refine go together"):
        method.attribute_outputs(ids, ids[:1], Features.of_tokens(range(3)), refine=0.9)
    with pytest.raises(ValueError, match=r"one integer for each of the 3 features, got \(2,\)"):
        method.attribute_outputs(
            ids, ids[:1], Features.of_tokens(range(3)), parts=torch.zeros(2, dtype=torch.long), refine=0.9
        )
