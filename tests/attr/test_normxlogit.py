"""NormXLogit beyond causal language models with attention: state-space models, classifiers, regressors."""

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    MambaConfig,
)

from captum_heta import LLMTokenAttribution
from captum_heta.attr import TDD, ContextCite, NormXLogit, Peering, ProgressiveInference, ReAGent

IDS = torch.tensor([5, 17, 8, 40, 2, 33])
_BERT = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip
CLASSIFIERS = {
    "bert": _BERT,
    "roberta": {**_BERT, "pad_token_id": 1},
    "electra": {**_BERT, "embedding_size": 8},
    "distilbert": {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "pad_token_id": 0},
    "gpt2": {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0},
    "llama": {**_BERT, "num_key_value_heads": 1},
}


def mamba():
    config = MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, state_size=4, pad_token_id=None)
    return AutoModelForCausalLM.from_config(config).double().eval()


def classifier(name, **changes):
    config = AutoConfig.for_model(name, **{**CLASSIFIERS[name], "num_labels": 3, **changes})
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double()


def last_states(model):
    return model.base_model(input_ids=IDS[None]).last_hidden_state[0]


def own_logits(model, states):
    """Each state through the head by the head's own modules."""
    name = model.config.model_type
    with torch.no_grad():
        if name == "bert":
            return model.classifier(model.bert.pooler(states[:, None]))
        if name in ("roberta", "electra"):
            return model.classifier(states[:, None])
        if name == "distilbert":
            return model.classifier(model.pre_classifier(states).relu())
        return model.score(states)


@pytest.mark.parametrize("name", CLASSIFIERS)
class TestClassifiers:
    def test_is_norm_times_the_class_logit_of_each_token_alone(self, name):
        model = classifier(name)
        with torch.no_grad():
            logits, states = model(input_ids=IDS[None]).logits[0], last_states(model)
        expected = model.get_input_embeddings()(IDS).norm(dim=-1)[:, None] * own_logits(model, states)
        for target in (0, 2):
            torch.testing.assert_close(
                NormXLogit(model).attribute(IDS[None], target)[0].double(),
                expected[:, target].detach(),
                rtol=1e-5,
                atol=1e-7,
            )
        predicted = NormXLogit(model).attribute(IDS[None])
        assert torch.equal(predicted, NormXLogit(model).attribute(IDS[None], int(logits.argmax())))

    def test_regression_is_the_distance_to_the_prediction(self, name):
        model = classifier(name, num_labels=1, problem_type="regression")
        with torch.no_grad():
            whole, states = model(input_ids=IDS[None]).logits[0], last_states(model)
        distance = (own_logits(model, states) - whole)[:, 0].abs()
        expected = model.get_input_embeddings()(IDS).norm(dim=-1) * distance
        torch.testing.assert_close(
            NormXLogit(model).attribute(IDS[None])[0].double(), expected.detach(), rtol=1e-5, atol=1e-7
        )
        with pytest.raises(ValueError, match="predicts one number: target must be None, got 2"):
            NormXLogit(model).attribute(IDS[None], 2)

    def test_layers_differ_and_padding_scores_nothing(self, name):
        model = classifier(name)
        first, last, whole = (NormXLogit(model).attribute(IDS[None], 1, layer=layer) for layer in (1, 2, None))
        assert torch.equal(last, whole)
        assert not torch.allclose(first, last)
        padded = torch.stack([IDS, torch.cat([IDS[:4], torch.zeros(2, dtype=torch.long)])])
        mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
        scores = NormXLogit(model).attribute(padded, [1, 1], mask)
        torch.testing.assert_close(scores[0], whole[0])
        torch.testing.assert_close(scores[1, :4], NormXLogit(model).attribute(IDS[None, :4], 1)[0])
        assert (scores[1, 4:] == 0).all()

    def test_errors_say_what_to_do(self, name):
        model = classifier(name)
        with pytest.raises(ValueError, match="target must be a class from 0 to 2 of .*, got 3"):
            NormXLogit(model).attribute(IDS[None], 3)
        with pytest.raises(TypeError, match="has no output tokens: explain its class with attribute"):
            NormXLogit(model).attribute_outputs(IDS, IDS[:1], None)
        with pytest.raises(TypeError, match=r"does not predict the next token, which TDD explains: .*CausalLM"):
            TDD(model)


def test_masked_language_models_are_refused():
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model("bert", **_BERT))
    with pytest.raises(TypeError, match="BertForMaskedLM is neither a causal language model nor a sequence classifier"):
        NormXLogit(model).attribute(IDS[None])


@pytest.mark.parametrize("method", [NormXLogit, TDD, ContextCite, Peering, ProgressiveInference, ReAGent])
def test_models_without_attention_are_explained(method):
    model = mamba()
    scores = method(model).attribute(IDS[None], 7)
    assert scores.shape == (1, 6)
    assert torch.isfinite(scores).all()
    assert scores.abs().sum() > 0


def test_of_a_model_without_attention_is_norm_times_logit():
    model = mamba()
    with torch.no_grad():
        logits = model(input_ids=IDS[None]).logits[0, :, 7]
    expected = model.get_input_embeddings()(IDS).norm(dim=-1) * logits
    torch.testing.assert_close(
        NormXLogit(model).attribute(IDS[None], 7)[0].double(), expected.detach(), rtol=1e-5, atol=1e-7
    )


def test_is_wrapped_for_text(demo):
    model, tokenizer = demo
    from captum.attr import TextTokenInput

    inp = TextTokenInput("Ben lives in Oslo. Where does Ben live?", tokenizer, skip_tokens=["<s>"])
    result = LLMTokenAttribution(NormXLogit(model), tokenizer).attribute(inp, " Oslo", layer=2)
    assert result.token_attr.shape == (1, inp.n_itp_features)
    assert result.terms is None
