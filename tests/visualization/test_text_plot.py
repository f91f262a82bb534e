import random
import re
from itertools import pairwise
from types import SimpleNamespace

import matplotlib
import pytest
import torch
from captum.attr import LLMAttributionResult, TextTokenInput
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from captum_heta import HETA, LLMTokenAttribution, TargetedHETA
from captum_heta.attr import HETATerms
from captum_heta.inputs.offsets import token_spans
from captum_heta.visualization import plot_terms, plot_text

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

MIXED = "Price: $x_1$ and \\frac{1} <script>\tאבגד العربية 中文字 e\u0301 🎉👩\u200d👩 \ud800 \x07 \u200b end\r\n"


def words(count, seed=0):
    """A text of ``count`` words, their spans with the space before, and scores."""
    draw = random.Random(seed)
    found = ["".join(draw.choices("abcdefg$_", k=draw.randint(1, 9))) for _ in range(count)]
    text = " ".join(found)
    ends = [0]
    for word in found:
        ends.append(ends[-1] + len(word) + (1 if ends[-1] else 0))
    return text, list(pairwise(ends)), [draw.uniform(-1, 2) for _ in found]


def shown(ax):
    """The lines of text from the top, without white space."""
    lines = {}
    for text in sorted(ax.texts, key=lambda text: text.get_position()[0]):
        lines.setdefault(text.get_position()[1], []).append(text.get_text())
    return ["".join(lines[y]) for y in sorted(lines)]


def boxes(ax, row):
    """Left, top, right, bottom and colour of each box of a row."""
    collection = ax.collections[row]
    return [
        (*path.vertices.min(0), *path.vertices.max(0), to_hex(color))
        for path, color in zip(collection.get_paths(), collection.get_facecolors(), strict=True)
    ]


@pytest.mark.parametrize("count", [1, 40, 600])
def test_each_row_shows_the_whole_text(count):
    text, spans, scores = words(count)
    _, ax = plot_text({"first": scores, "second": scores[::-1]}, text, spans)
    lines = shown(ax)
    heads = [i for i, line in enumerate(lines) if ",largest" in line]
    assert [lines[i].split(",")[0] for i in heads] == ["first", "second"]
    assert "".join(lines[heads[0] + 1 : heads[1]]) == text.replace(" ", "")
    assert "".join(lines[heads[1] + 1 :]) == text.replace(" ", "")


def test_a_long_text_makes_the_figure_higher_and_not_wider():
    sizes = []
    for count in (40, 600):
        text, spans, scores = words(count)
        fig, _ = plot_text({"a": scores, "b": scores, "c": scores}, text, spans)
        sizes.append(fig.get_size_inches().tolist())
    assert sizes[0][0] == sizes[1][0] == 10
    assert sizes[1][1] > 5 * sizes[0][1]
    assert sizes[0][1] < 4


@pytest.mark.parametrize("width", [3.0, 12.0])
def test_all_is_inside_the_figure(width):
    text, spans, scores = words(100)
    text += "x" * 300
    fig, ax = plot_text({"a": scores}, text, spans, width=width, title="A title that is longer than the line " * 4)
    assert fig.get_figwidth() == width
    fig.canvas.draw()
    for artist in ax.texts:
        box = artist.get_window_extent()
        assert fig.bbox.x0 < box.x0 < box.x1 < fig.bbox.x1, artist
        assert fig.bbox.y0 < box.y0 < box.y1 < fig.bbox.y1, artist
    left, right = sorted(ax.get_xlim())
    assert all(left < box[0] < box[2] < right for box in boxes(ax, 0))


def test_boxes_are_under_their_words():
    text, spans, scores = words(60)
    fig, ax = plot_text({"a": scores}, text, spans)
    fig.canvas.draw()
    column = ax.bbox.width / abs(ax.get_xlim()[1] - ax.get_xlim()[0])
    found = boxes(ax, 0)
    for artist in ax.texts:
        x, y = artist.get_position()
        if artist.get_weight() == "bold":
            continue
        (under,) = [box for box in found if box[0] <= x < box[2] and box[1] < y < box[3]]
        assert x + len(artist.get_text()) == under[2]
        # the letters are as wide as the layout takes them to be
        assert (
            abs(artist.get_window_extent().width / column - len(artist.get_text())) < 0.1 * len(artist.get_text()) + 1
        )


def test_shades_are_scaled_by_row_and_signed():
    spans = [(0, 1), (1, 2), (2, 3)]
    rows = {"a": [1.0, 0.5, 0.0], "b": [1.0, -100.0, 50.0], "zeros": [0.0, 0.0, 0.0]}
    _, ax = plot_text(rows, "abc", spans)
    colors = [[box[-1] for box in boxes(ax, row)] for row in range(3)]
    assert colors[0] == ["#005a28", "#80ac94", "#ffffff"]
    assert colors[1][1:] == ["#af1423", "#80ac94"]
    assert colors[2] == ["#ffffff"] * 3
    inks = {text.get_text(): to_hex(text.get_color()) for text in ax.texts[-3:]}
    assert inks == {"a": "#000000", "b": "#000000", "c": "#000000"}
    assert [line for line in shown(ax) if "," in line] == ["a,largest1", "b,largest100", "zeros,all0"]


def test_dark_shades_have_white_letters():
    _, ax = plot_text({"row": [1.0, 0.0, -1.0]}, "x.z", [(0, 1), (1, 2), (2, 3)])
    inks = {text.get_text(): to_hex(text.get_color()) for text in ax.texts}
    assert (inks["x"], inks["."], inks["z"]) == ("#ffffff", "#000000", "#ffffff")


def test_text_of_no_token_has_no_shade():
    _, ax = plot_text({"row": [1.0]}, "ab cd", [(3, 5)])
    assert [box[0] for box in boxes(ax, 0)] == [3]


def test_a_token_over_two_lines_has_a_box_on_each():
    text = "a" * 60
    _, ax = plot_text({"row": [1.0]}, text, [(0, 60)], width=3)
    assert len(boxes(ax, 0)) > 1
    assert sum(box[2] - box[0] for box in boxes(ax, 0)) == 60


def test_any_character_is_drawn_literally_and_without_warning(tmp_path, caplog):
    fig, ax = plot_text({"$a_": [1.0]}, MIXED, [(0, 9)], title="$\\bad{")
    for name in ("text.png", "text.svg", "text.pdf"):
        fig.savefig(tmp_path / name)
    assert not caplog.records
    lines = shown(ax)
    assert lines[0] == "$\\bad{"
    assert lines[1].startswith("$a_")
    body = "".join(lines[2:])
    assert body.startswith("Price:$x_1$and\\frac{1}<script>אבגדالعربية")
    assert body.endswith("end")
    assert "e\u0301" in body
    assert not any(text.get_parse_math() for text in ax.texts)


def test_a_character_without_a_glyph_is_a_square_and_a_mark_without_one_is_left_out():
    _, ax = plot_text({"row": []}, "a \U0010fffd b\U000e0041", [])
    assert shown(ax)[-1] == "a\N{WHITE SQUARE}b"


def test_fonts_of_the_settings_are_used():
    with matplotlib.rc_context({"font.family": ["STIXGeneral", "no such font"]}):
        _, ax = plot_text({"row": []}, "a", [])
    assert ax.texts[0].get_family()[:3] == ["DejaVu Sans Mono", "DejaVu Sans", "STIXGeneral"]
    assert "no such font" not in ax.texts[0].get_family()


def test_wide_characters_take_two_columns_and_marks_none():
    _, ax = plot_text({"row": [1.0] * 4}, "中e\u0301🎉b", [(0, 1), (1, 3), (3, 4), (4, 5)])
    assert [(box[0], box[2]) for box in boxes(ax, 0)] == [(0, 2), (2, 3), (3, 5), (5, 6)]


def test_a_mark_with_a_token_of_its_own_shows_the_higher_score():
    _, ax = plot_text({"low": [1.0, 0.0, 2.0], "high": [1.0, -2.0, 0.0]}, "e\u0301a", [(0, 1), (1, 2), (2, 3)])
    assert [boxes(ax, row)[0][-1] for row in range(2)] == ["#80ac94", "#af1423"]


def test_axes_of_ones_own_take_smaller_letters():
    text, spans, scores = words(200)
    fig, (first, second) = plt.subplots(1, 2, figsize=(12, 4))
    assert plot_text({"a": scores}, text, spans, ax=second) == (fig, second)
    assert not first.texts
    size = second.texts[0].get_size()
    assert 4 <= size < 10
    fig.canvas.draw()
    box = second.get_window_extent()
    assert all(box.y0 < artist.get_window_extent().y0 for artist in second.texts)
    assert all(artist.get_window_extent().x1 < box.x1 for artist in second.texts)
    assert shown(second)[-1].endswith(text.split()[-1])


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({}, {}, "no row to show: pass at least one"),
        ({"a": [1.0]}, {"width": 13}, "width must be 3 to 12 inches, got 13; a long text makes the figure higher"),
        ({"a": [1.0]}, {"width": 2}, "width must be 3 to 12 inches, got 2"),
        ({"a": [1.0, 2.0]}, {}, "got 1 spans and 2 scores"),
    ],
)
def test_what_cannot_be_plotted_is_an_error_and_leaves_no_figure(rows, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plot_text(rows, "abc", [(0, 3)], **options)
    assert not plt.get_fignums()


def test_axes_that_are_too_small_and_a_width_for_axes_are_errors():
    _, ax = plt.subplots(figsize=(2, 1))
    with pytest.raises(ValueError, match=r"too small for 2999 characters in 1 rows. Make them \d+\.\d inches high"):
        plot_text({"a": []}, "ab " * 999 + "cd", [], ax=ax)
    with pytest.raises(ValueError, match="width=5 is of a new figure"):
        plot_text({"a": [1.0]}, "abc", [(0, 3)], ax=ax, width=5)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (HETA, ["HETA", "semanticflow", "curvature", "information"]),
        (TargetedHETA, ["TargetedHETA", "contributionflow", "curvature", "targetinformation"]),
    ],
)
def test_terms_are_shown_under_the_scores(demo, method, expected):
    model, tokenizer = demo
    prompt = "Karen is in the barn. Who is in the barn?"
    inp = TextTokenInput(prompt, tokenizer, skip_tokens=["<s>"])
    result = LLMTokenAttribution(method(model), tokenizer).attribute(inp, " Karen")
    spans = token_spans(prompt, tokenizer)[1][1:]
    fig, ax = plot_terms(result, prompt, spans, width=6)
    fig.canvas.draw()
    assert fig.get_figwidth() == 6
    heads = [line.split(",")[0] for line in shown(ax) if ",largest" in line]
    assert heads == expected
    _, mine = plt.subplots(figsize=(8, 8))
    assert plot_terms(result, prompt, spans, mine)[1] is mine


def test_terms_are_means_over_the_outputs():
    terms = HETATerms(*(torch.tensor([[1.0, 2.0], [3.0, 8.0]]) * factor for factor in (1, 10, 100)))
    result = SimpleNamespace(seq_attr=torch.tensor([6.0, -4.0]), terms=terms)
    _, ax = plot_terms(result, "ab", [(0, 1), (1, 2)])
    heads = [line.split("largest")[1] for line in shown(ax) if ",largest" in line]
    assert heads == ["3", "5", "50", "500"]


@pytest.mark.parametrize("terms", [{}, {"terms": None}])
def test_result_without_terms_is_an_error(terms):
    result = LLMAttributionResult(input_tokens=["a"], output_tokens=["b"], seq_attr=[1.0])
    result.__dict__.update(terms)
    with pytest.raises(ValueError, match="has no terms, which only those of HETA and TargetedHETA have"):
        plot_terms(result, "a", [(0, 1)])
