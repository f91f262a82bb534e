import sys
from dataclasses import replace

from captum_heta.benchmark import agreement
from captum_heta.demo import examples


def short(count, seed):
    """Examples whose facts are those in question and one more: the cost grows with the square of the length."""
    for item in examples(count, seed):
        parts = sorted([*item.evidence, item.distractors[0]])
        passage = " ".join(item.prompt[slice(*span)] for span in parts)
        yield replace(item, prompt=passage + item.prompt[item.passage[0][1] :])


def test_modes_agree_on_the_embedded_model(monkeypatch):
    monkeypatch.setattr(agreement, "examples", short)
    rows = agreement.run(count=1, seed=4, probes=40)
    assert list(rows) == ["exact", "low_rank", "gauss_newton", "fisher"]
    assert rows["exact"][0] > 0.95
    assert rows["low_rank"][0] > 0.9
    for s, scores, seconds in rows.values():
        assert 0.5 < s <= 1
        assert 0.5 < scores <= 1
        assert seconds > 0


def test_command_prints_a_row_for_each_mode(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["agreement", "--examples", "1"])
    monkeypatch.setattr(agreement, "run", lambda count, seed: {mode: [0.9, 0.8, count] for mode in agreement.MODES})
    agreement.main()
    assert "| `low_rank` | 0.900 | 0.800 | 1.00 |" in capsys.readouterr().out
