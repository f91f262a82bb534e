"""Attribution methods, one a file, and the wrapper that gives them Captum's LLM interface."""

from captum_heta.attr.at2 import AT2
from captum_heta.attr.attention import AttentionRollout, LastAttention
from captum_heta.attr.attn_lrp import AttnLRP
from captum_heta.attr.base import TokenAttribution
from captum_heta.attr.context_cite import ContextCite
from captum_heta.attr.flow_routes import InformationFlowRoutes
from captum_heta.attr.gradient_norm import GradientNorm
from captum_heta.attr.heta import HETA, TargetedHETA
from captum_heta.attr.heta_terms import ContributionTerms, HETATerms, TargetedTerms, TargetTerms
from captum_heta.attr.learned_heads import HeadWeights
from captum_heta.attr.llm import LLMTokenAttribution, LLMTokenAttributionResult
from captum_heta.attr.normxlogit import NormXLogit
from captum_heta.attr.peering import Peering
from captum_heta.attr.progressive import TDD, ProgressiveInference
from captum_heta.attr.reagent import ReAGent
from captum_heta.attr.reasoning import ReasoningTrace
from captum_heta.attr.replacers import MaskedLMReplacer
from captum_heta.attr.sources import Sources

__all__ = [
    "AT2",
    "HETA",
    "TDD",
    "AttentionRollout",
    "AttnLRP",
    "ContextCite",
    "ContributionTerms",
    "GradientNorm",
    "HETATerms",
    "HeadWeights",
    "InformationFlowRoutes",
    "LLMTokenAttribution",
    "LLMTokenAttributionResult",
    "LastAttention",
    "MaskedLMReplacer",
    "NormXLogit",
    "Peering",
    "ProgressiveInference",
    "ReAGent",
    "ReasoningTrace",
    "Sources",
    "TargetTerms",
    "TargetedHETA",
    "TargetedTerms",
    "TokenAttribution",
]
