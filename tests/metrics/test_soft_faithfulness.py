import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta.metrics import hellinger, soft_nc, soft_ns
from captum_heta.metrics.soft_faithfulness import _with_mean
from captum_heta.testing.architectures import tiny_model

BOTH = pytest.mark.parametrize("metric", [soft_ns, soft_nc])
PROMPT = torch.tensor([[1, 2]])  # probability 0.9, of one token 0.75, of none 0.5


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.randint(2, 97, (3, 6), generator=generator), torch.randn(3, 6, generator=generator)


def test_hellinger_by_hand():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    assert hellinger(p.log(), q.log()).item() == pytest.approx(math.sqrt(0.5))
    assert hellinger(p.log(), p.log()).item() == 0
    assert hellinger(torch.tensor([1.0, 0.0]).log(), torch.tensor([0.0, 1.0]).log()).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("scores", "kept", "left"),
    [
        ([2.0, 0.0], 0.75, 0.75),  # one token kept, or the other
        ([0.0, -1.0], 0.75, 0.75),
        ([4.0, -4.0], 0.9, 0.5),  # all kept, all removed
        ([0.0, 0.0], 0.5, 0.9),  # none kept, none removed
    ],
)
def test_masks_without_chance(coin, hellinger_of_coins, scores, kept, left):
    farthest = hellinger_of_coins(0.9, 0.5)
    scores = torch.tensor([scores])
    expected = 1 - hellinger_of_coins(0.9, kept) / farthest
    assert soft_ns(coin, PROMPT, scores).item() == pytest.approx(expected, abs=1e-6)
    assert soft_nc(coin, PROMPT, scores).item() == pytest.approx(hellinger_of_coins(0.9, left) / farthest, abs=1e-6)


def test_elements_are_kept_with_the_probability_of_their_token(coin, hellinger_of_coins):
    scores = torch.tensor([[0.2, 1.0]])  # the first is kept in a fifth of the draws, removed in a fifth
    farthest = hellinger_of_coins(0.9, 0.5)
    one = hellinger_of_coins(0.9, 0.75) / farthest
    sufficient = soft_ns(coin, PROMPT, scores, n_draws=4000).item()
    assert sufficient == pytest.approx(0.2 * 1 + 0.8 * (1 - one), abs=0.02)
    # the second always removed: one or none is left
    assert soft_nc(coin, PROMPT, scores, n_draws=4000).item() == pytest.approx(0.8 * one + 0.2, abs=0.02)


@pytest.mark.parametrize(
    ("scores", "retain", "kept"),
    [
        ([1.0, 1.0], 0.25, [0.25, 0.25]),
        ([1.0, 0.5], 0.6, [0.8, 0.4]),
        ([1.0, 0.5], 0.9, [1.0, 0.8]),  # the first can be kept no more than always
        ([1.0, 0.0], 0.3, [0.6, 0.0]),
        ([1.0, 0.0], 0.75, [1.0, 0.5]),  # what has no attribution shares what is missing
        ([0.0, 0.0], 0.4, [0.4, 0.4]),
    ],
)
def test_a_part_that_is_kept_by_hand(coin, hellinger_of_coins, scores, retain, kept):
    farthest = hellinger_of_coins(0.9, 0.5)
    one = hellinger_of_coins(0.9, 0.75) / farthest
    first, second = kept
    expected = first * second + (first + second - 2 * first * second) * (1 - one)
    scores = torch.tensor([scores])
    assert soft_ns(coin, PROMPT, scores, n_draws=4000, retain=retain).item() == pytest.approx(expected, abs=0.02)
    removed = first * second + (first + second - 2 * first * second) * one
    found = soft_nc(coin, PROMPT, scores, n_draws=4000, retain=1 - retain).item()
    assert found == pytest.approx(removed, abs=0.02)


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=8),
    power=st.floats(0.1, 10),
    fixed=st.sets(st.integers(0, 7)),
    part=st.floats(0.01, 0.99),
)
def test_every_prompt_keeps_the_same_part_and_the_order_of_its_tokens(scores, power, fixed, part):
    free = torch.tensor([i not in fixed for i in range(len(scores))])
    importances = torch.tensor(scores, dtype=torch.float64).pow(power) * free
    kept = _with_mean(importances[None], free, part)[0]
    assert kept.sum().item() == pytest.approx(part * free.sum().item(), abs=1e-6)
    assert ((kept >= 0) & (kept <= 1 + 1e-9)).all()
    assert (kept[~free] == 0).all()
    order = importances[free].argsort()
    assert (kept[free][order].diff() >= -1e-9).all()


def test_flat_and_peaked_scores_of_one_order_keep_as_much(coin):
    flat, peaked = torch.tensor([[1.0, 0.9]]), torch.tensor([[1.0, 1e-6]])
    apart = [soft_ns(coin, PROMPT, scores, n_draws=2000).item() for scores in (flat, peaked)]
    assert apart[0] > apart[1] + 0.1  # as they are, flat ones keep nearly all
    like = [soft_ns(coin, PROMPT, scores, n_draws=2000, retain=0.5).item() for scores in (flat, peaked)]
    assert like[0] == pytest.approx(like[1], abs=0.1)


def test_farther_than_zeros_is_not_less_than_nothing(make_coin, hellinger_of_coins):
    coin = make_coin([1, 9, 1 / 81])  # the prompt has odds of 1/9, its first token of 9
    ids, scores = torch.tensor([[1, 2]]), torch.tensor([[1.0, 0.0]])
    assert soft_ns(coin, ids, scores).item() == 0
    far = hellinger_of_coins(0.1, 0.9) / hellinger_of_coins(0.1, 0.5)
    assert far > 1
    assert soft_nc(coin, ids, scores.flip(1)).item() == pytest.approx(far)


def test_fixed_tokens_stay_and_their_attribution_counts_for_nothing(coin, hellinger_of_coins):
    ids, fixed = torch.tensor([[2, 1, 1]]), torch.tensor([[True, False, False]])
    whole, two, one = 27 / 28, 9 / 10, 3 / 4  # zeros but for the first token leave odds of 3
    expected = hellinger_of_coins(whole, two) / hellinger_of_coins(whole, one)
    for first in (0.0, 100.0):
        scores = torch.tensor([[first, 1.0, 0.0]])
        assert soft_nc(coin, ids, scores, fixed=fixed).item() == pytest.approx(expected)
        assert soft_ns(coin, ids, scores, fixed=fixed[0]).item() == pytest.approx(1 - expected)
    scores = torch.tensor([[100.0, 1.0, 0.0]])
    assert soft_nc(coin, ids, scores).item() != pytest.approx(expected)


@BOTH
def test_undefined_where_zeros_predict_the_same(coin, metric):
    scores = torch.ones(1, 2)
    assert metric(coin, torch.tensor([[0, 0]]), scores).isnan().all()
    assert metric(coin, PROMPT, scores, fixed=torch.ones(1, 2, dtype=torch.bool)).isnan().all()


@pytest.mark.parametrize("scores", [[0.0, 1.0], [1.0, 0.0]])  # with a sufficiency above 0, and of 0
def test_undefined_relative_to_a_random_zero(make_coin, scores):
    coin = make_coin([1, 9, 1 / 81])  # the first token alone is farther from the prompt than zeros are
    ids, scores = torch.tensor([[1, 2]]), torch.tensor([scores])

    def ratios(metric):
        found = [metric(coin, ids, scores, n_draws=1, relative_to_random=True, seed=seed) for seed in range(60)]
        return torch.cat(found)

    sufficient, comprehensive = ratios(soft_ns), ratios(soft_nc)
    assert not sufficient.isinf().any()
    assert sufficient.isnan().any()
    assert sufficient.isfinite().any()
    assert comprehensive.isfinite().all()  # something is removed from every prompt


@BOTH
def test_random_scores_have_a_ratio_of_one(make_coin, metric):
    coin = make_coin([1, 3, 3, 2, 5, 4])
    scores = torch.rand(20, 5)
    ratio = metric(coin, torch.arange(1, 6).expand(20, -1), scores, n_draws=300, relative_to_random=True)
    assert ratio.mean().item() == pytest.approx(1, abs=0.1)
    assert len(ratio.unique()) > 1


def test_relative_is_the_ratio_to_other_scores(coin, hellinger_of_coins):
    """Two tokens alike: random scores keep one, and the other with a probability that is uniform."""
    one = 1 - hellinger_of_coins(0.9, 0.75) / hellinger_of_coins(0.9, 0.5)
    # min(u, v) / max(u, v) is uniform in [0, 1): half the draws keep both
    ratio = soft_ns(coin, PROMPT, torch.tensor([[1.0, 0.0]]), n_draws=4000, relative_to_random=True)
    assert ratio.item() == pytest.approx(one / (0.5 + 0.5 * one), abs=0.02)


def test_the_token_that_decides_does_best(make_coin):
    coin = make_coin([1, 50, 1.01, 0.99, 1.02])
    ids = torch.tensor([[2, 3, 1, 4]]).expand(4, -1)
    scores = torch.eye(4)
    for metric in (soft_ns, soft_nc):
        values = metric(coin, ids, scores)
        assert values.argmax().item() == 2
        assert values[2] > 0.9
        assert values[[0, 1, 3]].max() < 0.1


@BOTH
@pytest.mark.parametrize("relative", [True, False])
@given(
    scale=st.sampled_from([-8.0, -1.0, 0.25, 2.0**-99]),
    scores=st.lists(st.floats(-1, 1, width=16), min_size=3, max_size=3),
    order=st.permutations(range(3)),
)
@settings(max_examples=30)
def test_scale_and_sign_do_not_matter_and_chance_alone_the_order(make_coin, metric, relative, scale, scores, order):
    coin, ids, scores = make_coin([1, 3, 4, 1 / 9]), torch.tensor([[1, 2, 3]]), torch.tensor([scores]).double()
    expected = metric(coin, ids, scores, n_draws=2, relative_to_random=relative)
    found = metric(coin, ids, scale * scores, n_draws=2, relative_to_random=relative)
    torch.testing.assert_close(found, expected, equal_nan=True)
    certain = (scores.abs() > 0.5).double()  # kept or not, whatever is drawn
    found = metric(coin, ids[:, order], certain[:, order])
    torch.testing.assert_close(found, metric(coin, ids, certain))


@BOTH
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bloom"])
def test_a_padded_batch_is_its_prompts(metric, left, architecture):
    model = tiny_model(architecture)
    ids, scores = torch.randint(2, 97, (2, 6)), torch.rand(2, 6)
    mask = torch.ones(2, 6, dtype=torch.long)
    part = slice(2, None) if left else slice(None, -2)
    mask[1] = 0
    mask[1, part] = 1
    scores[1][mask[1] == 0] = torch.nan
    options = {"n_draws": 3, "relative_to_random": True}
    together = metric(model, ids, scores, additional_forward_args=mask, **options)
    alone = [metric(model, ids[:1], scores[:1], **options), metric(model, ids[1:, part], scores[1:, part], **options)]
    torch.testing.assert_close(together, torch.cat(alone))


@BOTH
def test_the_size_of_batches_does_not_matter(coin, metric):
    scores = torch.tensor([[0.3, 1.0]])
    whole = metric(coin, PROMPT, scores)
    coin.rows.clear()
    torch.testing.assert_close(metric(coin, PROMPT, scores, perturbations_per_eval=3), whole)
    assert max(coin.rows) == 3
    assert sum(coin.rows) == 12  # the prompt, zeros, ten draws


@BOTH
def test_seeds_and_draws(model, batch, metric):
    ids, scores = batch
    state = torch.get_rng_state()
    one, again = (metric(model, ids, scores, seed=5, relative_to_random=True) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, again)
    assert not torch.allclose(metric(model, ids, scores, seed=6, relative_to_random=True), one)
    assert not torch.allclose(metric(model, ids, scores, seed=5, n_draws=11), metric(model, ids, scores, seed=5))


@BOTH
def test_a_model_without_attention_and_in_train_mode(metric):
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=97, hidden_size=16, num_hidden_layers=2, state_size=4)
    model = MambaForCausalLM(config).train()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    ids = torch.tensor([[5, 6, 7]])
    assert metric(model, ids, torch.tensor([[0.5, 0.5, 1.0]])).item() > 0
    assert model.training


@BOTH
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_draws": 0}, "n_draws must be at least 1, got 0"),
        ({"retain": 0.0}, r"retain is a part of the elements and must be in \(0, 1\), got 0.0"),
        ({"retain": 1.0}, r"retain is a part of the elements and must be in \(0, 1\), got 1.0"),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval must be at least 1, got 0. None fits"),
        ({"attributions": torch.ones(2)}, r"attributions must be a tensor of the inputs' shape \(1, 2\), got \(2,\)"),
        ({"attributions": [[1, 2]]}, "attributions must be a tensor .* got list"),
        ({"attributions": torch.tensor([[1, torch.nan]])}, "attributions in row 0 are not all finite"),
        ({"fixed": torch.ones(1, 2)}, "fixed must be a bool tensor, .* got torch.float32"),
        ({"fixed": [True, False]}, "fixed must be a bool tensor, .* got list"),
        ({"fixed": torch.ones(3, dtype=torch.bool)}, r"fixed has shape \(3,\), .* broadcast to the inputs' \(1, 2\)"),
        ({"inputs": torch.tensor([[1, 4]])}, "inputs has token id 4, outside the vocabulary"),
        ({"additional_forward_args": {"labels": PROMPT}}, "has 'labels'"),
    ],
)
def test_errors(coin, metric, changes, message):
    arguments = {"inputs": PROMPT, "attributions": torch.ones(1, 2)} | changes
    with pytest.raises(ValueError, match=message):
        metric(coin, **arguments)


@BOTH
def test_a_model_that_does_not_predict_the_next_token(coin, metric):
    coin.generation = False
    with pytest.raises(TypeError, match="Sum does not predict the next token, .* AutoModelForCausalLM"):
        metric(coin, PROMPT, torch.ones(1, 2))


def test_longer_than_the_model(model):
    with pytest.raises(ValueError, match="65 tokens, more than the 64 positions"):
        soft_ns(model, torch.ones(1, 65, dtype=torch.long), torch.ones(1, 65))
