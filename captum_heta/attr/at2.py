"""AT2 (Cohen-Wang et al. 2025, arXiv 2504.13752): attention, with weights of heads that were learned from ablations."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import torch
from captum.attr import InterpretableInput
from torch import Tensor

from captum_heta.attr.context_cite import log_probs_without, logit
from captum_heta.attr.flow import FlowAttribution
from captum_heta.attr.learned_heads import HeadWeights
from captum_heta.attr.task import Task
from captum_heta.checks import check_count, check_seed, check_weight
from captum_heta.inputs import LocatedInput
from captum_heta.inputs.target import chosen_outputs
from captum_heta.models import AttentionLayer, CausalLM, Trace
from captum_heta.options import BatchOptions, Options
from captum_heta.terms.head_attention import Ablated, attention_of_heads, correlation, head_weights
from captum_heta.tokenizers import Tokenizer

SOURCES = ("sentence", "token")


class AT2(FlowAttribution[Options]):
    """score_i = sum over layers l and heads h of w_lh A^lh(t -> i), signed, for the position t that predicts.

    The weights w are of a model, not of a prompt: `fit` learns them once from answers whose sources were left out at
    random, so that the sum over the sources that are kept follows the answer's log-odds, and they are saved. Explaining
    then takes one pass. A feature has the sum of its tokens.

    The paper maximises the correlation of the sum with the log-odds by gradient steps; here it is a ridge regression on
    log-odds of deviation 1, each example counting the same. As in `ContextCite`, what is left out is taken out of the
    text.

    Args:
        forward_func: a causal language model of Hugging Face transformers, each of whose layers has attention that can
            be read.
        learned: the weights of its heads.

    Raises:
        TypeError: if it is none; when it attributes, if a layer carries tokens on without attention.
        ValueError: for weights of another class of model; when it attributes, for those of other heads.

    Example::

        >>> from captum_heta.demo import examples
        >>> known = [(TextInput(item.prompt, tokenizer), item.target) for item in examples(3)]
        >>> method = AT2.fit(model, tokenizer, known, n_samples=8)  # method.learned.save("heads.json")
        >>> method.attribute(input_ids).shape == input_ids.shape  # (B, n); later AT2.load(model, "heads.json")
        True
    """

    takes_position_ids: ClassVar[bool] = True
    takes_media: ClassVar[bool] = False

    def __init__(self, forward_func: Any, learned: HeadWeights) -> None:
        super().__init__(forward_func)
        name = type(self._lm.model).__name__
        if learned.model != name:
            raise ValueError(f"The weights are of a {learned.model}, and the model is a {name}: fit its own.")
        self.learned = learned

    @classmethod
    def fit(
        cls,
        forward_func: Any,
        tokenizer: Tokenizer,
        examples: Iterable[tuple[InterpretableInput, str | Tensor | None]],
        *,
        n_samples: int = 32,
        penalty: float = 0.1,
        sources: str = "sentence",
        seed: int = 0,
    ) -> "AT2":
        """Learn the weights of a model's heads.

        Args:
            forward_func: the model.
            tokenizer: its tokenizer.
            examples: prompts and answers, as `LLMTokenAttribution.attribute` takes them; None for the answer that the
                model generates.
            n_samples: prompts from which each source is left out with probability 1/2, for each example.
            penalty: of the squared weights, as a part of the mean square of what a head pays.
            sources: what is left out: "sentence", or "token" for each feature of the input.
            seed: of the draws.

        Raises:
            ValueError: for no examples, or options out of range.
            TypeError: as when it attributes.
        """
        check_count("n_samples", n_samples, least=2)
        check_weight("penalty", penalty)
        if sources not in SOURCES:
            raise ValueError(f"sources must be 'sentence' or 'token', got {sources!r}.")
        generator = torch.Generator(device="cpu").manual_seed(check_seed(seed))
        name = type(CausalLM(forward_func).model).__name__
        method = cls(forward_func, HeadWeights((), name, 0, 0.0))
        found: list[Ablated] = []
        sizes: list[int] = []
        for inp, target in examples:
            prompt = LocatedInput(inp, tokenizer)
            if prompt.media is not None:
                raise ValueError("An example has pictures or sound, and AT2 reads text alone: leave it out.")
            outputs = chosen_outputs(target, None, prompt, method._lm).to(method._lm.device)
            mask = prompt.sentence_mask() if sources == "sentence" else None
            features = prompt.features if mask is None else prompt.features.merged(mask)
            task = Task(torch.tensor(prompt.ids, device=method._lm.device), outputs, features)
            kept = torch.randint(2, (n_samples, len(features)), generator=generator, device="cpu").bool()
            with method._session([1], False), torch.no_grad():
                example, sizes = method._ablated(task, kept)
            found.append(example)
        if not found:
            raise ValueError("examples is empty: pass prompts and their answers.")
        weights = head_weights(found, penalty)
        layers = tuple(weights.float().split(sizes))
        method.learned = HeadWeights(layers, name, len(found), correlation(found, weights))
        return method

    @classmethod
    def load(cls, forward_func: Any, file: str | Path) -> "AT2":
        """The method with the weights that ``learned.save`` wrote.

        Raises:
            ValueError: for another file, or weights of another class of model.
            OSError: if it cannot be read.
        """
        return cls(forward_func, HeadWeights.load(file))

    def _ablated(self, task: Task, kept: Tensor) -> tuple[Ablated, list[int]]:
        """What the answer pays to each source, and its log-odds without some; and the number of heads in each layer."""
        paid, sizes = [], []
        for trace in self._traces(task):
            heads = self._heads(trace)
            sizes = [len(one) for one in heads]
            paid.append(task.features.sum(torch.cat([one.sum(1) for one in heads])))
        batch = self._batch(BatchOptions(), len(task.input_ids) + len(task.outputs), len(task.outputs))
        log_probs = torch.cat(batch.run(kept, lambda rows: log_probs_without(self._lm, rows, task)))
        outcomes = logit(log_probs.sum(-1).double())
        return Ablated(torch.stack(paid).sum(0).T.cpu(), kept, outcomes.cpu()), sizes

    def _flow(self, trace: Trace, options: Options) -> Tensor:
        heads = self._heads(trace)
        sizes, known = [len(one) for one in heads], [len(one) for one in self.learned.weights]
        if sizes != known:
            raise ValueError(
                f"The weights are of {known} heads in each layer, and {type(self._lm.model).__name__} has {sizes}: fit "
                "its own."
            )
        rows = [
            torch.einsum("h,hkt->kt", weights.to(one), one)
            for weights, one in zip(self.learned.weights, heads, strict=True)
        ]
        return torch.stack(rows).sum(0)

    def _heads(self, trace: Trace) -> list[Tensor]:
        """What each head pays from where each output is predicted, (H, K, T) a layer."""
        layers = [layer for layer in trace.layers if isinstance(layer, AttentionLayer)]
        if len(layers) < len(trace.layers):
            raise TypeError(
                f"AT2 weighs heads of attention, and {type(self._lm.model).__name__} has a layer without any that can "
                "be read: AttentionRollout follows what else carries tokens on."
            )
        return [attention_of_heads(layer, trace.output_positions) for layer in layers]
