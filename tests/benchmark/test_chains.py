import sys

import pytest
import torch

from captum_heta.benchmark import chains as benchmark
from captum_heta.benchmark.chains import Recovery, measured, recovery, sentence_scores, table
from captum_heta.demo import chains, load_model
from captum_heta.inputs import TextInput


def test_recovery_counts_the_two_highest_of_the_passage():
    scores = [
        torch.tensor([3.0, 1.0, 0.0, 4.0]),
        torch.tensor([0.0, 2.0, 1.0, 1.0]),
        torch.tensor([-1.0, 0.0, 0.0, 0.0]),
    ]
    found = recovery(scores, [(1, 0), (0, 1), (1, 2)], passage=3)
    assert found.both == pytest.approx((1 + 0 + 0) / 3, abs=0.34)  # of the last, zeros are in any order
    assert found.share_first == pytest.approx((1 / 8 + 0 + 0) / 3)
    assert found.share_both == pytest.approx((4 / 8 + 2 / 4 + 0) / 3)
    assert recovery(scores[:1], [(1, 0)], passage=3) == Recovery(1, 1, pytest.approx(1 / 8), pytest.approx(4 / 8))


@pytest.mark.parametrize("name", ["targeted", "gradient_norm", "ablation"])
def test_recursion_leads_to_the_first_fact(name):
    without, with_it = measured([name], count=2, seed=1)[name]
    assert with_it.share_first > 10 * max(without.share_first, 1e-6) or with_it.both > without.both
    assert with_it.both == 1


@pytest.mark.parametrize("name", ["targeted", "gradient_norm", "ablation"])
def test_without_recursion_a_rival_hides_the_first_fact(name):
    without, with_it = measured([name], count=5, seed=2, rival=True)[name]
    assert without.first < 0.6
    assert with_it.both == 1


def test_ablation_is_the_fall_without_a_sentence():
    model, tokenizer = load_model("chain")
    (chain,) = chains(1, seed=2)
    found = sentence_scores("ablation", model, tokenizer, chain)
    inp = TextInput(chain.prompt, tokenizer)
    thought, said = (tokenizer.encode(text, add_special_tokens=False) for text in (chain.reasoning, chain.answer))
    ids = torch.tensor([inp.ids + thought])

    def log_prob(rows):
        with torch.no_grad():
            return model(rows).logits[0, -1].log_softmax(-1)[said[0]].item()

    falls = []
    for start, end in sorted([chain.first, chain.second, *chain.distractors]):
        masked = ids.clone()
        for i, (first, last) in enumerate(inp.token_spans):
            if first < last and start <= first + (chain.prompt[first] == " ") < end:
                masked[0, i] = 0
        falls.append(max(0.0, log_prob(ids) - log_prob(masked)))
    ratio = found.direct[: len(falls)] / found.direct[: len(falls)].max()
    torch.testing.assert_close(ratio, torch.tensor(falls).double() / max(falls), rtol=1e-3, atol=1e-4)


def test_the_table_has_two_rows_for_each_method():
    lines = table({"heta": (Recovery(0, 0, 0.001, 0.5), Recovery(1, 1, 0.1, 0.75))}).splitlines()
    assert lines[2:] == [
        "| HETA | without | 0.00 | 0.00 | 0.001 | 0.50 |",
        "| HETA | with | 1.00 | 1.00 | 0.1 | 0.75 |",
    ]


def test_the_command_says_what_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr("captum_heta.peers.package.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["chains", "--count", "1", "--methods", "gradient_norm", "flashtrace"])
    benchmark.main()
    printed = capsys.readouterr().out
    assert "Without FlashTrace: flashtrace is not installed: pip install 'captum-heta[flashtrace]'." in printed
    assert printed.count("| Gradient Norm |") == 2
