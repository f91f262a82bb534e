from itertools import pairwise

import numpy as np
import pytest
import torch
from captum.attr import LLMAttributionResult
from matplotlib.colors import to_hex

from captum_heta.visualization import plot_heat_map

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def result(outputs, inputs, low=0.0, dtype=torch.float32):
    scores = torch.rand(outputs, inputs, generator=torch.Generator().manual_seed(0)) * (1 - low) + low
    return LLMAttributionResult(
        input_tokens=[f"\u0120in{i}" for i in range(inputs)],
        output_tokens=[f"out{i}" for i in range(outputs)],
        seq_attr=scores.sum(0),
        token_attr=scores.to(dtype),
    )


def labels(axis):
    """Place and text of each label."""
    return list(zip(axis.get_ticklocs().tolist(), [label.get_text() for label in axis.get_ticklabels()], strict=True))


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (1, 600), (3, 12), (3, 600), (200, 40), (200, 2000)])
def test_size_is_limited_and_labels_stand_apart_at_their_own_columns(outputs, inputs):
    fig, ax = plot_heat_map(result(outputs, inputs))
    width, height = fig.get_size_inches()
    assert 3 < width < 14.01
    assert 1 < height < 10.01
    for axis, name, total in ((ax.xaxis, "\u0120in{}", inputs), (ax.yaxis, "out{}", outputs)):
        shown = labels(axis)
        assert [text for _, text in shown] == [name.format(int(place)) for place, _ in shown]
        places = [place for place, _ in shown]
        step = places[1] - places[0] if len(places) > 1 else total
        assert places == list(range(0, total, int(step)))
    fig.canvas.draw()
    for axis in (ax.xaxis, ax.yaxis):
        boxes = [label.get_tightbbox() for label in axis.get_ticklabels()]
        assert all(fig.bbox.x0 <= box.x0 and box.x1 <= fig.bbox.x1 for box in boxes)
        assert all(fig.bbox.y0 <= box.y0 and box.y1 <= fig.bbox.y1 for box in boxes)
    middles = [label.get_window_extent() for label in ax.yaxis.get_ticklabels()]
    assert all(abs(a.y0 - b.y0) >= a.height for a, b in pairwise(middles))
    # slanted by 45 degrees: what is between two lines of letters
    starts = ax.transData.transform([(place, 0) for place in ax.xaxis.get_ticklocs()])[:, 0]
    letters = 8 / 72 * fig.dpi
    assert (np.diff(starts) / np.sqrt(2) >= letters).all()


def test_the_image_is_the_scores():
    given = result(3, 12, low=-1.0, dtype=torch.bfloat16)
    _, ax = plot_heat_map(given)
    np.testing.assert_array_equal(ax.images[0].get_array(), given.token_attr.float().numpy())


def test_small_maps_have_numbers():
    _, ax = plot_heat_map(result(3, 12, low=-1.0))
    assert len(ax.texts) == 36
    assert float(ax.texts[13].get_text()) == pytest.approx(float(ax.images[0].get_array()[1, 1]), rel=0.06)


def test_what_is_next_to_nothing_has_no_digits():
    given = result(1, 4)
    given.token_attr = torch.tensor([[2.0, -3e-20, 0.0, 3e-4]])
    _, ax = plot_heat_map(given)
    assert [text.get_text() for text in ax.texts] == ["2", "~0", "0", "0.0003"]


@pytest.mark.parametrize("inputs", range(10, 40, 3))
def test_numbers_are_shown_only_if_they_fit(inputs):
    given = result(1, inputs)
    given.token_attr = -1.2e-13 * given.token_attr
    fig, ax = plot_heat_map(given)
    fig.canvas.draw()
    cell = ax.bbox.width / inputs
    assert len(ax.texts) in ((inputs,) if inputs < 16 else (0,) if inputs > 24 else (0, inputs))
    assert all(text.get_window_extent().width < cell for text in ax.texts)


def test_long_maps_have_cells_with_sharp_edges():
    given = result(2, 700)
    given.token_attr = (torch.arange(700) % 2).expand(2, 700)
    fig, ax = plot_heat_map(given)
    fig.canvas.draw()
    x, y, width, height = map(int, ax.bbox.bounds)
    rows = np.asarray(fig.canvas.buffer_rgba())[::-1][y + height // 4, x + 5 : x + width - 5, 0]
    assert set(rows.tolist()) == {0, 255}
    changes = int((np.diff(rows.astype(int)) != 0).sum())
    assert changes > 680  # no column is left out


def test_a_column_in_a_map_of_more_columns_than_pixels_is_not_left_out():
    given = result(1, 4000)
    given.token_attr = torch.zeros(1, 4000)
    given.token_attr[0, 1000::500] = 1.0
    fig, ax = plot_heat_map(given)
    fig.canvas.draw()
    x, y, width, height = map(int, ax.bbox.bounds)
    row = np.asarray(fig.canvas.buffer_rgba())[::-1][y + height // 2, x + 5 : x + width - 5, 0]
    places = np.linspace(0, width, 4001)[1000:4000:500].astype(int) - 5
    assert all(row[place - 2 : place + 4].min() < 220 for place in places)


def test_zero_is_white_and_in_the_middle_if_a_score_is_negative():
    given = result(2, 4)
    given.token_attr = torch.tensor([[0.0, 1.0, 4.0, 2.0]] * 2)
    image = plot_heat_map(given)[1].images[0]
    assert (image.norm.vmin, image.norm.vmax) == (0.0, 4.0)
    assert [to_hex(image.cmap(image.norm(x))) for x in (0, 4)] == ["#ffffff", "#005a28"]
    given.token_attr = -given.token_attr
    image = plot_heat_map(given)[1].images[0]
    assert (image.norm.vmin, image.norm.vmax) == (-4.0, 4.0)
    assert [to_hex(image.cmap(image.norm(x))) for x in (-4, 4)] == ["#af1423", "#005a28"]
    assert min(image.cmap(image.norm(0))) > 0.99


def test_zeros_are_white():
    given = result(2, 4)
    given.token_attr = torch.zeros(2, 4)
    image = plot_heat_map(given)[1].images[0]
    assert to_hex(image.cmap(image.norm(0))) == "#ffffff"


def test_features_are_labelled_by_their_characters():
    text = "a  $b_ <i>\n\t averyveryverylongword中文中文中文中文中文中文"
    spans = [(0, 0), (0, 1), (1, 3), (3, 6), (6, 10), (10, 12), (13, 30), (34, len(text))]
    given = result(2, len(spans))
    given.input_tokens[0] = "<s>"
    fig, ax = plot_heat_map(given, text, spans)
    fig.canvas.draw()
    shown = [label for _, label in labels(ax.xaxis)]
    assert shown[:6] == ["<s>", "a", "\u2423\u2423", "$b_", "<i>", "⏎⇥"]
    assert shown[6] == "averyveryverylo\N{HORIZONTAL ELLIPSIS}"
    assert len(shown[7]) == 8


@pytest.mark.parametrize("inputs", [1, 12, 600])
def test_long_labels_and_the_colour_bar_are_inside_the_figure(inputs):
    given = result(1, inputs)
    given.output_tokens = ["a"]
    fig, ax = plot_heat_map(given, "W" * 40, [(0, 40)] * inputs)
    fig.canvas.draw()
    (bar,) = ax.child_axes
    bottom = ax.bbox.y1
    for artist in [*ax.xaxis.get_ticklabels(), *ax.yaxis.get_ticklabels(), bar, *bar.texts]:
        box = artist.get_tightbbox() if artist is bar else artist.get_window_extent()
        assert fig.bbox.x0 <= box.x0 < box.x1 <= fig.bbox.x1, artist
        assert fig.bbox.y0 <= box.y0 < box.y1 <= fig.bbox.y1, artist
    assert bar.get_tightbbox().y0 > bottom


def test_max_labels_thins_both_axes():
    _, ax = plot_heat_map(result(20, 40), max_labels=4)
    assert [place for place, _ in labels(ax.xaxis)] == [0, 10, 20, 30]
    assert [place for place, _ in labels(ax.yaxis)] == [0, 5, 10, 15]


def test_result_without_token_attr_is_an_error():
    given = LLMAttributionResult(input_tokens=["a"], output_tokens=["b"], seq_attr=[1.0])
    with pytest.raises(
        ValueError, match="seq_attr alone. Attribute each output token .per_token=True., or .*plot_text"
    ):
        plot_heat_map(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_labels": 0}, "max_labels must be at least 1, got 0"),
        ({"text": "abc"}, "pass both or neither"),
        ({"spans": [(0, 1)]}, "pass both or neither"),
        ({"text": "abc", "spans": [(0, 1)]}, "The result has 2 features, got 1 spans"),
    ],
)
def test_options_that_do_not_fit_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        plot_heat_map(result(1, 2), **options)


def test_a_score_that_is_not_finite_is_an_error():
    given = result(1, 2)
    given.token_attr[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        plot_heat_map(given)
