import pytest
from captum.attr import TextTemplateInput
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from captum_heta.demo import load_model
from captum_heta.inputs.markers import value_spans
from captum_heta.inputs.offsets import spans_of_ids, token_spans
from captum_heta.spans import sentence_spans

FAST = load_model()[1]
SLOW = ByT5Tokenizer()  # in Python, one token a byte, and no offsets

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Co"]), max_size=20)


@given(words)
@example("a  b\n🎉 é")
def test_fast_spans_cover_the_text(text):
    ids, spans = token_spans(text, FAST)
    assert ids == FAST.encode(text)
    assert spans[0] == (0, 0)  # <s>
    covered = {i for start, end in spans for i in range(start, end)}
    assert all(i in covered for i, character in enumerate(text) if not character.isspace())


@given(words)
@example("a  b\n🎉 é")
def test_slow_spans_are_the_characters_of_each_byte(text):
    ids, spans = token_spans(text, SLOW)
    assert ids == SLOW.encode(text)
    assert spans[-1] == (0, 0)  # </s>
    expected = [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]
    assume(all(character in " \n" or not character.isspace() for character in text))
    for (start, end), (first, last) in zip(spans, expected, strict=False):
        if text[first].isspace():  # the whole gap
            assert start <= first < last <= end
            assert text[start:end].isspace()
        else:
            assert (start, end) == (first, last)


def test_slow_tokenizer_that_changes_the_text_is_an_error():
    class Lossy(ByT5Tokenizer):
        def encode(self, text, **kwargs):
            return super().encode(text.replace("b", "x"), **kwargs)

    with pytest.raises(ValueError, match="Lossy has no offsets, and its tokens decode to 'axc'.*fast tokenizer"):
        token_spans("abc", Lossy())


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("{} b {} {} e {}", ["a", "c", "d", "f"]),
        ("{name} met {other}. {name} left.", {"name": "Ann", "other": "An"}),
        (lambda first, second: f"{second} before {first}", ["a", "b"]),
        (lambda **values: " / ".join(values.values()), {"x": "one", "y": "one"}),
        ("{}{}", ["ab", "ab"]),
        ("{} and {}", ["", "b"]),
    ],
)
def test_value_spans_hold_the_values(template, values):
    inp = TextTemplateInput(template, values)
    text = inp.to_model_input()
    spans = value_spans(inp)
    assert len(spans) == len(inp.values)
    for value, found in zip(inp.values, spans, strict=True):
        assert found
        assert all(text[start:end] == value for start, end in found)


def test_value_used_twice_has_two_spans():
    assert value_spans(TextTemplateInput("{0} or not {0}", ["be"])) == [[(0, 2), (10, 12)]]


def test_same_value_in_two_places_is_told_apart():
    assert value_spans(TextTemplateInput("{} {}", ["a", "a"])) == [[(0, 1)], [(2, 3)]]


def test_padding_template_falls_back_to_the_only_occurrence():
    assert value_spans(TextTemplateInput("{:>5}|", ["abc"])) == [[(2, 5)]]


def test_template_that_hides_a_value_is_an_error():
    with pytest.raises(ValueError, match="does not show where its value 'ab' is"):
        value_spans(TextTemplateInput(lambda value: f"{len(value)} characters", ["ab"]))


@given(words)
@example(" Ben")
@example("a  b\n🎉 é")
def test_spans_of_ids_are_those_of_the_text_that_was_encoded(text):
    text = text.removeprefix(" ")  # the tokenizer puts one there itself
    assert spans_of_ids(FAST.encode(text), FAST) == (text, token_spans(text, FAST)[1])


def test_ids_that_no_text_encodes_to_have_spans_too():
    ids = [FAST.bos_token_id, *FAST.encode("i", add_special_tokens=False), FAST.convert_tokens_to_ids("n")]
    assert FAST.encode("in") != ids
    assert spans_of_ids(ids, FAST) == (" in", [(0, 0), (1, 2), (2, 3)])


def test_spans_of_ids_of_a_tokenizer_without_offsets():
    assert spans_of_ids(SLOW.encode("aé b"), SLOW) == ("aé b", [(0, 1), (1, 2), (1, 2), (2, 3), (3, 4), (0, 0)])


@given(st.text(st.sampled_from("ab.!? \n\t\"')]。\uff01\u2019\u00a0"), max_size=30))
def test_sentences_cover_all_but_white_space_in_order(text):
    spans = sentence_spans(text)
    assert all(start < end and text[start:end].strip() for start, end in spans)
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    for end, start in zip(ends, starts, strict=True):
        assert end <= start
        assert not text[end:start].strip()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \n\n", []),
        ("No end", ["No end"]),
        ("Ann left. Ben? He stayed!", ["Ann left. ", "Ben? ", "He stayed!"]),
        ('"Go." He went.) Then  \nnight', ['"Go." ', "He went.) ", "Then  \n", "night"]),
        ("At 3.14 p.m. it rained", ["At 3.14 p.m. ", "it rained"]),
        ("What?!  Yes", ["What?!  ", "Yes"]),
        ("一。二\uff01三", ["一。", "二\uff01", "三"]),
        ("\n\nQuestion: x\nAnswer:", ["Question: x\n", "Answer:"]),
    ],
)
def test_sentences_end_at_marks_and_lines(text, sentences):
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


def trimming_tokenizer(trim):
    """A tokenizer whose offsets leave white space out, or not; the ids are the same."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=275, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(["if x:    y  =   1     z"] * 3, trainer)
    core.post_processor = processors.ByteLevel(trim_offsets=trim)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>")


@pytest.mark.parametrize("text", ["if x:\n    y  =   1\n    z", "  y", "z   ", "a\t\tb", "\n\n\n"])
def test_tokens_of_white_space_have_a_place_where_offsets_are_trimmed(text):
    ids, spans = token_spans(text, trimming_tokenizer(True))
    plain_ids, plain = token_spans(text, trimming_tokenizer(False))
    assert ids == plain_ids
    assert all(start < end for start, end in spans)
    for (start, end), (first, last) in zip(spans, plain, strict=True):
        assert text[start:end].strip() == text[first:last].strip()
        if not text[first:last].strip():
            assert (start, end) == (first, last)


def test_special_tokens_stay_without_text_and_those_in_the_text_are_part_of_it(demo):
    _, tokenizer = demo
    prompt = "Anna lives in Rome.</s>Anna lives in"
    ids, spans = token_spans(prompt, tokenizer)
    assert spans[0] == (0, 0)
    text, again = spans_of_ids(ids, tokenizer)
    assert "</s>" in text
    assert tokenizer.encode(text) == ids
    assert len(again) == len(ids)


@pytest.mark.parametrize(
    ("template", "values", "text", "places"),
    [
        ("{:.2f} and {:d} is", [1.5, 2], "1.50 and 2 is", [[(0, 4)], [(9, 10)]]),
        ("{:>6.1f}|{!r}|{:03d}", [0.25, "a", 7], "   0.2|'a'|007", [[(3, 6)], [(7, 10)], [(11, 14)]]),
        ("{x} {x:b}", {"x": 5}, "5 101", [[(0, 1), (2, 5)]]),
        (lambda n, name: f"{n:,} {name}s", [12345, "ball"], "12,345 balls", [[(0, 6)], [(7, 11)]]),
    ],
)
def test_templates_with_number_formats(template, values, text, places):
    inp = TextTemplateInput(template, values)
    assert inp.to_model_input() == text
    assert value_spans(inp) == places


def test_marks_that_are_in_the_text_are_not_taken_for_ours():
    assert value_spans(TextTemplateInput("\ue000{}\ue001 {}", ["a", "b"])) == [[(1, 2)], [(4, 5)]]
