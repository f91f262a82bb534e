import sys

import pytest
import torch
import transformers

from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, Trace, trace_of
from captum_heta.terms.information import (
    MaskedCopies,
    Masking,
    divergence,
    fall,
    information,
    target_information,
)
from captum_heta.testing.architectures import tiny_model
from captum_heta.testing.reference import naive_falls


@pytest.fixture(scope="module")
def trace():
    lm = CausalLM(tiny_model("llama").double())
    with lm.ready():
        yield trace_of(lm, lm.embed(torch.tensor([5, 6, 7, 8, 9])), n_outputs=2)


def test_masking_with_the_embedding_itself_loses_nothing(trace):
    lost = information(trace, Features.of_tokens(range(4)), Masking(trace.embeds, Batch(2)))
    torch.testing.assert_close(lost, torch.zeros(2, 4, dtype=torch.float64))


def test_a_token_after_the_target_position_loses_nothing(trace):
    lost = information(trace, Features.of_tokens(range(5)), Masking(torch.zeros_like(trace.embeds), Batch(5)))
    assert lost[0, 4].item() == pytest.approx(0, abs=1e-12)  # the first output is predicted before token 4
    assert (lost[1] > 1e-6).all()


def test_a_token_that_is_provably_ignored_loses_nothing():
    lm = CausalLM(tiny_model("mistral", sliding_window=2, num_hidden_layers=1).double())
    with lm.ready():
        trace = trace_of(lm, lm.embed(torch.tensor([5, 6, 7, 8, 9])), n_outputs=1)
        lost = information(trace, Features.of_tokens(range(5)), Masking(torch.zeros_like(trace.embeds), Batch(3)))
    assert lost[0, :3].tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert (lost[0, 3:] > 1e-6).all()


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_does_not_depend_on_the_batch_size(trace, batch_size):
    features = Features(((1, 3), (0,), (2,)))
    masked = torch.zeros_like(trace.embeds)
    expected = information(trace, features, Masking(masked, Batch(3)))
    torch.testing.assert_close(information(trace, features, Masking(masked, Batch(batch_size))), expected)


def test_what_masks_matters(trace):
    features = Features.of_tokens(range(4))
    zero = information(trace, features, Masking(torch.zeros_like(trace.embeds), Batch(4)))
    assert not torch.allclose(zero, information(trace, features, Masking(torch.ones_like(trace.embeds), Batch(4))))


def test_empty_feature_loses_nothing(trace):
    lost = information(trace, Features(((), (1,))), Masking(torch.zeros_like(trace.embeds), Batch(4)))
    assert lost[:, 0].tolist() == [0, 0]


def test_progress_counts_features(trace):
    done = []
    information(
        trace, Features.of_tokens(range(5)), Masking(torch.zeros_like(trace.embeds), Batch(2), progress=done.append)
    )
    assert sum(done) == 5


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "gemma3_text"])
@pytest.mark.parametrize("contrast", [None, [8, 9]])
def test_the_targets_fall_equals_a_pass_for_each_feature_and_output(name, contrast):
    model = tiny_model(name).double()
    lm = CausalLM(model)
    features = Features(((0,), (1, 2), (3,)))
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.tensor([5, 6, 7, 8, 9])), n_outputs=2)
        masked = torch.randn_like(trace.embeds)
        others = None if contrast is None else torch.tensor(contrast)
        found = target_information(trace, features, Masking(masked, Batch(2)), torch.tensor([3, 4]), others)
        expected = naive_falls(model, trace.embeds, [3, 4], features.groups, masked, contrast)
    # transformers' eager attention has a softmax in float32, and the fused one has not
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (found < 0).any() or (found > 0).all()  # it has its sign


class TestMaskedCopies:
    @pytest.fixture
    def copies(self, trace):
        seen = []

        def measure(original, changed):
            seen.append(len(changed))
            return fall(torch.tensor([3, 4]))(original, changed)

        return MaskedCopies(trace, Masking(torch.zeros_like(trace.embeds), Batch(4)), [measure, divergence]), seen

    def test_one_pass_serves_every_measure(self, trace, copies):
        features = Features.of_tokens(range(5))
        found = copies[0].of(features)
        masking = Masking(torch.zeros_like(trace.embeds), Batch(4))
        torch.testing.assert_close(found[0], target_information(trace, features, masking, torch.tensor([3, 4])))
        torch.testing.assert_close(found[1], information(trace, features, masking))
        assert copies[0].passes == sum(copies[1]) == 5

    def test_what_is_known_is_not_run_again(self, copies):
        copies, _ = copies
        first = copies.of(Features(((0,), (1, 2), ())), [0, 2])
        assert copies.passes == 1
        assert first[:, :, 1].tolist() == [[0, 0], [0, 0]]  # nothing was masked
        again = copies.of(Features(((1, 2), (4,), (0,))))
        assert copies.passes == 3
        assert torch.equal(again[..., 2], first[..., 0])

    def test_groups_that_start_near_each_other_share_a_batch_and_the_longest_come_first(self, monkeypatch):
        model = tiny_model("llama")
        lm = CausalLM(model)
        monkeypatch.setitem(sys.modules["captum_heta.terms.information"]._TOKENS, "cpu", 1)
        with lm.lock, lm.restored(), lm.ready():
            trace = trace_of(lm, lm.embed(torch.arange(64)), 1)
            copies = MaskedCopies(trace, Masking(torch.zeros_like(trace.embeds), Batch(100)), [divergence])
            buckets = list(copies._buckets([(i,) for i in range(64)]))
        assert [group for bucket in buckets for group in bucket] == [(i,) for i in range(64)]
        for bucket in buckets:
            start = bucket[0][0]
            assert bucket[-1][0] - start <= (64 - start) / 16
        assert len(buckets[0]) == 5
        assert len(buckets[-1]) == 1

    def test_few_tokens_are_run_together(self):
        model = tiny_model("llama")
        lm = CausalLM(model)
        with lm.lock, lm.restored(), lm.ready():
            trace = trace_of(lm, lm.embed(torch.arange(12)), 1)
            copies = MaskedCopies(trace, Masking(torch.zeros_like(trace.embeds), Batch(100)), [divergence])
            assert [len(bucket) for bucket in copies._buckets([(i,) for i in range(12)])] == [11, 1]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gemma3_text", "gpt_neox", "mixtral"])
def test_masked_copies_run_with_the_attention_that_the_model_was_loaded_with(name, monkeypatch):
    model = tiny_model(name)
    own = model.config._attn_implementation
    lm, used = CausalLM(model), []
    rerun = Trace.rerun

    def watched(self, *arguments, **named):
        used.append(model.config._attn_implementation)
        return rerun(self, *arguments, **named)

    monkeypatch.setattr(Trace, "rerun", watched)
    with lm.lock, lm.restored(), lm.ready():
        trace = trace_of(lm, lm.embed(torch.arange(9)), 1)
        masking = Masking(torch.zeros_like(trace.embeds), Batch(4))
        fast = information(trace, Features.of_tokens(range(9)), masking)
        assert set(used) == {own}
        assert model.config._attn_implementation == "eager"
        monkeypatch.setattr("captum_heta.models.causal_lm.runs_eagerly", lambda model: True)
        used.clear()
        eager = information(trace, Features.of_tokens(range(9)), masking)
        assert set(used) == {"eager"}
    torch.testing.assert_close(fast, eager, rtol=1e-3, atol=2e-6)
    assert model.config._attn_implementation == own


def test_attention_that_fails_behind_a_cache_is_not_used(monkeypatch):
    model = tiny_model("llama")
    if model.config._attn_implementation == "eager":
        pytest.skip("this transformers loads models with eager attention")
    lm = CausalLM(model)
    interface = transformers.AttentionInterface()["sdpa"]

    def broken(module, query, key, value, attention_mask, **named):
        if query.shape[-2] < key.shape[-2]:
            raise RuntimeError("no kernel")
        return interface(module, query, key, value, attention_mask, **named)

    transformers.AttentionInterface.register("broken", broken)
    transformers.AttentionMaskInterface.register("broken", transformers.AttentionMaskInterface()["sdpa"])
    model.set_attn_implementation("broken")
    with lm.lock, lm.restored(), lm.ready():
        assert lm.attention.reuses_prefix
        assert not lm.attention.fast_says_the_same
        with lm.fastest() as faster:
            assert not faster
