"""What a lazy product loses, on models and prompts."""

import pytest
import torch

from captum_heta import TargetedHETA
from captum_heta.attr import sequence_terms
from captum_heta.demo import examples, load_model
from captum_heta.testing.architectures import tiny_model

NAMES = ["llama", "gpt2", "gemma2", "mixtral"]


def both(targeted, ids, target):
    from captum_heta.features import Features

    features = Features.of_tokens(range(len(ids)))
    return [
        targeted.attribute_outputs(ids, torch.tensor([target]), features, curvature="fisher", skip=skip)
        for skip in (None, 0.0)
    ]


def lost(lazy, whole):
    """The share of the whole score that features which were not looked at have in it, and the bound on it."""
    skipped = lazy.terms.target_information[0].isnan()
    return whole.scores[0, skipped].sum().item(), lazy.about["skipped_share"], int(skipped.sum())


@pytest.mark.parametrize("name", [None, "gpt_neox"])
def test_the_bound_holds_on_prompts_of_the_embedded_models(name, monkeypatch):
    monkeypatch.setattr(sequence_terms, "_READINGS", 24)  # prompts of 64 tokens are else looked at whole
    model, tokenizer = load_model() if name is None else load_model(name)
    targeted, skips = TargetedHETA(model), 0
    for item in examples(10, seed=77):
        ids = torch.tensor(tokenizer.encode(item.prompt))
        lazy, whole = both(targeted, ids, tokenizer.encode(item.target, add_special_tokens=False)[0])
        share, bound, count = lost(lazy, whole)
        skips += count
        assert share < 0.03
        assert bound <= 0.02
        # those that hardly change the target have a soft corner's worth, which the bound leaves out
        assert share <= bound + 0.002
        assert lazy.about["passes"] + count == len(ids) == whole.about["passes"]
        # what was looked at has the scores that it has without skipping, over another sum
        seen = ~lazy.terms.target_information[0].isnan()
        torch.testing.assert_close(lazy.scores[0, seen], whole.scores[0, seen], rtol=0.03, atol=2e-3)
    assert skips > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_holds_on_random_models(name, monkeypatch):
    monkeypatch.setattr(sequence_terms, "_READINGS", 4)  # short prompts are else looked at whole
    targeted, skips = TargetedHETA(tiny_model(name)), 0
    for seed in range(4):
        ids = torch.randint(97, (40,), generator=torch.Generator().manual_seed(seed))
        lazy, whole = both(targeted, ids, 3)
        share, bound, count = lost(lazy, whole)
        skips += count
        assert share <= bound + 0.01
    assert skips > 0


@pytest.mark.parametrize("count", [64, 100])
def test_of_64_tokens_each_is_looked_at(count):
    model, tokenizer = load_model()
    (item,) = examples(1, seed=78)
    ids = torch.tensor(tokenizer.encode(item.prompt * 2))[-count:]
    lazy, _ = both(TargetedHETA(model), ids, tokenizer.encode(item.target, add_special_tokens=False)[0])
    assert (lazy.about["skipped"] == 0) == (count == 64)


def test_where_nothing_is_skipped_the_scores_are_the_same():
    targeted = TargetedHETA(tiny_model("llama"))
    ids = torch.tensor([5, 6, 7, 8])
    lazy, whole = both(targeted, ids, 3)
    assert lazy.about["skipped"] == 0
    assert torch.equal(lazy.scores, whole.scores)


def test_skip_is_of_a_product():
    from captum_heta import HETA

    with pytest.raises(ValueError, match="skip is of a product, and fusion is 'sum', got 0.1: leave it out"):
        HETA(tiny_model("llama")).attribute(torch.tensor([[5, 6]]), skip=0.1)
    with pytest.raises(ValueError, match="skip is a part of the score"):
        TargetedHETA(tiny_model("llama")).attribute(torch.tensor([[5, 6]]), skip=-1)
