"""HETA (Hessian-Enhanced Token Attribution) for Captum."""

from captum_heta.attr import HETA, HETATerms, LLMTokenAttribution, LLMTokenAttributionResult
from captum_heta.comparison import Comparison, compare
from captum_heta.inputs import ChatInput, DocumentsInput

__all__ = [
    "HETA",
    "ChatInput",
    "Comparison",
    "DocumentsInput",
    "HETATerms",
    "LLMTokenAttribution",
    "LLMTokenAttributionResult",
    "__version__",
    "compare",
]

__version__ = "0.1.0"
