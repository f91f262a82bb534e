"""Where a person enters what is explained: a text, a chat or documents, a tab each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from captum_heta.app.explainer import MOST_OUTPUTS
from captum_heta.app.fields import DOCUMENTS, KINDS, MESSAGES, default_name, default_role
from captum_heta.app.filling import FIRST
from captum_heta.app.prompts import ROLES

_NO_TEMPLATE = (
    "This model has no chat template: the messages are written one under the other, without their roles, and "
    "`Answer:` below them."
)


@dataclass(frozen=True)
class Rows:
    """Messages or documents, of which some are shown.

    Attributes:
        fields: two of each, in order.
        rows: one each.
        count: how many are shown.
        more: shows one more.
    """

    fields: list[Any]
    rows: list[gr.Row]
    count: gr.State
    more: gr.Button

    @property
    def shown(self) -> list[Any]:
        """What says which there are."""
        return [self.count, *self.rows, self.more]


@dataclass(frozen=True)
class Entry:
    """The components of a prompt."""

    example: gr.Dropdown
    kind: gr.State
    tabs: gr.Tabs
    tab: dict[str, gr.Tab]
    text: gr.Textbox
    messages: Rows
    documents: Rows
    question: gr.Textbox
    longest: gr.Slider
    predict: gr.Button

    @property
    def fields(self) -> list[Any]:
        """Those that `captum_heta.app.fields` has."""
        return [self.text, *self.messages.fields, *self.documents.fields, self.question]

    @property
    def filled(self) -> list[Any]:
        """What an example changes."""
        return [self.kind, self.tabs, *self.fields, *self.messages.shown, *self.documents.shown]


def entry(examples: Sequence[str], prompt: str, has_template: bool) -> Entry:
    """The components, made within a page.

    Args:
        examples: their names.
        prompt: the text that is there at the start.
        has_template: whether the model has a chat template.
    """
    example = gr.Dropdown(list(examples), value=examples[0], label="Example", elem_id="example")
    with gr.Tabs(selected=KINDS[0], elem_id="kinds") as tabs:
        tab = {one: gr.Tab(one.capitalize(), id=one) for one in KINDS}
        with tab["text"]:
            text = gr.Textbox(prompt, label="Prompt", lines=12, max_lines=20, elem_id="prompt")
        with tab["chat"]:
            if not has_template:
                gr.Markdown(_NO_TEMPLATE)
            messages = _messages()
        with tab["documents"]:
            documents = _documents()
            question = gr.Textbox(label="Question", lines=2, elem_id="question")
    longest = gr.Slider(1, MOST_OUTPUTS, value=20, step=1, label="Tokens of the answer, at most", elem_id="longest")
    predict = gr.Button("Answer", elem_id="predict")
    kind = gr.State(KINDS[0])
    return Entry(example, kind, tabs, tab, text, messages, documents, question, longest, predict)


def _messages() -> Rows:
    fields: list[Any] = []
    rows = []
    for number in range(1, MESSAGES + 1):
        with gr.Row(visible=number <= FIRST["messages"]) as row:
            role, title = default_role(number - 1), f"Role of message {number}"
            fields.append(gr.Dropdown(list(ROLES), value=role, label=title, scale=1, min_width=110))
            fields.append(_text(f"Message {number}"))
        rows.append(row)
    return Rows(fields, rows, gr.State(FIRST["messages"]), gr.Button("Add a message", size="sm", elem_id="add-message"))


def _documents() -> Rows:
    fields: list[Any] = []
    rows = []
    for number in range(1, DOCUMENTS + 1):
        with gr.Row(visible=number <= FIRST["documents"]) as row:
            title = f"Name of document {number}"
            fields.append(gr.Textbox(default_name(number), label=title, max_lines=1, scale=1, min_width=110))
            fields.append(_text(f"Document {number}"))
        rows.append(row)
    more = gr.Button("Add a document", size="sm", elem_id="add-document")
    return Rows(fields, rows, gr.State(FIRST["documents"]), more)


def _text(label: str) -> gr.Textbox:
    elem_id = label.lower().replace(" ", "-")
    return gr.Textbox(label=label, lines=2, max_lines=8, scale=4, min_width=240, elem_id=elem_id)
