"""What some methods of a comparison can do, and what is said where none of them can."""

from collections.abc import Iterable

from captum_heta.attr import TokenAttribution
from captum_heta.methods import METHODS


def own_types() -> dict[str, type[TokenAttribution]]:
    """The methods of this package, by short names."""
    return {short: method.type for short, method in METHODS.items() if method.module.startswith("captum_heta.")}


def none_can(names: Iterable[str], does: str, able: Iterable[str], option: str) -> ValueError:
    """The error where no method does what an option asks for.

    Args:
        names: of the methods.
        does: what none of them does.
        able: short names of methods that do.
        option: what may be left out.
    """
    return ValueError(
        f"None of the methods {', '.join(names)} {does}: add one of {', '.join(able)}, or leave {option} out."
    )
