import pytest

from captum_heta.cli.data import made, places, stored


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("news", "there is no data set 'news'; there are curated"),
        ("embedded=here", "embedded comes with the package and has no path, got 'here'"),
        ("curated", "--data curated needs its file or its id on the hub"),
        ("facts=9", "facts is made for the model and has no path, got '9': say facts alone"),
        ("needles=long", "needles is made for the model and has no path, got 'long': say needles or needles=TOKENS"),
        ("facts,facts", "facts"),
    ],
)
def test_what_is_no_data_set_is_told(text, told):
    with pytest.raises(ValueError, match=told):
        places(text)


def test_examples_are_made_for_the_model(demo):
    asked = places("embedded,facts,needles=120")
    assert asked == [("embedded", ""), ("facts", ""), ("needles", "120")]
    found = stored(asked, 2, 3, False) | made(asked[:2], 2, 3, *demo)
    assert {name: len(items) for name, items in found.items()} == {"embedded": 2, "facts": 2}
    assert all(item.counterfactual is not None for item in found["facts"])
    assert all(item.prompt[start:end] for item in found["facts"] for start, end in item.passage)
    assert made(asked[:2], 2, 3, *demo) == {"facts": found["facts"]}
