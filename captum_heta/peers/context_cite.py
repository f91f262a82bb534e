"""ContextCite by its authors' package, context-cite (Cohen-Wang et al., NeurIPS 2024, arXiv 2409.00729)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions
from captum_heta.attr.task import Task
from captum_heta.checks import check_count
from captum_heta.features import Features
from captum_heta.models.twin import twin
from captum_heta.options import Options
from captum_heta.peers.base import PeerAttribution
from captum_heta.peers.package import Package
from captum_heta.peers.words import Words

_NO_TEMPLATE = "{{ messages[0]['content'] }}"


@dataclass(frozen=True, kw_only=True)
class ContextCitePackageOptions(Options):
    """Those of `ContextCitePackage`.

    Attributes:
        n_samples: prompts with sources left out.
    """

    n_samples: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_samples", self.n_samples)


class ContextCitePackage(PeerAttribution[ContextCitePackageOptions]):
    """Weights of a sparse linear model of the whole answer's log-odds, by context-cite.

    As `captum_heta.attr.ContextCite`, with other draws: the package's own, by the seeds 0 to ``n_samples`` - 1. The
    sources are the features, sentences unless a ``feature_mask`` or a template says otherwise. What is left of a prompt
    without some of them is the other tokens, and not what its text is then cut into; where none is left, the last one.
    No chat template is put around it. Explains the answer as a whole, so a result has no `token_attr`. The package
    fetches a tokenizer of sentences when it is imported, where it can, which is not used here, shows a bar of its
    progress, and on a GPU runs the model in half precision.

    Args:
        forward_func: a causal language model of Hugging Face transformers.

    Raises:
        ImportError: when it attributes, without context-cite.
    """

    package: ClassVar[Package] = Package("ContextCite", "context_cite", "context-cite")
    explains_each_token: ClassVar[bool] = False
    reads_last_output: ClassVar[bool] = True
    sources: str = "sentence"

    def _scores(self, task: Task, options: ContextCitePackageOptions) -> OutputAttributions:
        context_cite = self.package.imported()
        ids, outputs = task.input_ids.tolist(), task.outputs.tolist()
        words = Words(ids + outputs, self._lm.vocab_size)
        words.tokenizer.chat_template = _NO_TEMPLATE
        model = twin(self.model)
        read: list[int] = []

        def generate(prompt: Tensor, **options: Any) -> Tensor:
            read.extend(prompt[0].tolist())
            return torch.cat([prompt, task.outputs[None].to(prompt.device)], 1)

        model.generate = generate  # the package explains what the model generates
        sources = _Sources(words, ids, task.features)
        # its loader of data draws from torch's global state, and does nothing with it
        with self.package.at_work(self.model), torch.random.fork_rng(devices=[]):
            citer = context_cite.ContextCiter(
                model,
                words.tokenizer,
                sources.context,
                query="",
                num_ablations=options.n_samples,
                prompt_template="{context}",
                partitioner=sources,
            )
            answer = citer.response
            weights = torch.as_tensor(citer.get_attributions(verbose=False))
        self.package.check_read([*read, *map(int, answer.split())], ids + outputs)
        return OutputAttributions(weights[None].to(task.input_ids.device, torch.float32), self._log_probs(task))


class _Sources:
    """What the package calls a partitioner: features of a prompt, as its sources."""

    def __init__(self, words: Words, ids: list[int], features: Features) -> None:
        self._words, self._ids, self._features = words, ids, features
        self.context = words.text(ids)
        self.num_sources = len(features)

    @property
    def sources(self) -> list[str]:
        return [self.get_source(i) for i in range(self.num_sources)]

    def get_source(self, index: int) -> str:
        return self._words.text([self._ids[i] for i in self._features.groups[index]])

    def get_context(self, mask: Any = None) -> str:
        """The text without the sources for which a mask (F,) is false."""
        kept = [True] * self.num_sources if mask is None else mask
        left_out = {i for group, keep in zip(self._features.groups, kept, strict=True) if not keep for i in group}
        stays = [token for i, token in enumerate(self._ids) if i not in left_out]
        return self._words.text(stays or self._ids[-1:])  # a model predicts after something
