"""The only part of the package that knows the inside of Hugging Face models."""

from captum_heta.models.calls import Call, answered, before, recorded
from captum_heta.models.causal_lm import CausalLM
from captum_heta.models.generation import GREEDY, end_tokens, generated, greedy, without_end
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.layers import AttentionLayer, Layer, MixingLayer
from captum_heta.models.media import Media, Merged, media_logits, merged, placeholders, runs
from captum_heta.models.memory import MEMORY_VARIABLE, Batch
from captum_heta.models.records import record_of
from captum_heta.models.residual import Residual
from captum_heta.models.seeds import seeded
from captum_heta.models.selfcheck import UnfitModelError, in_a_pass
from captum_heta.models.stages import Stage
from captum_heta.models.trace import Trace, trace_of

__all__ = [
    "GREEDY",
    "MEMORY_VARIABLE",
    "AttentionLayer",
    "Batch",
    "Call",
    "CausalLM",
    "LanguageModel",
    "Layer",
    "Media",
    "Merged",
    "MixingLayer",
    "Residual",
    "Stage",
    "Trace",
    "UnfitModelError",
    "answered",
    "before",
    "end_tokens",
    "generated",
    "greedy",
    "in_a_pass",
    "media_logits",
    "merged",
    "placeholders",
    "record_of",
    "recorded",
    "runs",
    "seeded",
    "trace_of",
    "without_end",
]
