"""The packages themselves, where they are installed: their own numbers, by calls as their authors show them."""

import copy

import numpy as np
import pytest
import torch

from captum_heta import compare
from captum_heta.attr import LLMTokenAttribution
from captum_heta.inputs import TextInput
from captum_heta.methods import PEERS

pytestmark = pytest.mark.filterwarnings("default")  # of the packages

PROMPT = "Anna lives in Rome. Ben lives in Oslo. Question: Where does Ben live? Answer:"
OUTPUT = " Oslo"
# which is cut into the same tokens where some of its sentences are left out
SENTENCES = "Anna lives in Rome. Ben lives in Oslo. Anna lives in Oslo. Ben lives in"


@pytest.fixture
def asked(demo):
    """A model and a tokenizer for the package alone, the prompt's token ids, and the output's."""
    model, tokenizer = copy.deepcopy(demo[0]), copy.deepcopy(demo[1])
    return model, tokenizer, tokenizer.encode(PROMPT), tokenizer.encode(OUTPUT, add_special_tokens=False)


def inseq_by_hand(model, tokenizer, ids, outputs):
    inseq = pytest.importorskip("inseq")
    wrapped = inseq.load_model(model, "saliency", tokenizer=tokenizer)
    found = wrapped.attribute(PROMPT, PROMPT + OUTPUT, show_progress=False).aggregate().sequence_attributions[0]
    return found.target_attributions[: len(ids), 0]


def interpreto_by_hand(kind):
    def by_hand(model, tokenizer, ids, outputs):
        interpreto = pytest.importorskip("interpreto")
        torch.manual_seed(0)
        explainer = getattr(interpreto, kind)(model, tokenizer, granularity=interpreto.Granularity.ALL_TOKENS)
        (found,) = explainer(PROMPT, torch.tensor([outputs]))
        assert found.model_inputs_to_explain["input_ids"][0].tolist() == ids + outputs
        return found.attributions[0, : len(ids)]

    return by_hand


def flashtrace_by_hand(model, tokenizer, ids, outputs):
    flashtrace = pytest.importorskip("flashtrace")
    model.set_attn_implementation("eager")
    found = flashtrace.FlashTrace(model, tokenizer).trace(prompt=tokenizer.bos_token + PROMPT, target=OUTPUT)
    return torch.tensor(found.scores)


def context_cite_by_hand(model, tokenizer, ids, outputs):
    context_cite = pytest.importorskip("context_cite")
    tokenizer.chat_template = "{{ bos_token }}{{ messages[0]['content'] }}"
    parts = ["Anna lives in Rome.", " Ben lives in Oslo.", " Anna lives in Oslo.", " Ben lives in"]
    assert "".join(parts) == SENTENCES

    class Parts(context_cite.context_partitioner.BaseContextPartitioner):
        num_sources = len(parts)

        def split_context(self):
            pass

        def get_source(self, index):
            return parts[index]

        def get_context(self, mask=None):
            kept = [True] * len(parts) if mask is None else mask
            return "".join(part for part, keep in zip(parts, kept, strict=True) if keep)

    citer = context_cite.ContextCiter(
        model, tokenizer, SENTENCES, "", prompt_template="{context}", partitioner=Parts(SENTENCES)
    )
    model.generate = lambda prompt, **options: torch.cat([prompt, torch.tensor([outputs])], 1)
    assert citer.response == OUTPUT
    weights = torch.as_tensor(citer.get_attributions(verbose=False))
    inp = TextInput(SENTENCES, tokenizer)
    starts = [sum(map(len, parts[:i])) for i in range(len(parts))]
    owners = [sum(place <= start for place in starts) - 1 for start, _ in inp.spans]
    return torch.cat([torch.zeros(1), weights[owners]])


def shap_by_hand(model, tokenizer, ids, outputs):
    shap = pytest.importorskip("shap")

    def log_odds(rows):
        with torch.no_grad():
            logits = model(torch.as_tensor(np.stack(rows))).logits[:, -1].double()
        p = logits.softmax(-1)[:, outputs]
        return (p / (1 - p)).log().numpy()

    masker = shap.maskers.Text(tokenizer, mask_token="...", output_type="token_ids")
    found = shap.Explainer(log_odds, masker)([PROMPT], silent=True)
    return torch.tensor(found.values[0][:, 0])


BY_HAND = {
    "inseq_saliency": inseq_by_hand,
    "interpreto_saliency": interpreto_by_hand("Saliency"),
    "interpreto_ig": interpreto_by_hand("IntegratedGradients"),
    "interpreto_smooth_grad": interpreto_by_hand("SmoothGrad"),
    "interpreto_occlusion": interpreto_by_hand("Occlusion"),
    "interpreto_lime": interpreto_by_hand("Lime"),
    "interpreto_kernel_shap": interpreto_by_hand("KernelShap"),
    "flashtrace": flashtrace_by_hand,
    "context_cite_package": context_cite_by_hand,
    "shap_text": shap_by_hand,
}


def test_every_peer_is_called_by_hand():
    assert set(BY_HAND) == set(PEERS)


@pytest.mark.parametrize("name", PEERS)
def test_scores_are_those_of_the_package(name, demo, asked):
    by_hand = BY_HAND[name](*asked).float()
    model, tokenizer = demo
    method = PEERS[name].make(model, tokenizer)
    inp = TextInput(SENTENCES if name == "context_cite_package" else PROMPT, tokenizer)
    found = LLMTokenAttribution(method, tokenizer).attribute(inp, target=OUTPUT)
    scores = found.seq_attr
    if name == "context_cite_package":
        assert len(by_hand.unique()) > 2
    else:
        assert len(by_hand.unique()) > 5
    torch.testing.assert_close(scores, by_hand[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PEERS)
def test_the_model_stays_as_it_was(name, demo, asked, state_of):
    pytest.importorskip(PEERS[name].type.package.module)
    model, tokenizer = asked[:2]
    model.train()
    next(model.parameters()).requires_grad_(False)
    model(torch.tensor([[2, 3]])).logits.sum().backward()
    before, draws = state_of(model), torch.get_rng_state()
    special = tokenizer.special_tokens_map, tokenizer.padding_side, len(tokenizer)
    found = compare([name], tokenizer, PROMPT, OUTPUT + " today", model=model)
    assert not found.failures
    assert state_of(model) == before
    assert torch.equal(torch.get_rng_state(), draws)
    assert (tokenizer.special_tokens_map, tokenizer.padding_side, len(tokenizer)) == special


CHANGED = {  # by a call of the package, what of a model that may be trained is not as it was
    "inseq_saliency": {"training", "gradients", "config"},
    "interpreto_saliency": {"training", "config", "generation"},
    "interpreto_occlusion": {"training", "config", "generation", "parameters", "values"},
    # asked for attention, transformers leaves hooks of its own
    "flashtrace": {"training", "attention", "hooks", "modules"},
    "context_cite_package": set(),
    "shap_text": set(),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_packages_change_of_the_model_that_they_are_given(name, asked, state_of):
    model, tokenizer, ids, outputs = asked
    model.config.pad_token_id = model.generation_config.pad_token_id = None
    model(torch.tensor([[2, 3]])).logits.sum().backward()
    model.train()
    before = state_of(model)
    BY_HAND[name](model, tokenizer, ids, outputs)
    vars(model).pop("generate", None)  # which the call by hand put there
    after = state_of(model)
    assert {part for part in before if before[part] != after[part]} == CHANGED[name]


@pytest.mark.parametrize("name", PEERS)
def test_line_breaks_and_several_outputs_are_explained(name, demo):
    pytest.importorskip(PEERS[name].type.package.module)
    model, tokenizer = demo
    prompt = "Anna lives in Rome.\n\nBen  lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
    found = compare([name], tokenizer, prompt, " Oslo Rome", model=model)
    assert not found.failures
    (result,) = found.results.values()
    assert result.seq_attr.abs().sum() > 0
    if result.token_attr is not None:
        assert result.token_attr.shape == (2, len(found.tokens))
        assert not torch.allclose(result.token_attr[0], result.token_attr[1])
