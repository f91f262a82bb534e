import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_heta.demo import examples
from captum_heta.features import Features
from captum_heta.inputs.offsets import token_spans
from captum_heta.metrics import comprehensiveness, sufficiency
from captum_heta.testing.architectures import tiny_model

BOTH = pytest.mark.parametrize("metric", [comprehensiveness, sufficiency])
PROMPT = torch.tensor([[1, 2]])  # probability 0.9 of token 1, of one token 0.75, of none 0.5
SCORES = torch.tensor([[-2.0, 1.0]])


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


def prob(odds):
    return odds / (1 + odds)


def test_by_hand(make_coin):
    coin = make_coin([1, 2, 4, 1 / 2])
    ids = torch.tensor([[1, 2, 3, 1]])  # odds of 8
    scores = torch.tensor([[1.0, 4.0, -3.0, 2.0]])  # the order is 1, 2, 3, 0
    one, two = prob(8) - prob(2), prob(8) - prob(4)  # without the most important; without both
    assert comprehensiveness(coin, ids, scores, ratios=[0.25]).item() == pytest.approx(one)
    assert comprehensiveness(coin, ids, scores, ratios=[0.25, 0.5]).item() == pytest.approx((one + two) / 2)
    one, two = prob(8) - prob(4), prob(8) - prob(2)  # the most important alone; both
    assert sufficiency(coin, ids, scores, ratios=[0.25]).item() == pytest.approx(one)
    assert sufficiency(coin, ids, scores, ratios=[0.25, 0.5]).item() == pytest.approx((one + two) / 2)
    assert comprehensiveness(coin, ids, scores, ratios=[1]).item() == pytest.approx(prob(8) - prob(1))
    assert sufficiency(coin, ids, scores, ratios=[1]).item() == pytest.approx(0)


def test_target(coin):
    fall = 0.9 - 0.75
    for target in (None, 1, [1], torch.tensor([1])):
        assert comprehensiveness(coin, PROMPT, SCORES, target=target).item() == pytest.approx(fall)
    assert comprehensiveness(coin, PROMPT, SCORES, target=0).item() == pytest.approx(-fall)
    both = comprehensiveness(coin, PROMPT.expand(2, -1), SCORES.expand(2, -1), target=[0, 1])
    torch.testing.assert_close(both, torch.tensor([-fall, fall], dtype=both.dtype))


def test_default_ratios_take_at_least_one_token(make_coin):
    coin = make_coin([1, 2])
    ids, scores = torch.ones(1, 10, dtype=torch.long), torch.ones(1, 10)
    # of ten tokens 1, 1, 2 and 5
    expected = sum(prob(2**10) - prob(2 ** (10 - count)) for count in (1, 1, 2, 5)) / 4
    assert comprehensiveness(coin, ids, scores).item() == pytest.approx(expected)
    expected = sum(prob(2**10) - prob(2**count) for count in (1, 1, 2, 5)) / 4
    assert sufficiency(coin, ids, scores).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("baselines", "odds"),
    [(None, 3), ("zero", 3), (3, 1 / 3), (torch.tensor([[3, 0]]), 1 / 3), (torch.tensor([0, 3]), 3), ("mean", 9)],
)
def test_baselines(coin, baselines, odds):
    """The first token of two with odds of 3 is masked; the mean is as one of them."""
    found = comprehensiveness(coin, PROMPT, SCORES, baselines=baselines, ratios=[0.5])
    assert found.item() == pytest.approx(0.9 - prob(odds))


def test_baselines_of_what_is_not_left(coin):
    assert sufficiency(coin, PROMPT, SCORES, baselines=3).item() == pytest.approx(0.9 - prob(1 / 3))


def test_fixed_tokens_stay(make_coin):
    coin = make_coin([1, 2, 4, 1 / 2])
    ids, fixed = torch.tensor([[2, 1, 1]]), torch.tensor([True, False, False])
    scores = torch.tensor([[9.0, 2.0, 1.0]])
    assert comprehensiveness(coin, ids, scores, fixed=fixed, ratios=[1]).item() == pytest.approx(prob(16) - prob(4))
    assert comprehensiveness(coin, ids, scores, fixed=fixed).item() == pytest.approx(prob(16) - prob(8))
    assert sufficiency(coin, ids, scores, fixed=fixed).item() == pytest.approx(prob(16) - prob(8))
    for metric in (comprehensiveness, sufficiency):
        assert metric(coin, ids, scores, fixed=torch.tensor([True])).item() == 0
    # among zeros, a fixed token takes no other's place
    assert comprehensiveness(coin, ids, 0 * scores, fixed=fixed).item() == pytest.approx(prob(16) - prob(8))


def test_of_equal_scores_the_earlier_token_comes_first(make_coin):
    coin = make_coin([1, 2, 4])
    for ids, left in (([1, 2], 4), ([2, 1], 2)):
        found = comprehensiveness(coin, torch.tensor([ids]), torch.zeros(1, 2))
        assert found.item() == pytest.approx(prob(8) - prob(left))


def test_the_evidence_does_better_than_random_scores(demo):
    model, tokenizer = demo
    better = []
    for item in examples(4):
        ids, spans = token_spans(item.prompt, tokenizer)
        (evidence,) = Features.of_spans([item.evidence], spans).groups
        scores = torch.rand(5, len(ids))
        scores[0, list(evidence)] += 1
        (target,) = tokenizer.encode(item.target, add_special_tokens=False)
        found = comprehensiveness(model, torch.tensor([ids]).expand(5, -1), scores, target=target, ratios=[0.1])
        better.append(found[0] - found[1:].mean())
    assert torch.stack(better).mean() > 0.3


@BOTH
@given(scores=st.lists(st.floats(-1, 1, width=16), min_size=4, max_size=4), order=st.permutations(range(4)))
@settings(max_examples=40)
def test_scale_and_order_do_not_matter(make_coin, metric, scores, order):
    coin, ids = make_coin([1, 2, 3, 4, 1 / 9]), torch.tensor([[1, 2, 3, 4]])
    scores = torch.tensor([scores], dtype=torch.float64)
    scores = scores.abs() + torch.tensor([[0.0, 1e-9, 2e-9, 3e-9]], dtype=torch.float64)  # no ties
    expected = metric(coin, ids, scores)
    assert -1 <= expected.item() <= 1
    torch.testing.assert_close(metric(coin, ids, -4 * scores), expected)
    torch.testing.assert_close(metric(coin, ids[:, order], scores[:, order]), expected)


@BOTH
@pytest.mark.parametrize("left", [True, False])
def test_a_padded_batch_is_its_prompts(model, metric, left):
    ids, scores = torch.randint(2, 97, (2, 6)), torch.rand(2, 6)
    part = slice(2, None) if left else slice(None, -2)
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[1] = 0
    mask[1, part] = 1
    scores[1][mask[1] == 0] = torch.nan
    baselines = torch.randint(2, 97, (2, 6))
    together = metric(model, ids, scores, additional_forward_args=mask, baselines=baselines)
    alone = [
        metric(model, ids[:1], scores[:1], baselines=baselines[:1]),
        metric(model, ids[1:, part], scores[1:, part], baselines=baselines[1:, part]),
    ]
    torch.testing.assert_close(together, torch.cat(alone))


@BOTH
def test_the_size_of_batches_does_not_matter_and_nothing_is_drawn(coin, metric):
    state = torch.get_rng_state()
    whole = metric(coin, PROMPT, SCORES)
    coin.rows.clear()
    torch.testing.assert_close(metric(coin, PROMPT, SCORES, perturbations_per_eval=3), whole)
    assert coin.rows == [1, 3, 1]
    assert torch.equal(torch.get_rng_state(), state)


@BOTH
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratios": []}, "ratios is empty"),
        ({"ratios": [0.5, 0]}, r"ratios .* must be in \(0, 1\], got 0"),
        ({"ratios": [1.5]}, r"ratios .* must be in \(0, 1\], got 1.5"),
        ({"target": 4}, "target has token id 4"),
        ({"baselines": "black"}, "baselines must be 'zero', 'mean'"),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval must be at least 1"),
        ({"attributions": torch.ones(3)}, "attributions must be a tensor of the inputs' shape"),
        ({"fixed": torch.ones(1, 2)}, "fixed must be a bool tensor"),
    ],
)
def test_errors(coin, metric, changes, message):
    with pytest.raises(ValueError, match=message):
        metric(coin, **({"inputs": PROMPT, "attributions": SCORES} | changes))


@BOTH
def test_a_model_that_does_not_predict_the_next_token(coin, metric):
    coin.generation = False
    with pytest.raises(TypeError, match="Sum does not predict the next token"):
        metric(coin, PROMPT, SCORES)
