"""A trace of reasoning as JSON, and back."""

from typing import Any

from captum_heta.attr.hops import Hop
from captum_heta.attr.reasoning import ReasoningTrace
from captum_heta.stored import an_object, check_format, field, listed, need, numbers, places, text

_FORMAT = 1


def to_record(trace: ReasoningTrace) -> dict[str, Any]:
    """All of a trace."""
    return {
        "format": _FORMAT,
        "kind": "reasoning",
        "method": trace.method,
        "prompt": trace.prompt,
        "places": trace.places,
        "output": trace.output,
        "reasoning_places": [[place] for place in trace.reasoning_places],
        "answer_place": trace.answer_place,
        "of_sentences": trace.of_sentences,
        "hops": [{name: listed(name, values) for name, values in hop._asdict().items()} for hop in trace.hops],
        "provenance": dict(trace.provenance),
    }


def from_record(found: Any) -> ReasoningTrace:
    """The trace that `to_record` wrote; ValueError for another content."""
    check_format(found, _FORMAT)
    need(found.get("kind") == "reasoning", "kind", "'reasoning'", found.get("kind"))
    prompt, output = text(found, "prompt"), text(found, "output")
    entries = {name: field(found, name) for name in ("places", "reasoning_places", "hops", "of_sentences")}
    for name in ("places", "reasoning_places", "hops"):
        need(isinstance(entries[name], list) and bool(entries[name]), name, "a list that is not empty", entries[name])
    need(isinstance(entries["of_sentences"], bool), "of_sentences", "true or false", entries["of_sentences"])
    of_prompt = places(entries["places"], len(entries["places"]), len(prompt))
    of_output = places(entries["reasoning_places"], len(entries["reasoning_places"]), len(output))
    need(all(len(spans) == 1 for spans in of_output), "reasoning_places", "one place each", entries["reasoning_places"])
    ((answer,),) = places([[field(found, "answer_place")]], 1, len(output))
    return ReasoningTrace(
        method=text(found, "method"),
        prompt=prompt,
        places=of_prompt,
        output=output,
        reasoning_places=[spans[0] for spans in of_output],
        answer_place=answer,
        of_sentences=entries["of_sentences"],
        hops=[_hop(i, hop, len(of_prompt), len(of_output)) for i, hop in enumerate(entries["hops"])],
        provenance=an_object(found, "provenance"),
    )


def _hop(number: int, found: Any, prompt: int, reasoning: int) -> Hop:
    where = f"hops[{number}]"
    need(isinstance(found, dict), where, "an object", found)
    weights = field(found, "weights", where)
    need(isinstance(weights, list), f"weights in {where}", "a list of numbers", weights)
    counts = {"weights": len(weights), "prompt": prompt, "reasoning": reasoning}
    parts = [numbers(f"{name} in {where}", field(found, name, where), count) for name, count in counts.items()]
    return Hop(*(part.double() for part in parts))
