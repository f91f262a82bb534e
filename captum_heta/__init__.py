"""HETA (Hessian-Enhanced Token Attribution) for Captum."""

from typing import TYPE_CHECKING

from captum_heta._lazy import lazy

if TYPE_CHECKING:
    from captum_heta.attr import (
        HETA,
        HETATerms,
        LLMTokenAttribution,
        LLMTokenAttributionResult,
        ReasoningTrace,
        Sources,
        TargetedHETA,
        TargetedTerms,
    )
    from captum_heta.comparison import Comparison, compare
    from captum_heta.inputs import ChatInput, DocumentsInput, MediaInput, TextInput

__all__ = [
    "HETA",
    "ChatInput",
    "Comparison",
    "DocumentsInput",
    "HETATerms",
    "LLMTokenAttribution",
    "LLMTokenAttributionResult",
    "MediaInput",
    "ReasoningTrace",
    "Sources",
    "TargetedHETA",
    "TargetedTerms",
    "TextInput",
    "__version__",
    "compare",
]

__version__ = "0.2.0"

# torch and Captum take seconds, which the help of the command line does without
__getattr__, __dir__ = lazy(
    __name__,
    {
        **dict.fromkeys(("HETA", "HETATerms", "TargetedHETA", "TargetedTerms"), "captum_heta.attr"),
        **dict.fromkeys(("LLMTokenAttribution", "LLMTokenAttributionResult"), "captum_heta.attr"),
        **dict.fromkeys(("ReasoningTrace", "Sources"), "captum_heta.attr"),
        **dict.fromkeys(("Comparison", "compare"), "captum_heta.comparison"),
        **dict.fromkeys(("ChatInput", "DocumentsInput", "MediaInput", "TextInput"), "captum_heta.inputs"),
    },
)
