"""Outputs whose sentences are explained as one each."""

import pytest
import torch

from captum_heta import (
    HETA,
    DocumentsInput,
    LLMTokenAttribution,
    LLMTokenAttributionResult,
    TargetedHETA,
    TextInput,
)
from captum_heta.attr import ContextCite, GradientNorm, NormXLogit, sequence_terms
from captum_heta.attr.result_view import unlikely_note
from captum_heta.features import Features
from captum_heta.testing.architectures import tiny_model

PROMPT, OUTPUTS = torch.tensor([5, 6, 7, 8, 9]), torch.tensor([10, 11, 12, 13])
FISHER = {"curvature": "fisher"}
GROUPS = Features(((0, 1), (2,)))
TEXT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
ANSWER = " Oslo. Ben works as a pilot."
DOCUMENTS = {
    "register": "Anna lives in Rome. Ben lives in Oslo.",
    "staff list": "Ben works as a pilot. Anna works as a doctor.",
    "menu": "Ben likes to eat rice.",
}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    return tiny_model(request.param).double()


@pytest.fixture(scope="module")
def result(demo):
    inp = DocumentsInput(DOCUMENTS, "Where does Ben live?", demo[1], by="sentence", rest=True)
    return LLMTokenAttribution(TargetedHETA(demo[0]), demo[1]).attribute(inp, ANSWER, per_sentence=True)


UNSUPPORTED = pytest.mark.filterwarnings("ignore:Nothing in the prompt supports")  # by weights at random


@UNSUPPORTED
@pytest.mark.parametrize(
    ("method", "options"),
    [
        (HETA, {"curvature": "exact", "tolerance": None}),
        (HETA, FISHER),
        (TargetedHETA, {}),
        (TargetedHETA, {"skip": 0}),
        (TargetedHETA, {"contrast": torch.tensor([20, 21, 22, 23])}),
        (GradientNorm, {}),
        (GradientNorm, {"contrast": torch.tensor([20, 21, 22, 23])}),
    ],
)
def test_a_group_is_the_sum_of_its_log_probabilities(model, method, options):
    features = Features.of_tokens(range(5))
    found = method(model).attribute_outputs(PROMPT, OUTPUTS, features, together=GROUPS, **options)
    for row, group in enumerate(GROUPS.groups):
        before, after = OUTPUTS[: group[0]], OUTPUTS[group[0] : group[-1] + 1]
        own = dict(options)
        if "contrast" in own:
            own["contrast"] = own["contrast"][group[0] : group[-1] + 1]
        alone = method(model).attribute_outputs(torch.cat([PROMPT, before]), after, features, per_token=False, **own)
        torch.testing.assert_close(found.scores[row], alone.scores[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.log_probs[list(group)], alone.log_probs)
        for one, other in zip(found.terms or (), alone.terms or (), strict=True):
            torch.testing.assert_close(one[row], other[0], atol=1e-5, rtol=1e-4)


@UNSUPPORTED
def test_masked_passes_serve_all_groups(model):
    features = Features.of_tokens(range(5))
    found = TargetedHETA(model).attribute_outputs(PROMPT, OUTPUTS, features, together=GROUPS, skip=0)
    assert found.about["passes"] == 5
    one = TargetedHETA(model).attribute_outputs(PROMPT, OUTPUTS, features, per_token=False)
    assert 1 < found.about["products"] / one.about["products"] < 4


@UNSUPPORTED
def test_contributions_are_followed_once_for_all_groups(model, monkeypatch):
    rows, flows = [], dict(sequence_terms._FLOWS)

    def counted(layers, positions, together=None):
        rows.append(together)
        return flows["contribution"](layers, positions, together)

    monkeypatch.setitem(sequence_terms._FLOWS, "contribution", counted)
    TargetedHETA(model).attribute_outputs(PROMPT, OUTPUTS, Features.of_tokens(range(5)), together=GROUPS)
    assert rows == [None]


def test_what_explains_outputs_one_by_one_is_summed(model):
    features = Features.of_tokens(range(5))
    found = NormXLogit(model).attribute_outputs(PROMPT, OUTPUTS, features, together=GROUPS)
    each = NormXLogit(model).attribute_outputs(PROMPT, OUTPUTS, features)
    torch.testing.assert_close(found.scores, torch.stack([each.scores[:2].sum(0), each.scores[2]]))
    torch.testing.assert_close(found.log_probs, each.log_probs)


def test_a_group_that_nothing_supports_is_named():
    model = tiny_model("llama")
    first, second = "the output at position 7, of", "the output at positions 6 to 8, explained as one, of"
    with pytest.warns(UserWarning, match=first), pytest.warns(UserWarning, match=second):
        TargetedHETA(model).attribute_outputs(
            PROMPT, OUTPUTS, Features(((),)), together=Features(((2,), (1, 3))), skip=0
        )


def test_coarse_to_fine_says_the_most_of_one():
    method = HETA(tiny_model("llama"))
    features, parts = Features.of_tokens(range(60)), torch.arange(60) // 10
    prompt = torch.arange(60) % 50 + 5
    found = method.attribute_outputs(prompt, OUTPUTS, features, together=GROUPS, parts=parts, refine=0.3, **FISHER)
    assert found.scores.shape == (2, 60)
    most = []
    for group in GROUPS.groups:
        longer = torch.cat([prompt, OUTPUTS[: group[0]]])
        alone = method.attribute_outputs(
            longer, OUTPUTS[group[0] : group[-1] + 1], features, per_token=False, parts=parts, refine=0.3, **FISHER
        )
        most.append(int(alone.about["refined"].split()[0]))
    assert abs(int(found.about["refined"].split()[0]) - max(most)) <= 1  # the end of the prompt is another one


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"together": Features(((0, 4),))}, "together must be groups of the outputs 0 to 3"),
        ({"together": Features(((0,), ()))}, "none of them empty"),
        ({"together": Features(())}, "together must be groups"),
        ({"together": GROUPS, "per_token": False}, "together is of outputs that are explained one by one"),
        ({"together": GROUPS, "include_output": True}, "leave out one of them"),
        ({"include_output": True, "per_token": False}, "include_output is of outputs"),
    ],
)
def test_what_does_not_go_together(given, said):
    with pytest.raises(ValueError, match=said):
        HETA(tiny_model("llama")).attribute_outputs(PROMPT, OUTPUTS, Features.of_tokens(range(5)), **given)


class TestText:
    def test_the_result_has_sentences_for_output_tokens(self, result):
        assert result.output_tokens == ["Oslo.", "Ben works as a pilot."]
        assert result.token_attr.shape == (2, len(result.input_tokens))
        assert result.terms.curvature.shape == result.token_attr.shape
        assert [result.target[start:end].strip() for start, end in result.output_spans] == result.output_tokens
        assert result.provenance["options"]["per_sentence"] is True

    def test_probabilities_are_of_whole_sentences(self, demo, result):
        inp = TextInput(result.prompt, demo[1])
        each = LLMTokenAttribution(GradientNorm(demo[0]), demo[1]).attribute(inp, ANSWER)
        count = len(demo[1].encode(" Oslo.", add_special_tokens=False))
        expected = torch.stack(
            [part.double().prod() for part in (each.output_probs[:count], each.output_probs[count:])]
        )
        torch.testing.assert_close(result.output_probs, expected, rtol=1e-4, atol=0)

    def test_each_sentence_has_its_document(self, result, tmp_path):
        sources = result.sources()
        assert sources.answer_pieces == result.output_tokens
        assert sources.document_shares[:, :2].argmax(1).tolist() == [0, 1]
        result.save(tmp_path / "it.json")
        again = LLMTokenAttributionResult.load(tmp_path / "it.json").sources()
        torch.testing.assert_close(again.shares, sources.shares)
        torch.testing.assert_close(again.whole_shares, sources.whole_shares)
        assert "Each sentence of the answer was explained as one." in sources.to_html()

    def test_a_likely_sentence_is_not_said_to_be_unlikely(self, result):
        assert result.output_probs[1] < 1e-4  # of many tokens
        assert unlikely_note(result) == []
        result.provenance["sentence_tokens"], counts = [3], result.provenance["sentence_tokens"]  # damaged
        assert len(unlikely_note(result)) == 1
        result.provenance["sentence_tokens"] = counts

    def test_pages_and_tables_have_a_row_for_each(self, result):
        page = result.to_html()
        assert "Ben works as a pilot." in page
        assert {"Oslo.", "Ben works as a pilot."} <= set(result.to_dataframe().columns)

    def test_what_does_not_go_together(self, demo):
        inp = TextInput(TEXT, demo[1])
        for method, given in ((HETA, {"per_token": False}), (HETA, {"include_output": True}), (ContextCite, {})):
            with pytest.raises(ValueError, match="per_sentence is of outputs that are explained one by one"):
                LLMTokenAttribution(method(demo[0]), demo[1]).attribute(inp, ANSWER, per_sentence=True, **given)
