import inspect
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta.demo import examples
from captum_heta.metrics import deletion, insertion, loo_agreement, spearman
from captum_heta.testing.architectures import tiny_model
from captum_heta.testing.methods import next_probs
from captum_heta.testing.metrics import naive_answer_log_prob, naive_deletion, naive_falls, naive_insertion

CURVES = pytest.mark.parametrize("metric", [insertion, deletion])
EVERY = pytest.mark.parametrize("metric", [insertion, deletion, loo_agreement])
IDS = torch.tensor([[1, 2, 3]])  # odds of 2, 4 and 1/2 of token 1
SCORES = torch.tensor([[1.0, -3.0, 2.0]])  # the order is 4, 1/2, 2


@pytest.fixture
def three(make_coin):
    return make_coin([1, 2, 4, 1 / 2])


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama").double()


def log_prob(odds):
    return math.log(odds / (1 + odds))


def area(odds):
    """Of points at equal distances, between the log-probabilities at the odds 4 of the prompt and 1 of none."""
    heights = [(log_prob(some) - log_prob(1)) / (log_prob(4) - log_prob(1)) for some in odds]
    return sum((a + b) / 2 for a, b in itertools.pairwise(heights)) / (len(heights) - 1)


def test_by_hand(three):
    assert deletion(three, IDS, SCORES, target=1).item() == pytest.approx(area([4, 1, 2, 1]))
    assert insertion(three, IDS, SCORES, target=1).item() == pytest.approx(area([1, 4, 2, 4]))
    falls = torch.tensor([[2.0, 4.0, 0.5]])  # the odds that go with each
    assert loo_agreement(three, IDS, falls, target=1).item() == pytest.approx(1)
    assert loo_agreement(three, IDS, -falls, target=1).item() == pytest.approx(-1)
    # ranks 1 0 2 of the scores and 1 2 0 of the falls
    assert loo_agreement(three, IDS, SCORES, target=1).item() == pytest.approx(-1)
    assert loo_agreement(three, IDS, SCORES.abs(), target=1).item() == pytest.approx(0.5)


def test_the_answer_has_all_its_tokens(make_coin):
    coin = make_coin([1, 2, 4, 1 / 2])
    ids, scores = torch.tensor([[1, 2]]), torch.tensor([[1.0, 2.0]])

    def both(odds):  # token 2 has the probability 0; token 1 doubles the odds, and token 0 leaves them
        return log_prob(odds) + math.log(1 - 2 * odds / (1 + 2 * odds))

    # the answer is 1 and then 0, of odds 8 and 16; likelier after fewer tokens, so the masked one is turned around
    assert math.isnan(deletion(coin, ids, scores, target=[1, 0]).item())
    twice = [log_prob(odds) + log_prob(2 * odds) for odds in (8, 2, 1)]
    heights = [(value - twice[2]) / (twice[0] - twice[2]) for value in twice]
    expected = (heights[0] + 2 * heights[1] + heights[2]) / 4
    assert both(8) < both(1)
    assert deletion(coin, ids, scores, target=[1, 1]).item() == pytest.approx(expected)


def test_targets(three):
    one, two = deletion(three, IDS, SCORES, target=1), deletion(three, IDS, SCORES, target=[1, 1])
    assert one != two
    ids, scores = IDS.expand(2, -1), SCORES.expand(2, -1)
    for target in (None, 1, [1], torch.tensor(1), torch.tensor([1])):
        torch.testing.assert_close(deletion(three, ids, scores, target=target), one.expand(2))
    for target in ([1, 1], torch.tensor([1, 1])):
        torch.testing.assert_close(deletion(three, ids, scores, target=target), two.expand(2))
    for target in ([[1], [1, 1]], [torch.tensor([1]), torch.tensor([1, 1])]):
        torch.testing.assert_close(deletion(three, ids, scores, target=target), torch.cat([one, two]))
    torch.testing.assert_close(deletion(three, ids, scores, target=torch.tensor([[1], [1]])), one.expand(2))


def test_steps_take_several_features_at_once(make_coin):
    coin = make_coin([1, 2])
    ids, scores = torch.ones(1, 5, dtype=torch.long), torch.ones(1, 5)
    value = [(log_prob(2**k) - log_prob(1)) / (log_prob(32) - log_prob(1)) for k in range(6)]
    whole = sum((value[k] + value[k + 1]) / 2 for k in range(5)) / 5
    for steps in (None, 5, 50):
        assert deletion(coin, ids, scores, target=1, steps=steps).item() == pytest.approx(whole)
    # at 0, 2 (half of 5, to even) and 5
    halves = (value[5] + value[3]) / 2 * 2 / 5 + (value[3] + value[0]) / 2 * 3 / 5
    assert deletion(coin, ids, scores, target=1, steps=2).item() == pytest.approx(halves)
    assert deletion(coin, ids, scores, target=1, steps=1).item() == pytest.approx(1 / 2)


def test_magnitudes_by_hand(three):
    # the curve of deletion is 1 0 0 0 once it may not rise, that of insertion 0 1 1 1; scores are 3, 2 and 1
    found = deletion(three, IDS, SCORES, target=1, magnitude_aligned=True)
    assert found.item() == pytest.approx((1 / 2 + 3 / 6 + 1 / 6 + 0) / 3)
    found = insertion(three, IDS, SCORES, target=1, magnitude_aligned=True)
    assert found.item() == pytest.approx((0 + 3 / 6 + 5 / 6 + 1 / 2) / 3)
    for metric in (insertion, deletion):
        assert math.isnan(metric(three, IDS, 0 * SCORES, target=1, magnitude_aligned=True).item())
    # the fall of the first token explains all that there is
    best = torch.tensor([[0.0, 1.0, 0.0]])
    assert deletion(three, IDS, best, target=1, magnitude_aligned=True).item() == pytest.approx((1 / 2) / 3)
    assert insertion(three, IDS, best, target=1, magnitude_aligned=True).item() == pytest.approx(1 - (1 / 2) / 3)


@CURVES
def test_magnitudes_count_where_they_are_asked_for(three, metric):
    sharp, flat = SCORES**3, SCORES.sign() * (9 + SCORES.abs())
    given = {"target": 1, "magnitude_aligned": True}
    assert metric(three, IDS, sharp, target=1) == metric(three, IDS, flat, target=1)
    assert metric(three, IDS, sharp, **given) != metric(three, IDS, flat, **given)
    for scores in torch.rand(5, 1, 3):
        assert 0 <= metric(three, IDS, scores, **given) <= 1


def test_features_are_masked_together(make_coin):
    coin = make_coin([1, 2, 4, 1 / 2])
    mask = torch.tensor([[0, 7, 0]])  # of odds 2 and 1/2 together, which are nothing
    scores = torch.tensor([[1.0, 2.0, 1.0]])
    assert deletion(coin, IDS, scores, target=1, feature_mask=mask).item() == pytest.approx(area([4, 1, 1]))
    assert insertion(coin, IDS, scores, target=1, feature_mask=mask).item() == pytest.approx(area([1, 4, 4]))
    assert loo_agreement(coin, IDS, scores, target=1, feature_mask=mask).item() == pytest.approx(1)
    assert loo_agreement(coin, IDS, -scores, target=1, feature_mask=mask).item() == pytest.approx(-1)
    # the mean of the first counts, and not the sum
    scores = torch.tensor([[3.0, 2.5, 1.0]])
    assert insertion(coin, IDS, scores, target=1, feature_mask=mask).item() == pytest.approx(area([1, 4, 4]))


def test_fixed_tokens_stay(three):
    fixed = torch.tensor([False, False, True])
    ends = [log_prob(odds) for odds in (4, 1, 1 / 2)]
    expected = (1 + 2 * (ends[1] - ends[2]) / (ends[0] - ends[2])) / 4
    found = deletion(three, IDS, torch.tensor([[1.0, 2.0, 99.0]]), target=1, fixed=fixed)
    assert found.item() == pytest.approx(expected)
    # of a feature the tokens that are not fixed are masked, and count
    mask, scores = torch.tensor([[0, 1, 0]]), torch.tensor([[1.0, 2.0, 99.0]])
    assert deletion(three, IDS, scores, target=1, fixed=fixed, feature_mask=mask).item() == pytest.approx(expected)
    assert loo_agreement(three, IDS, scores, target=1, fixed=fixed, feature_mask=mask).item() == pytest.approx(1)
    for metric in (insertion, deletion, loo_agreement):
        assert math.isnan(metric(three, IDS, SCORES, fixed=torch.tensor([True])).item())


def test_baselines(three):
    """Token 3 in place of the others: odds of 4 of the prompt, and of 1/8 of the masked one."""
    value = [log_prob(odds) for odds in (4, 1 / 2, 1 / 2, 1 / 8)]
    heights = [(some - value[3]) / (value[0] - value[3]) for some in value]
    expected = (heights[0] / 2 + heights[1] + heights[2] + heights[3] / 2) / 3
    assert deletion(three, IDS, SCORES, target=1, baselines=3).item() == pytest.approx(expected)
    assert math.isnan(deletion(three, IDS, SCORES, target=1, baselines="mean").item())  # their mean has the same odds


@CURVES
def test_what_does_not_help_has_no_curve(make_coin, metric):
    assert math.isnan(metric(make_coin([1, 1]), torch.ones(1, 3, dtype=torch.long), torch.rand(1, 3)).item())
    assert math.isnan(metric(make_coin([1, 2]), torch.ones(1, 3, dtype=torch.long), torch.rand(1, 3), target=0).item())


def test_leave_one_out_of_what_has_no_order(make_coin):
    ids = torch.ones(1, 3, dtype=torch.long)
    assert math.isnan(loo_agreement(make_coin([1, 1]), ids, torch.rand(1, 3)).item())
    assert math.isnan(loo_agreement(make_coin([1, 2, 3]), torch.tensor([[1, 2]]), torch.ones(1, 2)).item())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "phi3"])
def test_as_the_definitions_read(kind):
    model = tiny_model(kind).double()
    ids, scores = torch.randint(2, 97, (1, 7)), torch.randn(1, 7, dtype=torch.float64)
    table = model.get_input_embeddings()
    for baselines, masked in ((None, torch.zeros_like(table(ids[0]))), (3, table(torch.full((7,), 3)))):
        masked = masked.detach()
        outputs = helped(model, ids[0], masked)
        given = {"target": outputs, "baselines": baselines}
        groups = [[token] for token in scores[0].abs().argsort(descending=True).tolist()]
        expected = naive_deletion(model, ids[0], outputs, groups, masked)
        assert deletion(model, ids, scores, **given).item() == pytest.approx(expected)
        expected = naive_insertion(model, ids[0], outputs, groups, masked)
        assert insertion(model, ids, scores, **given).item() == pytest.approx(expected)
        falls = torch.tensor([naive_falls(model, ids[0], outputs, [[i] for i in range(7)], masked)])
        assert loo_agreement(model, ids, falls, **given).item() == pytest.approx(1)
        correlation = spearman(falls, scores).item()
        assert loo_agreement(model, ids, scores, **given).item() == pytest.approx(correlation)


def helped(model, ids, masked):
    """Three tokens that the prompt makes likelier than the masked one does."""
    everything = list(range(len(ids)))
    for outputs in itertools.product(range(2, 40), (5,), (9,)):
        whole, empty = (naive_answer_log_prob(model, ids, outputs, some, masked) for some in ([], everything))
        if whole - empty > 0.02:
            return list(outputs)
    raise AssertionError("the prompt makes nothing likelier")


@given(scores=st.lists(st.floats(0.1, 1), min_size=4, max_size=4, unique=True), order=st.permutations(range(4)))
@settings(max_examples=30)
def test_the_last_first_turns_deletion_into_insertion(make_coin, scores, order):
    coin, ids = make_coin([1, 2, 3, 4, 1 / 9]), torch.tensor([[1, 2, 3, 4]])
    scores = torch.tensor([scores], dtype=torch.float64)
    expected = insertion(coin, ids, scores, target=1)
    torch.testing.assert_close(deletion(coin, ids, 1 / scores, target=1), expected)
    torch.testing.assert_close(insertion(coin, ids, -5 * scores**3, target=1), expected)
    torch.testing.assert_close(insertion(coin, ids[:, order], scores[:, order], target=1), expected)


def test_what_the_answer_falls_without_does_better_than_random_scores(demo):
    model, tokenizer = demo
    better = []
    for item in examples(4):
        ids = torch.tensor(tokenizer.encode(item.prompt))
        answer = tokenizer.encode(item.target, add_special_tokens=False)
        zeros = torch.zeros(len(ids), model.config.hidden_size)
        falls = naive_falls(model, ids, answer, [[token] for token in range(len(ids))], zeros)
        scores = torch.cat([torch.tensor([falls]).clamp(min=0), torch.rand(3, len(ids))])
        given = {"target": answer, "steps": 10}
        rise, fall = (metric(model, ids.expand(4, -1), scores, **given) for metric in (insertion, deletion))
        better.append(torch.stack([rise[0] - rise[1:].mean(), fall[1:].mean() - fall[0]]))
    assert (torch.stack(better).mean(0) > 0.1).all()


@EVERY
@pytest.mark.parametrize("left", [True, False])
def test_a_padded_batch_is_its_prompts(model, metric, left):
    ids, scores = torch.randint(2, 97, (2, 6)), torch.rand(2, 6)
    part = slice(2, None) if left else slice(None, -2)
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[1] = 0
    mask[1, part] = 1
    scores[1][mask[1] == 0] = torch.nan
    given = {"target": [[4, 8], [9, 3, 2]]}
    baselines, features = torch.randint(2, 97, (2, 6)), torch.tensor([[0, 0, 1, 2, 2, 3]])
    masks = {"baselines": baselines, "feature_mask": features.expand(2, -1)}
    together = metric(model, ids, scores, additional_forward_args=mask, **masks, **given)
    alone = [
        metric(model, ids[:1], scores[:1], baselines=baselines[:1], feature_mask=features, target=[4, 8]),
        metric(
            model,
            ids[1:, part],
            scores[1:, part],
            baselines=baselines[1:, part],
            feature_mask=features[:, part],
            target=[9, 3, 2],
        ),
    ]
    torch.testing.assert_close(together, torch.cat(alone), equal_nan=True)


@EVERY
def test_positions_go_on_behind_the_prompt(model, metric):
    ids, scores = torch.randint(2, 97, (1, 6)), torch.rand(1, 6)
    given = {"target": [int(next_probs(model, ids[0]).argmax())] * 2, "baselines": 3}
    mask, expected = torch.ones_like(ids), metric(model, ids, scores, **given)
    positions = torch.arange(4, 10)[None]  # rotary embeddings know distances alone
    found = metric(model, ids, scores, additional_forward_args=(mask, positions), **given)
    torch.testing.assert_close(found, expected, equal_nan=True)
    apart = metric(model, ids, scores, additional_forward_args=(mask, positions * 3), **given)
    assert metric is loo_agreement or not torch.allclose(apart, expected, equal_nan=True)


@EVERY
def test_the_size_of_batches_does_not_matter_and_nothing_is_drawn(three, metric):
    state = torch.get_rng_state()
    whole = metric(three, IDS, SCORES, target=[1, 1])
    three.rows.clear()
    torch.testing.assert_close(metric(three, IDS, SCORES, target=[1, 1], perturbations_per_eval=2), whole)
    assert three.rows == ([1, 2, 1] if metric is loo_agreement else [1, 2, 2])
    assert torch.equal(torch.get_rng_state(), state)


@EVERY
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": 4}, "target has token id 4"),
        ({"target": 2}, "gives token 2 the probability 0"),
        ({"target": []}, r"at least one, \(K,\), got shape \(0,\) in target"),
        ({"target": [[1], [1]]}, "target has 2 answers for 1 prompts: give one answer, or one a prompt"),
        ({"target": torch.tensor([[[1]]])}, r"got shape \(1, 1\) in target"),
        ({"target": 1.5}, "target must be token ids"),
        ({"baselines": "black"}, "baselines must be 'zero', 'mean'"),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval must be at least 1"),
        ({"attributions": torch.ones(3)}, "attributions must be a tensor of the inputs' shape"),
        ({"fixed": torch.ones(1, 3)}, "fixed must be a bool tensor"),
        ({"feature_mask": torch.ones(1, 3)}, "feature_mask must be an integer tensor"),
    ],
)
def test_errors(three, metric, changes, message):
    with pytest.raises(ValueError, match=message):
        metric(three, **({"inputs": IDS, "attributions": SCORES} | changes))


@CURVES
@pytest.mark.parametrize(("steps", "told"), [(0, "at least 1, got 0"), (1.5, "a whole number, got 1.5")])
def test_steps_are_a_count(three, metric, steps, told):
    with pytest.raises(ValueError, match=f"steps must be {told}"):
        metric(three, IDS, SCORES, steps=steps)


@EVERY
def test_an_answer_must_fit_behind_the_prompt(metric):
    model = tiny_model("gpt2")
    ids = torch.randint(2, 97, (1, model.config.max_position_embeddings))
    metric(model, ids, torch.rand(ids.shape), target=5, feature_mask=torch.arange(ids.shape[1]).div(64).long()[None])
    with pytest.raises(ValueError, match="The prompt and its answer have"):
        metric(model, ids, torch.rand(ids.shape), target=[5, 6])


def test_the_curves_take_the_same_arguments():
    assert inspect.signature(insertion) == inspect.signature(deletion)
    assert insertion.__doc__ != deletion.__doc__
    with pytest.raises(TypeError, match="unexpected keyword argument 'step'"):
        deletion(None, None, None, step=1)


@EVERY
def test_a_model_that_does_not_predict_the_next_token(three, metric):
    three.generation = False
    with pytest.raises(TypeError, match="Sum does not predict the next token"):
        metric(three, IDS, SCORES)
