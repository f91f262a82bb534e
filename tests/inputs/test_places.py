import pytest

from captum_heta.inputs.offsets import encoded, place_of, reaching_back


def test_reaching_back_takes_the_white_space_that_was_left_out():
    text = "a  b\nc"
    assert reaching_back(text, [(0, 1), (2, 2), (3, 4), (5, 5), (5, 6)]) == [(0, 1), (1, 2), (2, 4), (4, 5), (5, 6)]


def test_reaching_back_leaves_complete_spans_and_special_tokens():
    spans = [(0, 0), (0, 1), (1, 3), (1, 3), (3, 4), (0, 0)]  # two tokens of one character
    assert reaching_back("a\U0001f600bc", spans) == spans


def test_reaching_back_does_not_take_visible_characters():
    assert reaching_back("a-b", [(0, 1), (2, 3)]) == [(0, 1), (2, 3)]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((3, 5), (0, (3, 5))),  # inside
        ((0, 3), None),  # before
        ((2, 4), (0, (3, 4))),  # half of it
        ((0, 4), None),  # a quarter of it
        ((5, 6), None),  # white space between
        ((5, 7), (1, (6, 7))),  # white space does not count
        ((4, 8), (1, (6, 8))),  # most characters
        ((3, 3), None),  # nothing
    ],
)
def test_place_of_a_token(span, expected):
    assert place_of("usrab cde", span, [(3, 5), (6, 9)]) == expected


def test_white_space_that_is_partly_in_a_place_is_of_it():
    assert place_of("a\n\nb", (1, 3), [(0, 2)]) == (0, (1, 2))
    assert place_of("a", (0, 1), []) is None


@pytest.mark.parametrize("trim_offsets", [False, True])
def test_encoded_tokens_cover_the_text_without_special_tokens(kit, trim_offsets):
    text = "a  \U0001f600\n\nb"
    ids, spans = encoded(text, kit.bytes(kit.plain, trim_offsets))
    assert len(ids) == len(text.encode())
    assert {i for start, end in spans for i in range(start, end)} == set(range(len(text)))
