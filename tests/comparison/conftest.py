from itertools import pairwise

import pytest
import torch
from captum.attr import LLMAttributionResult
from matplotlib import pyplot as plt

from captum_heta.comparison import Comparison, Failure


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def model(demo):
    return demo[0]


@pytest.fixture(scope="session")
def tokenizer(demo):
    return demo[1]


@pytest.fixture(scope="session")
def made():
    """Builds a comparison of features that are given as their texts, with a list of scores for each method."""

    def build(features, rows, failures=(), target=" Oslo"):
        ends = [0]
        for feature in features:
            ends.append(ends[-1] + len(feature))
        found = Comparison("".join(features), [[span] for span in pairwise(ends)], list(features), target)
        for i, (name, scores) in enumerate(rows.items()):
            found.results[name] = LLMAttributionResult(
                input_tokens=list(features), output_tokens=[target], seq_attr=torch.tensor(scores)
            )
            found.seconds[name] = i + 0.25
        for name in failures:
            found.failures[name] = Failure("ValueError", f"[bold]{name}[/bold] \x1b[31mfailed")
            found.seconds[name] = 9.5
        return found

    return build
