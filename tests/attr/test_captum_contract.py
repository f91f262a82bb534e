"""HETA stands in the place of each of Captum's methods: one set of tests, run on theirs and on ours."""

import string

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMAttributionResult,
    LLMGradientAttribution,
    ShapleyValueSampling,
    TextTemplateInput,
    TextTokenInput,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from captum_heta import HETA, LLMTokenAttribution
from captum_heta.attr import (
    TDD,
    AttentionRollout,
    AttnLRP,
    ContextCite,
    InformationFlowRoutes,
    LastAttention,
    NormXLogit,
    Peering,
    ProgressiveInference,
    ReAGent,
)
from captum_heta.testing.architectures import tiny_model

# three letters
GENERATED = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "suppress_tokens": [0, 1]}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
PERTURBATION = {
    "FeatureAblation": lambda model: (LLMAttribution, FeatureAblation(model)),
    "ShapleyValueSampling": lambda model: (LLMAttribution, ShapleyValueSampling(model)),
}
GRADIENT = {
    "LayerIntegratedGradients": lambda model: (
        LLMGradientAttribution,
        LayerIntegratedGradients(model, model.get_input_embeddings()),
    ),
    "LayerGradientXActivation": lambda model: (
        LLMGradientAttribution,
        LayerGradientXActivation(model, model.get_input_embeddings()),
    ),
}
OURS = {
    method.__name__: lambda model, method=method: (LLMTokenAttribution, method(model))
    for method in (
        HETA,
        AttentionRollout,
        AttnLRP,
        InformationFlowRoutes,
        LastAttention,
        NormXLogit,
        Peering,
        ProgressiveInference,
        ReAGent,
        TDD,
    )
}
on_templates = pytest.mark.parametrize("name", [*PERTURBATION, *OURS])
on_tokens = pytest.mark.parametrize("name", [*PERTURBATION, *GRADIENT, *OURS])


@pytest.fixture(scope="module")
def letters():
    """A tokenizer in which a letter is a token, after <sos>."""
    vocabulary = {token: i for i, token in enumerate(["<sos>", "<unk>", *string.ascii_lowercase])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(single="<sos> $A", special_tokens=[("<sos>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<sos>", unk_token="<unk>", pad_token="<unk>")


@pytest.fixture(params=DEVICES, scope="module")
def model(request):
    return tiny_model("llama", vocab_size=28).to(request.param)


@pytest.fixture
def attribute(model, letters, name):
    wrapper, method = (PERTURBATION | GRADIENT | OURS)[name](model)
    return wrapper(method, letters).attribute


@pytest.fixture
def template():
    return TextTemplateInput("{} b {} {} e {}", ["a", "c", "d", "f"])


def check(result, model, inputs, outputs):
    assert isinstance(result, LLMAttributionResult)
    assert result.seq_attr.shape == (len(inputs),)
    assert result.token_attr.shape == (len(outputs), len(inputs))
    assert result.input_tokens == inputs
    assert result.output_tokens == outputs
    assert result.seq_attr.device == result.token_attr.device == model.device
    assert result.seq_attr.dtype == torch.float32
    assert set(result.seq_attr_dict) == set(inputs)


@on_templates
def test_template(attribute, model, template):
    result = attribute(template, "m n o p q")
    check(result, model, ["a", "c", "d", "f"], list("mnopq"))
    torch.testing.assert_close(result.seq_attr, result.token_attr.sum(0), rtol=1e-4, atol=1e-6)


@on_templates
def test_template_without_target(attribute, model, template):
    result = attribute(template, gen_args=GENERATED)
    check(result, model, ["a", "c", "d", "f"], result.output_tokens)
    assert len(result.output_tokens) == 3


@on_templates
def test_both_ways_of_decoding(attribute, model, template):
    cached = attribute(template, "m n", use_cached_outputs=True)
    whole = attribute(template, "m n", use_cached_outputs=False)
    check(whole, model, ["a", "c", "d", "f"], ["m", "n"])
    assert cached.token_attr.shape == whole.token_attr.shape


@on_tokens
def test_tokens(attribute, model, letters):
    check(attribute(TextTokenInput("a b c", letters), "m n o p q"), model, ["<sos>", "a", "b", "c"], list("mnopq"))


@on_tokens
def test_skipped_tokens(attribute, model, letters):
    for skipped in ([0], ["<sos>"]):
        inp = TextTokenInput("a b c", letters, skip_tokens=skipped)
        check(attribute(inp, "m n o p q"), model, ["a", "b", "c"], list("mnopq"))


@on_tokens
def test_target_as_a_tensor(attribute, model, letters):
    target = torch.tensor(letters.encode("m n o p q", add_special_tokens=False))
    check(attribute(TextTokenInput("a b c", letters), target), model, ["<sos>", "a", "b", "c"], list("mnopq"))


@on_tokens
def test_tokens_without_target(attribute, model, letters):
    inp = TextTokenInput("a b c", letters)
    result = attribute(inp, gen_args=GENERATED)
    check(result, model, ["<sos>", "a", "b", "c"], result.output_tokens)
    assert len(result.output_tokens) == 3


@on_tokens
def test_sums_to_the_sequence(attribute, letters):
    result = attribute(TextTokenInput("a b c", letters), "m n")
    # Captum ablates the whole sequence apart from its tokens, in another order of sums
    torch.testing.assert_close(result.seq_attr, result.token_attr.sum(0), rtol=1e-4, atol=1e-6)


@on_tokens
def test_asynchronous_interface_is_not_there(model, letters, name):
    wrapper, method = (PERTURBATION | GRADIENT | OURS)[name](model)
    with pytest.raises(NotImplementedError):
        wrapper(method, letters).attribute_future()


def test_a_method_that_explains_the_whole_output_gives_no_token_attr(model, letters):
    """As Captum does for Lime."""
    result = LLMTokenAttribution(ContextCite(model), letters).attribute(TextTokenInput("a b c", letters), "m n o")
    assert result.token_attr is None
    assert result.seq_attr.shape == (4,)
    assert result.output_tokens == ["m", "n", "o"]


def test_heta_is_refused_by_captums_wrappers(model, letters):
    """They would call it as a perturbation of a forward function, which it is not."""
    for wrapper in (LLMAttribution, LLMGradientAttribution):
        with pytest.raises(AssertionError, match="does not support .*HETA"):
            wrapper(HETA(model), letters)
