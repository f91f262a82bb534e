"""Prompts that are so long that the page and the command line look at them coarse to fine without being asked."""

MOST = 300  # tokens of a prompt of which each is looked at
SHARE = 0.9  # of the score, held by the parts of a longer one that are looked into


def automatic_refine(count: int) -> float | None:
    """The ``refine`` of a prompt of ``count`` tokens when a person says nothing; None for each token."""
    return SHARE if count > MOST else None
