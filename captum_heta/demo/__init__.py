"""A small trained language model inside the package, and prompts for it whose right attribution is known.

Nothing is downloaded.
"""

from collections.abc import Iterator
from importlib import resources
from typing import Any

from captum_heta.datasets import Example
from captum_heta.demo.world import example
from captum_heta.tokenizers import Tokenizer

__all__ = ["examples", "load_model"]


def load_model() -> tuple[Any, Tokenizer]:
    """The embedded model, an ordinary `LlamaForCausalLM` in eval mode, and its fast tokenizer.

    It reads about six short sentences and a question and answers with one word; its model card is
    ``demo/model/README.md``.
    """
    import torch
    from safetensors.torch import load_model as load_weights
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    with resources.as_file(resources.files(__name__) / "model") as folder:
        with torch.random.fork_rng(devices=[]):  # not from_pretrained, which shows a progress bar
            model = LlamaForCausalLM(LlamaConfig.from_pretrained(folder, local_files_only=True)).float()
        load_weights(model, folder / "model.safetensors")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    model.config.name_or_path = "captum_heta.demo"  # what results say they are of
    return model.eval(), tokenizer


def examples(n: int, seed: int = 0) -> Iterator[Example]:
    """``n`` prompts about facts that the model was not trained on, the same for the same seed.

    Each has its answer, the characters of the sentence that holds it, and those of the sentences that distract.
    """
    return (example(seed, index) for index in range(n))
