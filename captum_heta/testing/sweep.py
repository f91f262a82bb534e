"""``python -m captum_heta.testing.sweep``: how HETA does on every model type of the installed transformers.

A tiny model of each is explained and compared with a reference that shares no code with the package: whole passes by
token ids, without a cache, in which the embeddings are replaced from outside.
"""

import argparse
import contextlib
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from captum_heta.attr import HETA, TDD, NormXLogit, ReAGent
from captum_heta.terms.curvature.estimators import draw_probes
from captum_heta.testing.every_model import KINDS, NotBuiltError, every_model

RIGHT, APPROXIMATE, REFUSED, WRONG, CRASH, NOT_BUILT = (
    "right", "approximate gate", "refused", "WRONG", "CRASH", "not built",
)  # fmt: skip
LENGTH, SAMPLES, TARGET, BASELINE = 9, 2, 7, 5
# Of float32 rounding in whole passes and in second derivatives of some depth; faults were 0.03 and more.
TOLERANCE = 5e-3


class Row(NamedTuple):
    """How one model type does.

    Attributes:
        kind: "causal" or "vision".
        model_type: its name in transformers.
        result: one of the six above.
        note: why.
        others: how the methods that need no attention do.
        seconds: of all of it.
    """

    kind: str
    model_type: str
    result: str
    note: str
    others: str
    seconds: float


def sweep(kinds: Sequence[str], only: Sequence[str] = ()) -> Iterator[Row]:
    """A row for each model type, as they are done."""
    for kind in kinds:
        for model_type in KINDS[kind]:
            if not only or model_type in only:
                start = time.perf_counter()
                row = swept(kind, model_type)
                yield row._replace(seconds=time.perf_counter() - start)


def swept(kind: str, model_type: str) -> Row:
    """The row of one model type."""
    try:
        model, plain = every_model(kind, model_type), every_model(kind, model_type)
    except NotBuiltError as error:
        return Row(kind, model_type, NOT_BUILT, _line(error), "", 0.0)
    with contextlib.suppress(Exception), torch.no_grad():
        model(input_ids=_ids()[None])  # some change themselves when they see how short a text is (BigBird)
    before = _state(model)
    result, note = _heta(model, plain)
    others = _others(model)
    if _state(model) != before:
        result, note = CRASH, "the model is left changed"
    return Row(kind, model_type, result, note, others, 0.0)


def _heta(model: Any, plain: Any) -> tuple[str, str]:
    ids = _ids()
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            _, terms = HETA(model).attribute(
                ids[None], target=TARGET, baselines=BASELINE, curvature="exact", n_samples=SAMPLES, return_terms=True
            )
            for mode in ("fisher", "low_rank"):
                HETA(model).attribute(ids[None], target=TARGET, baselines=BASELINE, curvature=mode, rank=2)
    except (TypeError, ValueError) as error:
        return REFUSED, _line(error)
    except Exception as error:
        return CRASH, _line(error)
    deprecated = [str(one.message) for one in told if issubclass(one.category, FutureWarning | DeprecationWarning)]
    if deprecated:
        return CRASH, f"it warns: {deprecated[0]}"
    for name, found, expected in (
        ("information", terms.information[0], information(plain, ids)),
        ("curvature", terms.curvature[0], curvature(plain, ids)),
    ):
        off = ((found - expected).abs().max() / expected.abs().max()).item()
        if not off < TOLERANCE:
            return WRONG, f"{name} is off by {off:.2g} of its largest"
    gate = [str(one.message) for one in told if "approximation" in str(one.message)]
    return (APPROXIMATE, gate[0]) if gate else (RIGHT, "")


def _others(model: Any) -> str:
    """Whether other methods give numbers, and the model's own probability."""
    ids, found = _ids(), []
    for method in (NormXLogit, TDD, ReAGent):
        options: dict[str, Any] = {"n_probes": 1, "max_steps": 2} if method is ReAGent else {}
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scores = method(model).attribute(ids[None], target=TARGET, **options)
            if not torch.isfinite(scores).all():
                found.append(f"{method.__name__} {WRONG}")
        except (TypeError, ValueError):
            found.append(f"{method.__name__} {REFUSED}")
        except Exception as error:
            found.append(f"{method.__name__} {CRASH} {_line(error)}")
    return ", ".join(found) or "right"


def predicted(model: Any, ids: Tensor, embeds: Tensor | None = None) -> Tensor:
    """Log-probabilities (V,) after token ids (n,), by a whole pass; ``embeds`` (n, d) in place of their embeddings."""
    handles = []
    if embeds is not None:
        table = model.get_input_embeddings()
        handles = [table.register_forward_hook(lambda module, given, output: embeds[None].to(output.dtype).clone())]
    try:
        return model(input_ids=ids[None], use_cache=False).logits[0, -1].float().log_softmax(-1)
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def information(model: Any, ids: Tensor) -> Tensor:
    """KL divergences (n,) when each token is another one."""
    original, lost = predicted(model, ids), []
    for i in range(len(ids)):
        other = ids.clone()
        other[i] = BASELINE
        lost.append((original.exp() * (original - predicted(model, other))).sum())
    return torch.stack(lost)


def curvature(model: Any, ids: Tensor) -> Tensor:
    """S (n,), a graph of the whole pass for each token and probe."""
    _eager(model)
    with torch.no_grad():
        embeds = model.get_input_embeddings()(ids)
    generator = torch.Generator(device="cpu").manual_seed(0)
    probes = draw_probes([[i] for i in range(len(ids))], SAMPLES, embeds, generator)
    x = embeds.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(predicted(model, ids, x)[TARGET], x, create_graph=True)
    norms = torch.zeros(len(ids))
    for i in range(len(ids)):
        for r in probes:
            (product,) = torch.autograd.grad(gradient[i], x, r[i], retain_graph=True)
            norms[i] += product[i].abs().sum().item() / SAMPLES
    return norms


def _eager(model: Any) -> None:
    with contextlib.suppress(ValueError, AttributeError):  # classes with code of their own have no other
        model.set_attn_implementation("eager")
    with contextlib.suppress(ValueError, AttributeError):
        model.set_experts_implementation("eager")


def _ids() -> Tensor:
    # the first and the last ids stand for padding, pictures and the like
    return 40 + torch.randperm(40, generator=torch.Generator(device="cpu").manual_seed(3))[:LENGTH]


def _state(model: Any) -> tuple[Any, ...]:
    configs = [module.config for module in model.modules() if hasattr(module, "config")]
    return (
        [getattr(config, "_attn_implementation", None) for config in configs],
        [getattr(config, "_experts_implementation", None) for config in configs],
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()),
    )


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def summary(rows: Sequence[Row]) -> str:
    """How many of each result, by kind."""
    counts = Counter((row.kind, row.result) for row in rows)
    return "\n".join(
        f"{kind}: " + ", ".join(f"{result} {counts[kind, result]}" for _, result in sorted(counts) if _ == kind)
        for kind in dict.fromkeys(row.kind for row in rows)
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=[*KINDS, "all"], default="all")
    parser.add_argument("types", nargs="*", help="model types; all if left out")
    given = parser.parse_args()
    rows = []
    print("| kind | model type | HETA | why | other methods | seconds |\n|---|---|---|---|---|---|", flush=True)
    for row in sweep(list(KINDS) if given.kind == "all" else [given.kind], given.types):
        rows.append(row)
        note = row.note.replace("|", "\\|")[:200]
        print(
            f"| {row.kind} | {row.model_type} | {row.result} | {note} | {row.others} | {row.seconds:.1f} |", flush=True
        )
    print(f"\n{summary(rows)}")


if __name__ == "__main__":
    main()
