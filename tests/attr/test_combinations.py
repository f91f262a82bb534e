"""Random combinations of options, masks and padding keep what must hold for each."""

import random

import pytest
import torch

from captum_heta import HETA
from captum_heta.testing.architectures import tiny_model

MODELS = ("llama", "gpt2", "gemma2", "falcon", "mixtral", "opt")


def drawn(number):
    """A model, a batch and options; different ones for each number."""
    chance, generator = random.Random(number), torch.Generator().manual_seed(number)
    length, rows = chance.randint(1, 14), chance.randint(1, 3)
    ids = torch.randint(2, 97, (rows, length), generator=generator)
    options = {
        "target": 5,
        "curvature": chance.choice(["auto", "exact", "low_rank", "gauss_newton", "fisher"]),
        "window": chance.choice([None, 1, 3, 8, 512]),
        "overlap": chance.choice([0, 0.25, 0.5, 0.9]),
        "rank": chance.choice([1, 3, 16, 64]),
        "n_samples": chance.choice([1, 3]),
        "last_n_layers": chance.choice([None, None, 1, 2]),
        "perturbations_per_eval": chance.choice([None, 1, 3]),
        "baselines": chance.choice([None, "mean", 3]),
        "seed": chance.randint(0, 9),
        "return_terms": True,
    }
    groups = torch.randint(0, 4, (rows, length), generator=generator) if chance.random() < 0.5 else None
    mask = torch.ones_like(ids)
    for row in mask:
        padding = chance.choice([0, chance.randint(0, length - 1)])
        row[chance.choice([slice(0, padding), slice(length - padding, length)])] = 0
    return chance.choice(MODELS), ids, groups, mask, options


@pytest.mark.parametrize("number", range(60))
def test_invariants(number):
    name, ids, groups, mask, options = drawn(number)
    heta, real = HETA(tiny_model(name)), mask.bool()
    given = {"feature_mask": groups, "additional_forward_args": mask}
    scores, terms = heta.attribute(ids, **given, **options)
    assert scores.shape == ids.shape
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert (scores >= 0).all()
    assert (scores[~real] == 0).all()
    torch.testing.assert_close(scores, terms.semantic_flow * (0.5 * terms.curvature + 0.5 * terms.information))
    if groups is None:
        torch.testing.assert_close(terms.semantic_flow.sum(-1), torch.ones(len(ids)))
    else:
        for row, group, kept in zip(scores, groups, real, strict=True):
            for value in group[kept].unique():
                assert len(row[(group == value) & kept].unique()) == 1
    again, _ = heta.attribute(ids, **given, **options | {"perturbations_per_eval": 2})
    torch.testing.assert_close(again, scores, rtol=2e-3, atol=1e-6)
    i = number % len(ids)
    part = None if groups is None else groups[i : i + 1, real[i]]
    alone, _ = heta.attribute(ids[i : i + 1, real[i]], feature_mask=part, **options)
    torch.testing.assert_close(alone[0], scores[i, real[i]], rtol=2e-3, atol=1e-6)
