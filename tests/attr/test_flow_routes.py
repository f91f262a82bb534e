import pytest
import torch

from captum_heta import LLMTokenAttribution, TargetedHETA, TextInput
from captum_heta.attr import InformationFlowRoutes
from captum_heta.features import Features
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[5, 17, 8, 40, 2, 33, 9]])


@pytest.fixture(scope="module", params=["gpt2", "llama", "gemma2"])
def model(request):
    return tiny_model(request.param)


@pytest.mark.parametrize("threshold", [0, 0.04, 0.2, 0.9])
def test_nothing_is_lost_on_the_way(model, threshold):
    scores = InformationFlowRoutes(model).attribute(IDS, threshold=threshold)
    assert (scores >= 0).all()
    assert scores.sum().item() == pytest.approx(1, abs=1e-5)


def test_all_edges_are_the_contribution_flow(model):
    terms = TargetedHETA(model).attribute(IDS, target=3, curvature="gradient", return_terms=True)[1]
    routes = InformationFlowRoutes(model).attribute(IDS, threshold=0)
    torch.testing.assert_close(routes, terms.contribution_flow)


def test_a_higher_threshold_reaches_fewer_tokens(model):
    reached = [
        int((InformationFlowRoutes(model).attribute(IDS, threshold=threshold) > 0).sum())
        for threshold in (0, 0.04, 0.1, 0.2, 0.5)
    ]
    assert reached == sorted(reached, reverse=True)
    assert reached[0] == IDS.shape[1] > reached[-1]
    default = InformationFlowRoutes(model).attribute(IDS)
    assert torch.equal(default, InformationFlowRoutes(model).attribute(IDS, threshold=0.04))


def test_which_token_is_predicted_makes_no_difference(model):
    method = InformationFlowRoutes(model)
    assert torch.equal(method.attribute(IDS, target=3), method.attribute(IDS, target=50))


def test_outputs_are_followed_from_where_they_are_predicted(model):
    features = Features.of_tokens(range(7))
    found = InformationFlowRoutes(model).attribute_outputs(
        IDS[0], torch.tensor([11, 60]), features, include_output=True
    )
    longer = InformationFlowRoutes(model).attribute(torch.cat([IDS, torch.tensor([[11]])], dim=1))[0]
    torch.testing.assert_close(found.scores[1], longer[:7])
    torch.testing.assert_close(found.output_scores[1, 0], longer[7])


@pytest.mark.parametrize("threshold", [-0.1, 1, "high", True])
def test_threshold_out_of_range(model, threshold):
    with pytest.raises(ValueError, match="threshold"):
        InformationFlowRoutes(model).attribute(IDS, threshold=threshold)


def test_follows_layers_without_attention_too(built):
    scores = InformationFlowRoutes(built("causal", "qwen3_next")).attribute(IDS)
    assert scores.sum().item() == pytest.approx(1, abs=1e-5)


def test_a_stream_that_cannot_be_followed_is_refused(built):
    # its class fails by itself in transformers 5.0
    with pytest.raises(TypeError, match="does not see how|cannot be explained: a pass of 12 tokens"):
        InformationFlowRoutes(built("causal", "doge")).attribute(IDS)


def test_finds_the_answer_in_the_passage(demo):
    model, tokenizer = demo
    inp = TextInput("Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Anna live?\nAnswer:", tokenizer)
    result = LLMTokenAttribution(InformationFlowRoutes(model), tokenizer).attribute(inp, "Rome")
    assert result.pieces[result.seq_attr.argmax()] == " Rome"
