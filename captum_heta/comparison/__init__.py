"""Several attribution methods side by side."""

from captum_heta.comparison.interruption import ComparisonInterrupt
from captum_heta.comparison.result import Comparison, Failure
from captum_heta.comparison.run import compare

__all__ = ["Comparison", "ComparisonInterrupt", "Failure", "compare"]
