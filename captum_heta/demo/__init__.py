"""A small trained language model inside the package, and prompts for it whose right attribution is known.

Nothing is downloaded.
"""

from collections.abc import Iterator
from importlib import resources
from typing import Any

from captum_heta.datasets import Example
from captum_heta.demo.two_steps import Chain, chains
from captum_heta.demo.world import example
from captum_heta.tokenizers import Tokenizer

__all__ = ["MODELS", "Chain", "chains", "examples", "load_model"]

FOLDERS = {"llama": "model", "gpt_neox": "gpt_neox", "chain": "chain"}  # beside this file
MODELS = tuple(FOLDERS)


def load_model(name: str = "llama") -> tuple[Any, Tokenizer]:
    """An embedded model, an ordinary model of transformers in eval mode and float32, and its fast tokenizer.

    Two read about six short sentences and a question and answer with one word. The third, "chain", answers where
    somebody is by writing down whom the person is with, and then where that one is. All share the tokenizer.

    Args:
        name: "llama", a `LlamaForCausalLM` whose training started in the shape of a look-up (its model card is
            ``demo/model/README.md``); "gpt_neox", a `GPTNeoXForCausalLM` whose training started as usual, from
            random weights (``demo/gpt_neox/README.md``); or "chain", a Llama of the first's shape that answers the
            questions of `chains` (``demo/chain/README.md``).

    Raises:
        ValueError: for another name.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    if name not in FOLDERS:
        raise ValueError(f"There is no embedded model {name!r}; there are {', '.join(MODELS)}.")
    with resources.as_file(resources.files(__name__) / FOLDERS[name]) as folder:
        with torch.random.fork_rng(devices=[]):  # not from_pretrained, which shows a progress bar
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True)).float()
        weights = load_file(folder / "model.safetensors")
    # files keep the old name of GPT-NeoX's output matrix, whatever transformers calls it now; Llama's is tied
    (output,) = {"embed_out.weight", "lm_head.weight"} & model.state_dict().keys()
    weights[output] = weights.pop("embed_out.weight") if name == "gpt_neox" else weights["model.embed_tokens.weight"]
    model.load_state_dict(weights)
    model.config.name_or_path = __name__ if name == "llama" else f"{__name__}.{name}"  # what results say they are of
    return model.eval(), load_tokenizer()


def load_tokenizer() -> Tokenizer:
    """The fast tokenizer of the embedded models."""
    from transformers import PreTrainedTokenizerFast

    with resources.as_file(resources.files(__name__) / FOLDERS["llama"]) as folder:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def examples(n: int, seed: int = 0) -> Iterator[Example]:
    """``n`` prompts about facts that the model was not trained on, the same for the same seed.

    Each has its answer, the characters of the sentence that holds it, and those of the sentences that distract.
    """
    return (example(seed, index) for index in range(n))
