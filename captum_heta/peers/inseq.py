"""Inseq's saliency (Sarti et al., ACL 2023, arXiv 2302.13942)."""

from typing import ClassVar

import torch
from torch import Tensor

from captum_heta.attr.task import Task
from captum_heta.models.twin import twin
from captum_heta.options import Options
from captum_heta.peers.base import TokenPeer
from captum_heta.peers.package import Package
from captum_heta.peers.words import Words


class InseqSaliency(TokenPeer[Options]):
    """The size of the gradient of an output's probability with respect to each token's embedding, by Inseq.

    As ``inseq.load_model(model, "saliency")`` and ``aggregate()`` give it with their defaults: the 2-norm, over the sum
    for all tokens before the output. Inseq puts a padding token into a model's configuration, switches it to eval mode
    and drops its parameters' gradients: it gets a copy.

    Args:
        forward_func: a causal language model of Hugging Face transformers.

    Raises:
        ImportError: when it attributes, without Inseq.
    """

    package: ClassVar[Package] = Package("Inseq", "inseq", "inseq")

    def _token_scores(self, task: Task, options: Options) -> Tensor:
        inseq = self.package.imported()
        ids, outputs = task.input_ids.tolist(), task.outputs.tolist()
        words = Words(ids + outputs, self._lm.vocab_size)
        model = twin(self.model)
        # Inseq drops the first of two tokens that begin a text, and asks for the word of each of these
        model.config.bos_token_id = model.config.eos_token_id = words.padding
        # gradients, whatever the caller's mode is
        with self.package.at_work(self.model), torch.inference_mode(False), torch.enable_grad():
            wrapped = inseq.load_model(model, "saliency", tokenizer=words.tokenizer, device=task.input_ids.device.type)
            found = wrapped.attribute(words.text(ids), words.text(ids + outputs), show_progress=False, step_scores=[])
            sequence = found.aggregate().sequence_attributions[0]
            read = [token.id for token in sequence.target]
            scores = torch.as_tensor(sequence.target_attributions)
        self.package.check_read(read, ids + outputs)
        return scores[: len(ids)].T.to(task.input_ids.device, torch.float32)
