import subprocess
import sys

import pytest

from captum_heta.datasets import (
    GENERATED,
    build_facts,
    build_hops,
    build_injection,
    build_needles,
    build_variables,
    generate,
)

BUILDERS = {
    "facts": build_facts,
    "needles": build_needles,
    "variables": build_variables,
    "hops": build_hops,
    "injection": build_injection,
}
OF_NEEDLES = {"single_needle": {"needles": 1}, "multivalue": {"needles": 1, "values": 4}}


def test_names():
    assert {name: make for name, make in GENERATED.items() if name not in OF_NEEDLES} == BUILDERS


@pytest.mark.parametrize("name", OF_NEEDLES)
def test_several_tasks_are_of_needles(demo, name):
    _, tokenizer = demo
    found = generate(name, 2, 1000, model=None, tokenizer=tokenizer, length=200)
    assert found == build_needles(2, 1000, length=200, tokenizer=tokenizer, **OF_NEEDLES[name])


@pytest.mark.parametrize("name", GENERATED)
def test_making_by_name(monkeypatch, name):
    calls = []
    monkeypatch.setitem(GENERATED, name, lambda n, seed, **given: calls.append((n, seed, given)) or ["made"])
    assert generate(name, 3, 1000, model="model", tokenizer="tokenizer", counterfactual=False) == ["made"]
    given = {"model": "model", "tokenizer": "tokenizer", "counterfactual": False}
    length = {} if name == "facts" else {"length": 1024}
    assert calls == [(3, 1000, given | length)]
    if name != "facts":
        generate(name, 3, 1000, model="model", tokenizer="tokenizer", length=300)
        assert calls[1][2]["length"] == 300


def test_what_is_made_is_the_same(reader):
    found = generate("facts", 2, 1000, model=reader.model, tokenizer=reader.tokenizer, sentences=(2, 3))
    assert found == build_facts(2, 1000, model=reader.model, tokenizer=reader.tokenizer, sentences=(2, 3))


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="name must be one of facts, needles, variables, .*injection, got 'Facts'"):
        generate("Facts", 1, 0, model=None, tokenizer=None)
    with pytest.raises(
        ValueError, match="facts has no length: leave it out, got 300. Only needles, variables, .* have"
    ):
        generate("facts", 1, 0, model=None, tokenizer=None, length=300)


def test_names_are_there_without_torch():
    script = "import sys, captum_heta.datasets\nassert not {'torch', 'transformers', 'captum'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
