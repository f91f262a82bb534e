"""What is where on the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from captum_heta.app.entry import Entry, entry
from captum_heta.app.explainer import OWN
from captum_heta.app.links import NONE
from captum_heta.app.results import HINT, STYLE
from captum_heta.methods import METHODS
from captum_heta.options import CURVATURE_MODES

PAGE_STYLE = (
    "#head h1 { font-size: 1.5rem; margin: 0; } #head p { margin: 0; overflow-wrap: anywhere; }"
    # the answer reads as a text whose tokens are buttons
    "#step .wrap { gap: 4px; } #step label { padding: 2px 6px; }" + STYLE
)

# What stands behind the names of two methods that are easily taken for each other.
_WHOSE = {"targeted": " (ours)", "heta": " (the paper's)"}


@dataclass(frozen=True)
class Parts:
    """The components with which a person acts, or that change."""

    entry: Entry
    step: gr.Radio
    token: gr.Radio
    typed: gr.Textbox
    contrast: gr.Textbox
    method: gr.Dropdown
    beside: gr.Dropdown
    curvature: gr.Dropdown
    explain: gr.Button
    stop: gr.Button
    shown: gr.HTML
    files: list[gr.DownloadButton]
    link: gr.Button
    address: gr.HTML


def layout(examples: Sequence[str], prompt: str, name: str, has_template: bool) -> Parts:
    """All components, made within a page.

    Args:
        examples: their names.
        prompt: the text that is there at the start.
        name: of the model.
        has_template: whether it has a chat template.
    """
    gr.HTML(f"<h1>Which tokens does a prediction come from?</h1><p>Model: {escape(name)}</p>", elem_id="head")
    with gr.Row():
        with gr.Column(min_width=300):
            entered = entry(examples, prompt, has_template)
        with gr.Column(min_width=300):
            step = gr.Radio([], label="The model's answer: explain a token of it", elem_id="step")
            token = gr.Radio([], label="or a likely first token", elem_id="token")
            typed = gr.Textbox(label="or what you type (Enter explains it)", max_lines=1, elem_id="typed")
            contrast = gr.Textbox(label="and why not (another output, or nothing)", max_lines=1, elem_id="contrast")
    method, beside, curvature = _methods()
    with gr.Row():
        explain = gr.Button("Explain", variant="primary", scale=5, min_width=180, elem_id="explain")
        stop = gr.Button("Stop", scale=1, min_width=90, elem_id="stop")
    shown = gr.HTML(HINT, elem_id="results", min_height=80)
    with gr.Row():
        files = [
            gr.DownloadButton(f"Download as {kind}", visible=False, size="sm", elem_id=kind.lower())
            for kind in ("HTML", "JSON")
        ]
        link = gr.Button("Link to this text and these choices", size="sm", elem_id="link")
    address = gr.HTML(elem_id="address")
    outputs = step, token, typed, contrast
    return Parts(entered, *outputs, method, beside, curvature, explain, stop, shown, files, link, address)


def _methods() -> list[Any]:
    """The method, the one beside it, and the curvature of both."""
    named = [(f"{method.title}{_WHOSE.get(name, '')}", name) for name, method in METHODS.items()]
    modes = [OWN, *CURVATURE_MODES]
    with gr.Row(equal_height=True):
        return [
            gr.Dropdown(named, value="targeted", label="Method", min_width=180, elem_id="method"),
            gr.Dropdown([("none", NONE), *named], value="heta", label="Beside it", min_width=180, elem_id="beside"),
            gr.Dropdown(modes, value=OWN, label="Curvature", min_width=180, elem_id="curvature"),
        ]
