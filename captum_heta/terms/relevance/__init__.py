"""Relevance: gradients whose product with the input is the output, rule by rule, as AttnLRP has them."""

from captum_heta.terms.relevance.coverage import Coverage

__all__ = ["Coverage"]
