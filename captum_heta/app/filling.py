"""What fills the page: an example that a person chooses, or the link that it was opened by."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from captum_heta.app.explainer import Choices
from captum_heta.app.fields import DOCUMENTS, MESSAGES, fields_of
from captum_heta.app.links import Shown, is_loopback, read
from captum_heta.app.prompts import ChatPrompt, DocumentsPrompt
from captum_heta.app.results import HINT, message_html

FIRST = {"messages": 2, "documents": 3}  # how many are there at the start


class Filling:
    """The functions behind examples and links.

    Args:
        examples: by their names.
    """

    def __init__(self, examples: Mapping[str, Shown]) -> None:
        self._examples = examples

    def example(self, name: str) -> list[Any]:
        """What `fill` makes of an example."""
        return fill(self._examples[name])

    def opened(self, request: gr.Request) -> list[Any]:
        """What `fill` makes of the link that the page was opened by, or nothing; and what is wrong with the link.

        Links are read where this machine alone reaches the page: elsewhere somebody else might have written them.
        """
        query = dict(request.query_params)
        try:
            if not query or not is_loopback(f"http://{request.headers['host']}/"):
                return [*fill(None), gr.skip()]
            return [*fill(read(query)), gr.skip()]
        except ValueError as error:
            return [*fill(None), message_html(str(error))]

    def chosen(self, request: gr.Request, choices: Choices | None) -> Any:
        """The token of the answer that the link has, once there is an answer."""
        step = dict(request.query_params).get("step", "")
        if choices is None or not step.isdecimal() or int(step) >= len(choices.answer):
            return gr.skip()
        return gr.Radio(value=int(step))


def fill(shown: Shown | None) -> list[Any]:
    """What the components get: kind, tabs, fields, rows of messages and documents, choices, no outputs, a message.

    Args:
        shown: None to leave all as it is.
    """
    if shown is None:
        return [gr.skip()] * COMPONENTS
    fields = [gr.skip() if field is None else field for field in fields_of(shown.prompt)]
    messages = len(shown.prompt.messages) if isinstance(shown.prompt, ChatPrompt) else None
    documents = len(shown.prompt.documents) if isinstance(shown.prompt, DocumentsPrompt) else None
    kind = shown.prompt.kind
    rows = [*rows_shown(messages, MESSAGES), *rows_shown(documents, DOCUMENTS)]
    choices = [shown.target, shown.contrast, shown.method, shown.beside, shown.curvature]
    nothing = [None, gr.Radio(choices=[], value=None), gr.Radio(choices=[], value=None)]
    return [kind, gr.Tabs(selected=kind), *fields, *rows, *choices, *nothing, HINT]


def kind_of_tab(name: str) -> str:
    """The kind of prompt of a tab that a person opens."""
    return name


def rows_shown(count: int | None, most: int) -> list[Any]:
    """How many rows of the page are shown, which they are, and whether there may be one more; None for as before."""
    if count is None:
        return [gr.skip()] * (most + 2)
    return [count, *(gr.Row(visible=number < count) for number in range(most)), gr.Button(visible=count < most)]


def one_more(most: int, count: int) -> list[Any]:
    """As `rows_shown`, of one row more."""
    return rows_shown(min(count + 1, most), most)


# 2 for the tab, the fields, rows with a number and a button each, 5 choices, 3 for outputs, and a message
COMPONENTS = 2 + (2 + 2 * MESSAGES + 2 * DOCUMENTS) + (MESSAGES + 2) + (DOCUMENTS + 2) + 5 + 3 + 1
