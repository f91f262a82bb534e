"""The colours of a score: green above zero, red below, and none near it; on light and on dark pages."""

_Color = tuple[int, int, int]

# From a page without a score to the largest. The light green is that of the paper's demo.
_LIGHT: tuple[_Color, _Color, _Color] = ((255, 255, 255), (0, 90, 40), (175, 20, 35))
_DARK: tuple[_Color, _Color, _Color] = ((24, 24, 24), (70, 205, 125), (255, 115, 110))

# Scores whose shade nobody could tell from the page have none.
_NEAR_ZERO = 0.02


def is_shaded(strength: float) -> bool:
    """Whether a strength has a background of its own."""
    return abs(strength) >= _NEAR_ZERO


def background(strength: float, dark: bool = False) -> str:
    """``#rrggbb`` for a strength from -1 (the full red) through 0 (the page) to 1 (the full green).

    >>> background(0), background(1)
    ('#ffffff', '#005a28')
    """
    return "#" + "".join(f"{part:02x}" for part in _mixed(strength, dark))


def ink(strength: float, dark: bool = False) -> str:
    """Black or white, whichever reads better on `background`; their contrast is at least 4.5 to 1."""
    luminance = _luminance(_mixed(strength, dark))
    # of WCAG 2: (lighter + 0.05) / (darker + 0.05)
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"


def _mixed(strength: float, dark: bool) -> _Color:
    page, green, red = _DARK if dark else _LIGHT
    full = green if strength > 0 else red
    first, second, third = (round(a + (b - a) * abs(strength)) for a, b in zip(page, full, strict=True))
    return first, second, third


def _luminance(color: _Color) -> float:
    """Relative luminance of WCAG 2."""
    parts = (part / 255 for part in color)
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
