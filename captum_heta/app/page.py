"""The page in Gradio: text and choices above, the explanation below."""

from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from starlette.middleware import Middleware

from captum_heta.app.explainer import OWN, Explainer
from captum_heta.app.gate import MOST, Gate
from captum_heta.app.handlers import NONE, Handlers, forget
from captum_heta.app.results import HINT, STYLE
from captum_heta.app.runs import Runs
from captum_heta.methods import METHODS
from captum_heta.options import CURVATURE_MODES

_HOUR = 3600  # seconds
_STYLE = "#head h1 { font-size: 1.5rem; margin: 0; } #head p { margin: 0; overflow-wrap: anywhere; }" + STYLE

# What stands behind the names of two methods that are easily taken for each other.
_WHOSE = {"targeted": " (ours)", "heta": " (the paper's)"}

# One run of the model at a time, whoever asks; no interface for programs, and progress is shown in one place.
_MODEL: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
_AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

# Nothing but the page: no tunnel to the world, no counting, no texts kept in the browser.
_LAUNCH: dict[str, Any] = {
    "prevent_thread_lock": True,
    "quiet": True,
    "share": False,
    "show_error": False,
    "ssr_mode": False,
    "mcp_server": False,
    "run_history": False,
    "enable_monitoring": False,
    "footer_links": [],
    "max_file_size": MOST,
}


class _Parts(NamedTuple):
    """The components with which a person acts, or that change."""

    text: gr.Textbox
    predict: gr.Button
    token: gr.Radio
    step: gr.Radio
    typed: gr.Textbox
    contrast: gr.Textbox
    method: gr.Dropdown
    beside: gr.Dropdown
    curvature: gr.Dropdown
    explain: gr.Button
    stop: gr.Button
    shown: gr.HTML
    files: list[gr.DownloadButton]


def build(explainer: Explainer, folder: Path, prompt: str, name: str) -> gr.Blocks:
    """The page, for `serve`.

    Args:
        explainer: the model.
        folder: a temporary one, for the files that are downloaded.
        prompt: the text that is there at the start.
        name: of the model.
    """
    # A copy of a file that Gradio made for a download is deleted after an hour, and when the page ends.
    with gr.Blocks(title="captum_heta", analytics_enabled=False, delete_cache=(_HOUR, _HOUR)) as page:
        parts = _layout(prompt, name)
        _connect(page, parts, Handlers(explainer, folder))
    return page.queue()


def serve(page: gr.Blocks, host: str, port: int | None, runs: Runs) -> str:
    """Start to serve the page and return its address; nothing of it is loaded from, or sent to, anywhere else.

    Args:
        page: from `build`.
        host: the address to listen at.
        port: None for the first free one from 7860 on.
        runs: of the model; those of a page that was closed are stopped.

    Raises:
        OSError: if the port is not free.
    """
    gate = {"middleware": [Middleware(Gate, host=host, runs=runs)]}
    try:
        _, address, _ = page.launch(
            server_name=host, server_port=port, theme=_theme(), css=_STYLE, app_kwargs=gate, **_LAUNCH
        )
    except OSError as error:
        where = "7860 to 7959" if port is None else port
        raise OSError(f"Cannot listen at {host}, port {where}: pass another --host or --port.") from error
    return address


def _theme() -> gr.themes.Base:
    """With the fonts of the reader's machine, and a green that white letters are read on."""
    fonts, monospace = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    theme = gr.themes.Base(primary_hue="green", font=fonts, font_mono=monospace)
    dark, darker = "*primary_700", "*primary_800"
    return theme.set(
        button_primary_background_fill=dark,
        button_primary_background_fill_dark=dark,
        button_primary_background_fill_hover=darker,
        button_primary_background_fill_hover_dark=darker,
    )


def _layout(prompt: str, name: str) -> _Parts:
    gr.HTML(f"<h1>Which tokens does a prediction come from?</h1><p>Model: {escape(name)}</p>", elem_id="head")
    with gr.Row():
        with gr.Column(min_width=300):
            text = gr.Textbox(prompt, label="Prompt", lines=12, max_lines=20, elem_id="prompt")
            predict = gr.Button("Predict the next tokens", elem_id="predict")
        with gr.Column(min_width=300):
            token = gr.Radio([], label="Explain a likely next token", elem_id="token")
            step = gr.Radio([], label="or a token of the model's continuation", elem_id="step")
            typed = gr.Textbox(label="or what you type (Enter explains it)", max_lines=1, elem_id="typed")
            contrast = gr.Textbox(label="and not (another output, or nothing)", max_lines=1, elem_id="contrast")
    named = [(f"{method.title}{_WHOSE.get(name, '')}", name) for name, method in METHODS.items()]
    with gr.Row(equal_height=True):
        method = gr.Dropdown(named, value="targeted", label="Method", min_width=180, elem_id="method")
        beside = gr.Dropdown([("none", NONE), *named], value="heta", label="Beside it", min_width=180, elem_id="beside")
        curvature = gr.Dropdown(
            [OWN, *CURVATURE_MODES], value=OWN, label="Curvature", min_width=180, elem_id="curvature"
        )
    with gr.Row():
        explain = gr.Button("Explain", variant="primary", scale=5, min_width=180, elem_id="explain")
        stop = gr.Button("Stop", scale=1, min_width=90, elem_id="stop")
    shown = gr.HTML(HINT, elem_id="results", min_height=80)
    with gr.Row():
        files = [
            gr.DownloadButton(f"Download as {kind}", visible=False, size="sm", elem_id=kind.lower())
            for kind in ("HTML", "JSON")
        ]
    return _Parts(text, predict, token, step, typed, contrast, method, beside, curvature, explain, stop, shown, files)


def _connect(page: gr.Blocks, parts: _Parts, do: Handlers) -> None:
    choices, session = gr.State(), gr.State(delete_callback=forget)
    text, token, step, typed = parts.text, parts.token, parts.step, parts.typed
    predicted = [choices, token, step, parts.shown]
    running: list[Any] = [
        event(do.predict, text, predicted, show_progress_on=[token], **_MODEL)
        for event in (page.load, parts.predict.click, text.submit)
    ]

    # A choice by one of the three ways undoes those by the others, in the browser.
    token.input(None, None, [step, typed], js="() => [null, '']", **_AT_ONCE)
    step.input(None, None, [token, typed], js="() => [null, '']", **_AT_ONCE)
    typed.input(None, None, [token, step], js="() => [null, null]", **_AT_ONCE)
    # What was predicted after another prompt is nothing to choose from.
    text.change(do.clear, None, [choices, token, step], **_AT_ONCE)

    settings = [choices, parts.method, parts.beside, parts.curvature, parts.contrast, session]
    explained = [parts.shown, *parts.files, session]
    once: dict[str, Any] = {"show_progress_on": [parts.shown], **_MODEL}
    running += [
        parts.explain.click(do.explain, [text, typed, token, step, *settings], explained, **once),
        token.input(do.explain_token, [text, token, *settings], explained, **once),
        step.input(do.explain_step, [text, step, *settings], explained, **once),
        typed.submit(do.explain_typed, [text, typed, *settings], explained, **once),
        parts.contrast.submit(do.explain, [text, typed, token, step, *settings], explained, **once),
    ]
    # Gradio takes out of the queue what waits there, and no longer waits for what runs, which the handler ends.
    parts.stop.click(do.stop, None, parts.shown, cancels=running, **_AT_ONCE)

    # The other methods have no curvature.
    for chosen in (parts.method, parts.beside):
        chosen.change(do.has_curvature, [parts.method, parts.beside], parts.curvature, **_AT_ONCE)
