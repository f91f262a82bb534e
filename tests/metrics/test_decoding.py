from types import SimpleNamespace

import pytest
import torch

from captum_heta.attr import NormXLogit
from captum_heta.features import Features
from captum_heta.metrics import decoding_stability
from captum_heta.testing.architectures import tiny_model

PROMPT = torch.tensor([[1, 2]])


@pytest.fixture
def speaker(coin):
    """Its output is 1 1 when greedy; when sampled, 2 and 3 in place of a 1 for a hot one and for a nucleus."""
    coin.calls = []

    def generate(ids, do_sample, max_new_tokens, **options):
        coin.calls.append(options | {"do_sample": do_sample, "draw": torch.rand(1).item()})
        output = torch.ones(1, max_new_tokens, dtype=torch.long)
        if do_sample:
            output[0, 0] += int(options["temperature"] > 1)
            output[0, 1] += 2 * int(options["top_p"] < 1)
        return torch.cat([ids, output], dim=1)

    coin.generate = generate
    coin.generation_config = SimpleNamespace(pad_token_id=None)
    return coin


def stability(model, explain, **options):
    return decoding_stability(explain, model, PROMPT, **({"max_new_tokens": 2, "seeds": [0]} | options))


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"temperature": [0.5, 1.0]}, 0.0),
        ({"temperature": [1.0, 2.0]}, 0.5),  # 1/4 moves from one feature to the other
        ({"top_p": [0.5]}, 2.0),
        ({"temperature": [1.0, 2.0], "top_p": [1.0, 0.5]}, 2.0),  # the largest
        ({}, 0.0),
    ],
)
def test_by_hand(speaker, grid, expected):
    scores = {(1, 1): [3.0, -1.0, 0.0], (2, 1): [6.0, -6.0, 0.0], (1, 3): [0.0, 0.0, 5.0], (2, 3): [3.0, -1.0, 0.0]}
    found = stability(speaker, lambda output: torch.tensor(scores[tuple(output.tolist())]), grid=grid)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(expected)


def test_signs_count(speaker):
    scores = {(1, 1): [1.0, 0.0], (2, 1): [-7.0, 0.0]}
    found = stability(speaker, lambda output: torch.tensor(scores[tuple(output.tolist())]), grid={"temperature": [2]})
    assert found.item() == 2


def test_undefined_where_an_output_has_no_attribution(speaker):
    for empty in ((1, 1), (2, 1)):
        found = stability(
            speaker,
            lambda output, empty=empty: torch.ones(2) * (tuple(output.tolist()) != empty),
            grid={"temperature": [0.5, 2.0]},
        )
        assert found.isnan().all()


def test_equal_outputs_are_explained_once_and_all_ways_are_tried(speaker):
    outputs = []
    grid = {"temperature": [0.5, 2.0], "top_p": [0.9, 1.0], "top_k": [0, 5, 9], "repetition_penalty": [1.0, 1.3]}
    stability(speaker, lambda output: outputs.append(tuple(output.tolist())) or torch.ones(3), grid=grid, seeds=[3, 4])
    assert sorted(outputs) == [(1, 1), (1, 3), (2, 1), (2, 3)]
    greedy, *sampled = speaker.calls
    assert not greedy["do_sample"]
    assert all(call["do_sample"] for call in sampled)
    ways = [tuple(call[name] for name in (*grid, "draw")) for call in sampled]
    assert len(set(ways)) == len(ways) == 2 * 2 * 3 * 2 * 2
    assert len({way[-1] for way in ways}) == 2  # a seed each


def test_what_is_left_out_of_the_grid_is_neutral(speaker):
    stability(speaker, lambda output: torch.ones(1), grid={"temperature": [0.5]})
    call = speaker.calls[1]
    assert (call["temperature"], call["top_p"], call["top_k"], call["repetition_penalty"]) == (0.5, 1, 0, 1)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_model_of_transformers(name, caplog, recwarn):
    model = tiny_model(name)
    method = NormXLogit(model)
    prompt = torch.tensor([[5, 6, 7]])
    features = Features.of_tokens(range(3))
    outputs = []

    def explain(output):
        outputs.append(output)
        return method.attribute_outputs(prompt[0], output, features, per_token=False).scores[0]

    state = torch.get_rng_state()
    options = {"seeds": range(2), "max_new_tokens": 4}
    found, again = (decoding_stability(explain, model, prompt, **options) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found, again)
    assert 0 < found.item() <= 2
    greedy = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False)
    assert outputs[0].tolist() == greedy[0, 3:].tolist()
    assert len(outputs) > 4
    assert not [record for record in caplog.records if record.name.startswith("transformers")]
    assert not recwarn.list
    # close to zero, sampling is greedy
    assert decoding_stability(explain, model, prompt, grid={"temperature": [1e-4]}, **options).item() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"beams": [2]}}, "grid has 'beams'; it takes temperature, top_p, top_k, repetition_penalty"),
        ({"grid": {"top_p": []}}, "grid has no value of top_p: leave it out for 1.0"),
        ({"seeds": []}, "seeds is empty"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"inputs": PROMPT.expand(2, -1)}, r"inputs must be one prompt, \(1, n\), got 2: call once for each"),
        ({"inputs": PROMPT[0]}, "inputs must be token ids"),
        ({"explain": lambda output: torch.ones(1, 2)}, r"explain must return .* \(F,\), got \(1, 2\)"),
        ({"explain": lambda output: [1.0]}, "explain must return .* got list"),
        ({"explain": lambda output: torch.ones(output[0])}, r"the same features, got \[1, 2\] of them"),
    ],
)
def test_errors(speaker, changes, message):
    arguments = {
        "explain": lambda output: torch.ones(2),
        "inputs": PROMPT,
        "grid": {"temperature": [0.5, 2.0]},
        "max_new_tokens": 2,
    }
    with pytest.raises(ValueError, match=message):
        decoding_stability(model=speaker, **(arguments | changes))


def test_a_prompt_that_leaves_no_room():
    with pytest.raises(ValueError, match="65 tokens, more than the 64 positions"):
        decoding_stability(torch.ones_like, tiny_model("llama"), torch.ones(1, 49, dtype=torch.long))


def test_a_model_that_does_not_predict_the_next_token(speaker):
    speaker.generation = False
    with pytest.raises(TypeError, match="Sum does not predict the next token"):
        stability(speaker, lambda output: torch.ones(1))
