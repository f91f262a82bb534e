"""Stand-ins for other packages, and what a model is in all that a package could change."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

_HOOKS = [name for name in vars(torch.nn.Module()) if name.endswith("_hooks")]


def _state_of(model):
    modules = dict(model.named_modules())
    return {
        "modules": {name: (type(module), id(module), sorted(vars(module))) for name, module in modules.items()},
        "training": {name: module.training for name, module in modules.items()},
        "hooks": {name: [list(getattr(module, kind)) for kind in _HOOKS] for name, module in modules.items()},
        "parameters": {
            name: (id(p), p.data_ptr(), p.shape, p.dtype, p.device, p.requires_grad)
            for name, p in model.named_parameters(remove_duplicate=False)
        },
        "gradients": {name: None if p.grad is None else p.grad.tolist() for name, p in model.named_parameters()},
        "values": {name: value.double().sum().item() for name, value in model.state_dict().items()},
        "buffers": {name: (value.data_ptr(), value.tolist()) for name, value in model.named_buffers()},
        "config": model.config.to_dict(),
        "attention": model.config._attn_implementation,
        "generation": model.generation_config.to_dict(),
    }


@pytest.fixture
def state_of():
    """From a model to all of it that a package could change."""
    return _state_of


class _Inseq:
    """Scores of a token: its number, and 100 times the output's place."""

    def __init__(self, model, method, tokenizer, device):
        self.model, self.tokenizer = model, tokenizer
        assert (method, device) == ("saliency", "cpu")

    def attribute(self, text, whole, show_progress, step_scores):
        assert (show_progress, step_scores) == (False, [])
        assert torch.is_grad_enabled()
        ids = self.tokenizer(whole)["input_ids"]
        first = len(self.tokenizer(text)["input_ids"])
        scores = torch.tensor([[float(token + 100 * k) for k in range(len(ids) - first)] for token in ids])
        sequence = SimpleNamespace(target=[SimpleNamespace(id=token) for token in ids], target_attributions=scores)
        return SimpleNamespace(aggregate=lambda: SimpleNamespace(sequence_attributions=[sequence]))


def _inseq():
    return {"load_model": _Inseq}


class _Explainer:
    def __init__(self, model, tokenizer, granularity, device):
        assert (granularity, str(device)) == ("all tokens", "cpu")
        self.model, self.tokenizer = model, tokenizer

    def __call__(self, text, target):
        prompt, outputs = (self.tokenizer(part)["input_ids"] for part in (text, target))
        scores = torch.tensor([[float(token + 100 * k) for token in prompt + outputs] for k in range(len(outputs))])
        scores += 0 if type(self).__name__ == "Occlusion" else torch.rand(()).item()
        read = {"input_ids": torch.tensor([prompt + outputs])}
        return [SimpleNamespace(attributions=scores, model_inputs_to_explain=read)]


def _interpreto():
    kinds = ("Saliency", "IntegratedGradients", "SmoothGrad", "Occlusion", "Lime", "KernelShap")
    classes = {kind: type(kind, (_Explainer,), {}) for kind in kinds}
    return {"Granularity": SimpleNamespace(ALL_TOKENS="all tokens")} | classes


class _FlashTrace:
    """Scores of a token: its number, and 100 times how many tokens were behind the prompt."""

    def __init__(self, model, tokenizer):
        assert model.config._attn_implementation == "eager"
        self.tokenizer = tokenizer

    def trace(self, prompt, target, **options):
        assert not options
        ids, outputs = (self.tokenizer(text, return_tensors="pt").input_ids[0].tolist() for text in (prompt, target))
        parts = {name: self.tokenizer(text) for name, text in (("prompt", prompt), ("target", target))}
        pieces = {
            name: [text[start:end] for start, end in parts[name]["offset_mapping"]]
            for name, text in (("prompt", prompt), ("target", target))
        }
        silent = all(piece.strip() in ("", ".", ",") for piece in pieces["target"])
        return SimpleNamespace(
            prompt_tokens=pieces["prompt"],
            generation_tokens=pieces["target"],
            scores=[0.0 if silent else float(token + 100 * len(outputs)) for token in ids],
            metadata={"ifr": {} if silent else {"observation_projected": {}}},
        )


def _flashtrace():
    return {"FlashTrace": _FlashTrace}


class _Citer:
    """A source's weight is how many tokens a prompt loses with it."""

    def __init__(self, model, tokenizer, context, query, num_ablations, prompt_template, partitioner):
        assert partitioner.context == context
        assert partitioner.sources[0] == partitioner.get_source(0)
        self.model, self.tokenizer, self.partitioner, self.draws = model, tokenizer, partitioner, num_ablations
        self.template = prompt_template

    def _ids(self, mask=None):
        text = self.template.format(context=self.partitioner.get_context(mask), query="")
        chat = self.tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
        return self.tokenizer.encode(chat, add_special_tokens=False)

    @property
    def response(self):
        ids = self._ids()
        found = self.model.generate(torch.tensor([ids]), max_new_tokens=512)[0].tolist()
        return self.tokenizer.decode(found[len(ids) :])

    def get_attributions(self, verbose):
        assert not verbose
        count = self.partitioner.num_sources
        masks = ~np.eye(count, dtype=bool)
        return np.array([len(self._ids()) - len(self._ids(mask)) + self.draws / 1000 for mask in masks])


def _context_cite():
    return {"ContextCiter": _Citer}


class _Text:
    def __init__(self, tokenizer, mask_token, output_type):
        assert (mask_token, output_type) == ("...", "token_ids")
        self.tokenizer = tokenizer
        assert tokenizer.sep_token is tokenizer.mask_token is None
        self.first = len(tokenizer("")["input_ids"])
        if self.first:
            assert tokenizer.decode(tokenizer("")["input_ids"]) == tokenizer.special_tokens_map["bos_token"]
        self.mask_token_id = tokenizer(mask_token)["input_ids"][self.first]


class _Shap:
    """What the log-odds lose with each token masked."""

    def __init__(self, value, masker, algorithm):
        assert algorithm == "partition"
        self.value, self.masker = value, masker

    def __call__(self, texts, max_evals, batch_size, silent):
        assert silent
        assert max_evals >= 2
        ids = self.masker.tokenizer(texts[0])["input_ids"]
        rows = np.array([ids] * (len(ids) + 1))
        for place in range(self.masker.first, len(ids)):
            rows[place, place] = self.masker.mask_token_id
        found = self.value(rows)
        return SimpleNamespace(values=[found[-1] - found[:-1]])


def _shap():
    return {"maskers": SimpleNamespace(Text=_Text), "Explainer": _Shap}


_STUBS = {
    "inseq": _inseq,
    "interpreto": _interpreto,
    "flashtrace": _flashtrace,
    "context_cite": _context_cite,
    "shap": _shap,
}


@pytest.fixture
def stub(monkeypatch):
    """Puts a stand-in in the place of a package, some of its names replaced."""

    def place(name, **changes):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        for key, value in (_STUBS[name]() | changes).items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return place


@pytest.fixture
def stubs(stub):
    """All of them."""
    for name in _STUBS:
        stub(name)
