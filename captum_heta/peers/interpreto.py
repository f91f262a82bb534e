"""Interpreto's attribution methods (Poché et al., arXiv 2512.09730)."""

from contextlib import ExitStack
from typing import ClassVar

import torch
from torch import Tensor

from captum_heta.attr.task import Task
from captum_heta.models.twin import twin
from captum_heta.options import DrawOptions, Options
from captum_heta.peers.base import OptionsT, TokenPeer
from captum_heta.peers.package import Package
from captum_heta.peers.words import Words


class Interpreto(TokenPeer[OptionsT]):
    """A method of Interpreto, with its defaults, for each token: what an output's logit has of it.

    Interpreto adds a token to a model's vocabulary, with which it replaces others, and a padding token to its
    configuration, and moves it to a GPU where there is one: it gets a copy.

    Args:
        forward_func: a causal language model of Hugging Face transformers, of a class whose name ends with ForCausalLM
            or LMHeadModel.

    Attributes:
        kind: its name in Interpreto.

    Raises:
        ImportError: when it attributes, without Interpreto.
    """

    package: ClassVar[Package] = Package("Interpreto", "interpreto", "interpreto")
    reads_last_output: ClassVar[bool] = True
    kind: ClassVar[str]

    def _token_scores(self, task: Task, options: OptionsT) -> Tensor:
        interpreto = self.package.imported()
        ids, outputs, device = task.input_ids.tolist(), task.outputs.tolist(), task.input_ids.device
        # the rows of its embeddings, which it counts as tokens
        rows = self.model.get_input_embeddings().weight.shape[0]
        words = Words(ids + outputs, rows, whole=True)
        with ExitStack() as stack:
            stack.enter_context(self.package.at_work(self.model))
            # not `seeded`, whose lock is never taken after the model's
            stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
            torch.manual_seed(getattr(options, "seed", 0))
            # gradients, whatever the caller's mode is
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            method = getattr(interpreto, self.kind)(
                twin(self.model), words.tokenizer, granularity=interpreto.Granularity.ALL_TOKENS, device=device
            )
            trials = range(task.num_trials if self.draws() else 1)
            found = [method(words.text(ids), words.text(outputs))[0] for _ in trials]
            read = found[0].model_inputs_to_explain["input_ids"][0].tolist()
            scores = torch.stack([torch.as_tensor(one.attributions) for one in found]).mean(0)
        self.package.check_read(read, ids + outputs)
        return scores[:, : len(ids)].to(device, torch.float32)


class InterpretoSaliency(Interpreto[Options]):
    """Embedding times gradient, the mean of its sizes over the embedding, by Interpreto."""

    kind = "Saliency"


class InterpretoIntegratedGradients(Interpreto[Options]):
    """Integrated gradients of ten steps, by Interpreto; sizes, as its gradients are."""

    kind = "IntegratedGradients"


class InterpretoOcclusion(Interpreto[Options]):
    """The fall of the logit with a token replaced, by Interpreto."""

    kind = "Occlusion"


class InterpretoLime(Interpreto[DrawOptions]):
    """LIME from a hundred prompts with tokens replaced, by Interpreto."""

    kind = "Lime"


class InterpretoKernelShap(Interpreto[DrawOptions]):
    """Kernel SHAP from a hundred prompts with tokens replaced, by Interpreto."""

    kind = "KernelShap"


class InterpretoSmoothGrad(Interpreto[DrawOptions]):
    """The saliency of ten prompts with noise, their mean, by Interpreto."""

    kind = "SmoothGrad"
