"""Who watches is told of methods, of steps and of parts."""

import threading

import pytest
import torch

from captum_heta import LLMTokenAttribution, TargetedHETA, TextInput, compare
from captum_heta.attr import GradientNorm, NormXLogit
from captum_heta.attr.watching import Watcher, watcher, watching

PROMPT = (
    "Anna lives in Rome. Ben lives in Oslo. Walter saw the key in the hallway.\nQuestion: Where does Ben live?\nAnswer:"
)


class Listing(Watcher):
    def __init__(self):
        self.told, self.scores = [], []

    def method(self, name, number, count):
        self.told.append((name, number, count))

    def begin(self, steps):
        self.told.append(["begin", steps, 0])

    def advance(self, steps):
        self.told[-1][2] += steps

    def parts(self, scores):
        self.scores.append(scores)


def test_nobody_is_told_outside():
    one = Listing()
    nobody = watcher()
    with watching(one):
        assert watcher() is one
        others = []
        thread = threading.Thread(target=lambda: others.append(watcher()))
        thread.start()
        thread.join()
        assert others == [nobody]
    assert watcher() is nobody
    with pytest.raises(KeyError), watching(one):
        raise KeyError
    assert watcher() is nobody


def test_steps_are_those_of_the_progress_bar(demo):
    model, tokenizer = demo
    inp, one = TextInput(PROMPT, tokenizer), Listing()
    with watching(one):
        LLMTokenAttribution(TargetedHETA(model), tokenizer).attribute(inp, "Oslo", skip=0.0)
    count = len(inp.spans)
    assert one.told == [["begin", 2 * count, 2 * count]]  # curvature, and a masked pass
    assert one.scores == []


@pytest.mark.parametrize("method", [TargetedHETA, GradientNorm])
def test_parts_are_told_before_what_is_in_them(demo, monkeypatch, method):
    monkeypatch.setattr("captum_heta.attr.refinement._END", 0)
    model, tokenizer = demo
    inp, one = TextInput(PROMPT, tokenizer), Listing()
    llm = LLMTokenAttribution(method(model), tokenizer)
    with watching(one):
        found = llm.attribute(inp, "Oslo", refine=0.5)
    assert [told[0] for told in one.told] == ["begin"] * 2
    assert one.told[0][1] <= one.told[1][1]
    (scores,) = one.scores
    expected = llm.attribute(inp, "Oslo", feature_mask=inp.sentence_mask()).token_attr
    torch.testing.assert_close(scores, expected)
    assert not torch.allclose(found.token_attr, expected)
    plain = llm.attribute(inp, "Oslo", refine=0.5)
    torch.testing.assert_close(found.token_attr, plain.token_attr, rtol=0, atol=0)


def test_a_comparison_tells_its_methods(demo):
    model, tokenizer = demo
    one = Listing()
    with watching(one):
        compare({"A": NormXLogit(model), "B": lambda prompt, target: torch.ones(4)}, tokenizer, "Anna lives in", "Rome")
    assert one.told == [("A", 1, 2), ["begin", 1, 0], ("B", 2, 2)]
