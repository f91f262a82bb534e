"""Threads that share a model get what a single thread gets."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from captum_heta import HETA
from captum_heta.attr import TDD, AttentionRollout, ContextCite, NormXLogit, Peering, ReAGent
from captum_heta.metrics import comprehensiveness, gaussian_sensitivity, soft_nc
from captum_heta.testing.architectures import tiny_model

PROMPTS = [torch.randint(3, 90, (1, 9), generator=torch.Generator().manual_seed(n)) for n in range(4)]
SCORES = torch.rand(1, 9, generator=torch.Generator().manual_seed(9))
WORK = {
    "exact": lambda model, ids: HETA(model).attribute(ids, target=5, curvature="exact", n_samples=2),
    "last layers": lambda model, ids: HETA(model).attribute(ids, target=5, curvature="fisher", last_n_layers=1),
    "rollout": lambda model, ids: AttentionRollout(model).attribute(ids),
    "states": lambda model, ids: NormXLogit(model).attribute(ids, target=5, layer=1),
    "peering": lambda model, ids: Peering(model).attribute(ids, target=5),
    "tdd": lambda model, ids: TDD(model).attribute(ids, target=5),
    "reagent": lambda model, ids: ReAGent(model).attribute(ids, target=5, n_probes=1, max_steps=2),
    "context": lambda model, ids: ContextCite(model, sources="token").attribute(ids, target=5, n_samples=8),
    "soft": lambda model, ids: soft_nc(model, ids, SCORES, n_draws=2),
    "hard": lambda model, ids: comprehensiveness(model, ids, SCORES, target=5),
    "noise": lambda model, ids: gaussian_sensitivity(
        lambda given: NormXLogit(model).attribute(given, target=5), model, ids, n_draws=1
    ),
}


@pytest.mark.parametrize("train", [False, True])
def test_mixed_work_on_one_model(train):
    def model():
        return tiny_model("llama", attention_dropout=0.3).train(train)

    alone = {(name, n): work(model(), ids) for name, work in WORK.items() for n, ids in enumerate(PROMPTS)}
    shared = model()
    with ThreadPoolExecutor(8) as pool:
        jobs = [(key, pool.submit(WORK[key[0]], shared, PROMPTS[key[1]])) for key in [*alone, *alone]]
        for key, job in jobs:
            torch.testing.assert_close(job.result(), alone[key], msg=str(key))
    assert shared.training is train
    assert all(parameter.requires_grad for parameter in shared.parameters())


def test_seeds_of_one_thread_are_not_drawn_by_another():
    from captum_heta.models import seeded

    def draws(seed):
        found = []
        for _ in range(20):
            with seeded(seed):
                found.append(torch.rand(3))
        return torch.stack(found)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(draws, [1, 2, 3, 4] * 2):
            assert (found == found[0]).all()
