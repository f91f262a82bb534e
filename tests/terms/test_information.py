import pytest
import torch

from captum_heta.features import Features
from captum_heta.models import Batch, CausalLM, trace_of
from captum_heta.terms.information import Masking, information, target_information
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
