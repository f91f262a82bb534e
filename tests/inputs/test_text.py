"""A prompt made of text or of token ids, and any of Captum's inputs as one."""

import pytest
import torch
from captum.attr import TextTemplateInput, TextTokenInput
from hypothesis import given
from hypothesis import strategies as st
from transformers import ByT5Tokenizer

from captum_heta.demo import load_model
from captum_heta.features import Features
from captum_heta.inputs import LocatedInput, TextInput
from captum_heta.inputs.offsets import token_spans

TOKENIZER = load_model()[1]
PROMPT = "Anna lives in Rome. Ben lives in Oslo."


def test_knows_its_text_ids_spans_and_pieces():
    inp = TextInput(PROMPT, TOKENIZER)
    assert inp.text == PROMPT
    assert inp.ids == TOKENIZER.encode(PROMPT)
    assert "".join(inp.pieces) == PROMPT
    assert len(inp.spans) == len(inp.pieces) == inp.n_itp_features == len(inp.ids) - 1


def test_ids_need_not_be_those_of_their_text():
    ids = [*TOKENIZER.encode("Ben likes"), *TOKENIZER.convert_tokens_to_ids(list("nna"))]
    for given_ids in (ids, torch.tensor(ids), torch.tensor([ids])):
        inp = TextInput(given_ids, TOKENIZER)
        assert inp.ids == ids
        assert inp.text == " Ben likesnna"  # asked for first: spans are then still those of the ids
        assert inp.pieces[-3:] == ["n", "n", "a"]


@pytest.mark.parametrize("skipped", [["<s>", "."], []])
def test_skipped_tokens_are_no_features(skipped):
    inp, captums = (kind(PROMPT, TOKENIZER, skip_tokens=skipped) for kind in (TextInput, TextTokenInput))
    kept = [True] * len(inp.ids) if captums.itp_mask is None else captums.itp_mask[0].tolist()
    assert inp.itp_mask[0].tolist() == kept
    assert ("." in inp.pieces) == (not skipped)


@pytest.mark.parametrize("text", [3, None, {"a": 1}, torch.rand(3), torch.zeros(2, 3, dtype=torch.long)])
def test_other_things_are_refused(text):
    with pytest.raises(TypeError, match="A prompt is text or token ids"):
        TextInput(text, TOKENIZER)


@given(st.text(st.sampled_from("ab. \n🎉א中"), min_size=1, max_size=20))
def test_captums_inputs_are_read_as_ours(text):
    text = text.removeprefix(" ") or "a"  # the tokenizer puts one there itself
    ours, captums = (
        LocatedInput(kind(text, TOKENIZER, skip_tokens=["<s>"]), TOKENIZER) for kind in (TextInput, TextTokenInput)
    )
    assert ours.ids == captums.ids
    assert ours.labels == captums.labels
    assert ours.features == captums.features
    assert [captums.text[start:end].strip(" ") for ((start, end),) in captums.places] == [
        ours.text[start:end].strip(" ") for ((start, end),) in ours.places
    ]


def test_a_template_has_the_tokens_of_its_values():
    read = LocatedInput(TextTemplateInput("{} lives in {}.", ["Anna", "Rome"]), TOKENIZER)
    assert read.text == "Anna lives in Rome."
    assert read.places == [[(0, 4)], [(14, 18)]]
    assert [TOKENIZER.decode([read.ids[i] for i in group]) for group in read.features.groups] == [" Anna", " Rome"]
    assert read.sentence_mask() is None


def test_sentences_are_masks():
    assert TextInput("Ann left. Ben came.", TOKENIZER).sentence_mask().unique().tolist() == [0, 1]


def test_nothing_to_explain_is_refused():
    with pytest.raises(ValueError, match="The prompt is empty"):
        LocatedInput(TextInput([], TOKENIZER), TOKENIZER)
    with pytest.raises(ValueError, match="nothing to attribute"):
        LocatedInput(TextInput("", TOKENIZER), TOKENIZER)
    with pytest.raises(TypeError, match="inp must be a TextTokenInput or a TextTemplateInput, got str"):
        LocatedInput("text", TOKENIZER)


class Counting(ByT5Tokenizer):
    """Counts the tokens that it decodes."""

    decoded = 0

    def decode(self, token_ids, **kwargs):
        type(self).decoded += len(token_ids)
        return super().decode(token_ids, **kwargs)


def test_slow_tokenizers_are_asked_for_a_number_of_tokens_in_proportion_to_the_length():
    counts = []
    for times in (20, 80):
        Counting.decoded = 0
        ids, spans = token_spans("a é b🎉 " * times, Counting())
        counts.append(Counting.decoded / len(ids))
        assert len(spans) == len(ids)
    assert counts[1] < 1.2 * counts[0] < 40


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), max_size=3), max_size=5),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=8),
)
def test_features_of_spans_are_those_of_the_definition(parts, tokens):
    spans = [[(start, start + size) for start, size in ranges] for ranges in parts]
    token_ranges = [(start, start + size) for start, size in tokens]
    expected = [[] for _ in spans]
    for token, (start, end) in enumerate(token_ranges):
        shared = [sum(max(0, min(end, b) - max(start, a)) for a, b in ranges) for ranges in spans]
        if any(shared):
            expected[shared.index(max(shared))].append(token)
    assert Features.of_spans(spans, token_ranges).groups == tuple(map(tuple, expected))


@pytest.mark.parametrize("baselines", [5, "a"])
def test_baselines_are_those_of_captums_input(baselines):
    kinds = (TextInput, TextTokenInput)
    ours, captums = (kind(PROMPT, TOKENIZER, skip_tokens=["<s>"], baselines=baselines) for kind in kinds)
    assert ours.baselines == captums.baselines
    masked = torch.zeros_like(ours.to_tensor())
    assert torch.equal(ours.to_model_input(masked), captums.to_model_input(masked))
