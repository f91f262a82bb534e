"""HETA (Hessian-Enhanced Token Attribution) for Captum."""

from captum_heta.attr import HETA, HETATerms, LLMTokenAttribution, LLMTokenAttributionResult

__all__ = ["HETA", "HETATerms", "LLMTokenAttribution", "LLMTokenAttributionResult", "__version__"]

__version__ = "0.1.0"
