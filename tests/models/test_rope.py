"""Rotary embeddings that depend on the length: LongRoPE and dynamic NTK scaling, against passes without a cache."""

import pytest
import torch

from captum_heta import HETA
from captum_heta.attr import TDD, AttentionRollout, ContextCite, NormXLogit, Peering, ReAGent
from captum_heta.features import Features
from captum_heta.models import CausalLM, trace_of
from captum_heta.models.rope import Lengths
from captum_heta.testing.architectures import tiny_model
from captum_heta.testing.methods import next_probs

OUTPUTS = torch.tensor([5, 6, 7, 8, 9, 10])
IDS = torch.randint(3, 60, (14,), generator=torch.Generator().manual_seed(1))
EACH = Features.of_tokens(range(14))


def longrope(original=16, **changes):
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": original,
        "factor": 4.0,
    }
    changes = {"original_max_position_embeddings": original, "rope_parameters": rope, "sliding_window": None, **changes}
    return tiny_model("phi3", **changes)


def dynamic(positions=16):
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    return tiny_model("llama", max_position_embeddings=positions, rope_parameters=rope)


both = pytest.mark.parametrize("make", [longrope, dynamic])


def own(make, count=6):
    """The model's own log-probabilities, each output by a pass of a fresh model without a cache."""
    found = []
    for k in range(count):
        text = torch.cat([IDS, OUTPUTS[:k]])
        with torch.no_grad():
            found.append(make()(text[None], use_cache=False).logits[0, -1].log_softmax(-1)[OUTPUTS[k]])
    return torch.stack(found)


@both
@pytest.mark.parametrize("method", [HETA, AttentionRollout, NormXLogit, Peering, ContextCite, ReAGent, TDD])
def test_an_answer_that_crosses_the_threshold(make, method):
    found = method(make()).attribute_outputs(IDS, OUTPUTS, EACH)
    torch.testing.assert_close(found.log_probs, own(make), rtol=1e-4, atol=1e-5)


@both
def test_each_output_is_explained_as_it_is_alone(make):
    whole = HETA(make()).attribute_outputs(IDS, OUTPUTS, EACH, curvature="exact")
    for k in (0, 2, 3, 5):
        text = torch.cat([IDS, OUTPUTS[:k]])
        features = Features.of_tokens(range(14))
        alone = HETA(make()).attribute_outputs(text, OUTPUTS[k : k + 1], features, curvature="exact")
        torch.testing.assert_close(whole.terms.information[k], alone.terms.information[0], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(whole.scores[k], alone.scores[0], rtol=1e-3, atol=1e-6)


@both
def test_outputs_together_have_no_function_in_common(make):
    with pytest.raises(ValueError, match="crosses a length at which the rotary embedding .* per_token=True"):
        HETA(make()).attribute_outputs(IDS, OUTPUTS, EACH, per_token=False)


@both
def test_a_long_prompt_is_read_in_one_piece(make, monkeypatch):
    monkeypatch.setattr("captum_heta.models.causal_lm.query_rows", lambda *_: 4)
    ids = torch.randint(3, 60, (30,), generator=torch.Generator().manual_seed(2))
    lm = CausalLM(make())
    with lm.ready(), torch.no_grad():
        found = trace_of(lm, lm.embed(ids), 1).log_probs[0]
        short = lm.pieces(12)
    assert short == [(0, 4), (4, 8), (8, 12)]
    with torch.no_grad():
        expected = make()(ids[None], use_cache=False).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@both
def test_masked_passes_against_whole_ones(make):
    ids = torch.randint(3, 60, (20,), generator=torch.Generator().manual_seed(2))
    _, terms = HETA(make()).attribute(ids[None], target=5, baselines=4, return_terms=True)
    plain = make()
    with torch.no_grad():
        original = plain(ids[None], use_cache=False).logits[0, -1].log_softmax(-1)
        for i in range(20):
            other = ids.clone()
            other[i] = 4
            changed = plain(other[None], use_cache=False).logits[0, -1].log_softmax(-1)
            expected = (original.exp() * (original - changed)).sum()
            torch.testing.assert_close(terms.information[0, i], expected, rtol=1e-3, atol=1e-6)


@both
def test_prefixes_are_read_as_they_are_alone(make):
    ids = torch.cat([IDS, OUTPUTS])
    found = TDD(make()).attribute(ids[None], target=3, direction="forward")[0].double()
    probabilities = torch.stack([next_probs(make(), ids[:end])[3] for end in range(1, 21)])
    expected = probabilities.diff(prepend=torch.zeros(1))
    torch.testing.assert_close(found, expected.double(), rtol=1e-3, atol=1e-6)
    # texts of both kinds of length in one batch
    lm = CausalLM(make())
    with lm.evaluating():
        several = lm.log_probs_after([ids[:20], ids[:9], ids[:18]], 1)
    for row, length in zip(several, (20, 9, 18), strict=True):
        torch.testing.assert_close(row[0].exp(), next_probs(make(), ids[:length]), rtol=1e-4, atol=1e-6)


@both
def test_frequencies_come_back(make):
    model = make()
    short = torch.cat([IDS, OUTPUTS])[None, :10]
    with torch.no_grad():
        expected = model(short).logits
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    cached = [getattr(module, "max_seq_len_cached", None) for module in model.modules()]
    HETA(model).attribute(torch.randint(3, 60, (1, 40)), target=5, curvature="fisher")
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert [getattr(module, "max_seq_len_cached", None) for module in model.modules()] == cached
    with torch.no_grad():
        torch.testing.assert_close(model(short).logits, expected)


def test_limits():
    assert CausalLM(tiny_model("llama")).max_positions == 64
    assert CausalLM(dynamic()).max_positions is None
    assert CausalLM(longrope()).max_positions == 64
    with pytest.raises(ValueError, match="65 tokens, more than the 64 positions"):
        HETA(tiny_model("llama")).attribute(torch.full((1, 65), 5))
    assert torch.isfinite(HETA(dynamic()).attribute(torch.full((1, 65), 5), curvature="fisher")).all()


def test_linear_scaling_reads_as_far_as_it_stretches():
    rope = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
    assert CausalLM(tiny_model("llama", rope_parameters=rope)).max_positions == 128


def test_regimes():
    lengths = Lengths(dynamic().config)
    assert [lengths.regime(length) for length in (1, 16, 17, 18)] == [0, 0, 17, 18]
    lengths = Lengths(longrope().config)
    assert [lengths.regime(length) for length in (1, 16, 17, 40)] == [0, 0, 1, 1]
