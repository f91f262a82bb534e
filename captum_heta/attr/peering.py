"""Hidden states of the answer against those of the context (Phukan et al., ACL Findings 2024, arXiv 2405.17980)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from captum_heta.attr.base import OutputAttributions, Task, TokenAttribution
from captum_heta.options import Options


@dataclass(frozen=True, kw_only=True)
class PeeringOptions(Options):
    """Those of `Peering`.

    Attributes:
        layer: compare the states after so many layers, 0 for what enters the first; None for half of them.
    """

    layer: int | None = None


class Peering(TokenAttribution[PeeringOptions]):
    """The cosine of an output token's hidden state and each prompt token's, in [-1, 1].

    Text that a model copies has hidden states like those of its source. The output token is read at its own position,
    after the prompt, in one pass. The paper looks for copied spans with this: it keeps the answer tokens with a high
    cosine, takes the context token most like each as its anchor, and searches around that. What is implemented is the
    similarity itself; a feature has the mean over its tokens, as the paper averages over a span. The paper chooses the
    layer on labelled data and finds middle layers best: the middle one is the default here.

    Args:
        forward_func: a causal language model of Hugging Face transformers.
    """

    reads_last_output: ClassVar[bool] = True

    def _scores(self, task: Task, options: PeeringOptions) -> OutputAttributions:
        lm, n, count = self._lm, len(task.input_ids), len(task.outputs)
        depth = lm.n_layers // 2 if options.layer is None else options.layer
        lm.check_depth(depth)
        ids = torch.cat([task.input_ids, task.outputs])
        log_probs = lm.log_probs_of(task.outputs, [task.input_ids])[0]
        cosines = []
        for some in lm.alike(n + 1, count):
            states = torch.nn.functional.normalize(lm.states(ids[: n + some.stop], depth).float(), dim=-1)
            cosines.append(states[n + some.start :] @ states[:n].T)
        return OutputAttributions(task.features.mean(torch.cat(cosines)), log_probs)
