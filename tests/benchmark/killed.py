"""A benchmark in a process of its own, which a test kills."""

from pathlib import Path

import torch

from captum_heta.benchmark.runner import Benchmark
from captum_heta.benchmark.settings import Settings
from captum_heta.demo import examples, load_model
from captum_heta.provenance import versions

ROWS = ("normxlogit", "rollout", "lime", "random")
OPTIONS = {"lime": {"n_samples": 5}}
SETTINGS = Settings("demo", "float32", ("soft_nc", "dsa"), OPTIONS, 2, 0, None, False, False, versions())


def benchmark(folder, rows=ROWS, rank=0, processes=1, settings=SETTINGS):
    torch.set_num_threads(1)
    model, tokenizer = load_model()
    data = {"one": list(examples(4)), "two": list(examples(2, seed=1))}
    return Benchmark(model, tokenizer, data, rows, settings, Path(folder), rank, processes)


def main(folder):
    for _ in benchmark(folder).run():
        pass
