"""Examples with known evidence, in one form for every data set."""

from captum_heta.datasets.example import Example

__all__ = ["Example"]
