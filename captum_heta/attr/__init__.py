"""Attribution methods, one a file, and the wrapper that gives them Captum's LLM interface."""

from captum_heta.attr.base import TokenAttribution
from captum_heta.attr.heta import HETA, HETATerms
from captum_heta.attr.llm import LLMTokenAttribution, LLMTokenAttributionResult

__all__ = ["HETA", "HETATerms", "LLMTokenAttribution", "LLMTokenAttributionResult", "TokenAttribution"]
