"""An interruption that keeps what was computed before it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captum_heta.comparison.result import Comparison


class ComparisonInterrupt(KeyboardInterrupt):
    """Ctrl-C during `captum_heta.compare`.

    Attributes:
        comparison: with the methods that were done; the others are among its failures.
    """

    def __init__(self, comparison: "Comparison") -> None:
        done = ", ".join(comparison.names) or "no method"
        super().__init__(f"Interrupted after {done}: what was computed is in the attribute comparison of this error.")
        self.comparison = comparison
