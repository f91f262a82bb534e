"""Permanent links to what is on the page: the text and the choices, in the query of its address."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode, urlsplit

from captum_heta.app.explainer import OWN
from captum_heta.app.fields import KINDS
from captum_heta.app.prompts import ROLES, ChatPrompt, DocumentsPrompt, Prompt, TextPrompt
from captum_heta.methods import check_names
from captum_heta.options import CURVATURE_MODES

NONE = ""  # the second method, where there is none

# Characters of a link; servers and browsers take no more than some ten thousands.
LONGEST = 16_000


@dataclass(frozen=True)
class Shown:
    """What a link carries.

    Attributes:
        prompt: what a person entered.
        target: the output as text, empty for the model's own.
        step: the number of a token of the model's answer, in the place of a target.
        contrast: the text that it is compared with, empty for none.
        method: a name of `captum_heta.methods.METHODS`.
        beside: another one, or `NONE`.
        curvature: a mode, or the methods' own.
    """

    prompt: Prompt
    target: str = ""
    step: int | None = None
    contrast: str = ""
    method: str = "targeted"
    beside: str = "heta"
    curvature: str = OWN


_CHOICES = ("target", "contrast", "method", "beside", "curvature")


def link(address: str, shown: Shown) -> str:
    """The address of the page with ``shown``; what is as at the start is left out.

    Args:
        address: of the page, such as "http://127.0.0.1:7860/".
        shown: what is there.

    Raises:
        ValueError: if it would be longer than `LONGEST`.
    """
    start = Shown(TextPrompt())
    query = _of_prompt(shown.prompt) | {
        name: getattr(shown, name) for name in (*_CHOICES, "step") if getattr(shown, name) != getattr(start, name)
    }
    found = f"{address}?{urlencode(query)}"
    if len(found) > LONGEST:
        raise ValueError(f"The link would have {len(found):,} characters, and may have {LONGEST:,}: shorten the text.")
    return found


def read(query: Mapping[str, str]) -> Shown | None:
    """What the query of a link carries; None for one without a prompt.

    Raises:
        ValueError: for a query that is none of `link`.
    """
    kinds = [kind for kind in KINDS if kind in query]
    if not kinds:
        return None
    if len(kinds) > 1:
        raise ValueError(f"The link has {' and '.join(kinds)}: it carries one of them.")
    choices: dict[str, Any] = {name: query[name] for name in _CHOICES if name in query}
    if "step" in query:
        if not query["step"].isdecimal():
            raise ValueError(f"The link has the token {query['step']!r} of the answer, which is no number.")
        choices["step"] = int(query["step"])
    shown = Shown(_prompt(kinds[0], query), **choices)
    check_names([shown.method, *([shown.beside] if shown.beside != NONE else [])])
    if shown.curvature not in (OWN, *CURVATURE_MODES):
        modes = ", ".join((OWN, *CURVATURE_MODES))
        raise ValueError(f"The link has the curvature {shown.curvature!r}; there are {modes}.")
    return shown


def is_loopback(address: str) -> bool:
    """Whether an address, such as "http://127.0.0.1:7860/", is one that this machine alone reaches."""
    name = urlsplit(address).hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _of_prompt(prompt: Prompt) -> dict[str, str]:
    if isinstance(prompt, TextPrompt):
        return {prompt.kind: prompt.text}
    if isinstance(prompt, ChatPrompt):
        return {prompt.kind: _json(prompt.messages)}
    return {prompt.kind: _json(prompt.documents), "question": prompt.question}


def _prompt(kind: str, query: Mapping[str, str]) -> Prompt:
    if kind == TextPrompt.kind:
        return TextPrompt(query[kind])
    pairs = _pairs(kind, query[kind])
    if kind == DocumentsPrompt.kind:
        return DocumentsPrompt(pairs, query.get("question", ""))
    unknown = [role for role, _ in pairs if role not in ROLES]
    if unknown:
        raise ValueError(f"The link has a message of the role {unknown[0]!r}; there are {', '.join(ROLES)}.")
    return ChatPrompt(pairs)


def _json(pairs: Any) -> str:
    return json.dumps(pairs, ensure_ascii=False, separators=(",", ":"))


def _pairs(kind: str, text: str) -> tuple[tuple[str, str], ...]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"What the link has for {kind} is no JSON: {error}") from error
    pairs = found if isinstance(found, list) else [found]
    if not pairs or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in pairs
    ):
        raise ValueError(f"What the link has for {kind} must be a list of pairs of texts, got {text!r:.80}.")
    return tuple((first, second) for first, second in pairs)
