import pytest

from captum_heta.visualization.colours import background, ink


def luminance(color):
    """Relative luminance of WCAG 2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_white_green_and_red():
    assert [background(strength) for strength in (-1, 0, 1)] == ["#af1423", "#ffffff", "#005a28"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_higher_score_is_farther_from_the_page_and_its_text_can_be_read(sign, dark):
    shades = [luminance(background(sign * i / 200, dark)) for i in range(201)]
    assert shades == sorted(shades, reverse=not dark)
    for i, shade in enumerate(shades):
        low, high = sorted([shade, luminance(ink(sign * i / 200, dark))])
        assert (high + 0.05) / (low + 0.05) > 4.5
