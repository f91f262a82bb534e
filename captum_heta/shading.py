"""The colours of a score: white for none, dark green for the highest, dark red for the lowest."""

# The green of the paper's demo; the red is as dark at the same strength, so that one rule for the ink serves both.
_WHITE, _GREEN, _RED = (255, 255, 255), (0, 90, 40), (175, 20, 35)


def background(strength: float) -> str:
    """``#rrggbb`` for a strength from -1 (dark red) through 0 (white) to 1 (dark green).

    >>> background(0), background(1)
    ('#ffffff', '#005a28')
    """
    dark = _GREEN if strength > 0 else _RED
    mixed = (round(a + (b - a) * abs(strength)) for a, b in zip(_WHITE, dark, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def ink(strength: float) -> str:
    """Black or white, whichever reads better on `background`; their contrast is at least 4.5 to 1."""
    return "#ffffff" if abs(strength) > 0.75 else "#000000"
