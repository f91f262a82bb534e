"""The only part of the package that knows the inside of Hugging Face models."""

from captum_heta.models.causal_lm import CausalLM
from captum_heta.models.language_model import LanguageModel
from captum_heta.models.memory import Batch
from captum_heta.models.stages import Stage
from captum_heta.models.trace import AttentionLayer, Trace

__all__ = ["AttentionLayer", "Batch", "CausalLM", "LanguageModel", "Stage", "Trace"]
