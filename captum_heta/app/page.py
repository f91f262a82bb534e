"""The page in Gradio: what its components do."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from captum_heta.app.examples import shown_examples
from captum_heta.app.explainer import Explainer
from captum_heta.app.fields import DOCUMENTS, MESSAGES
from captum_heta.app.filling import Filling, kind_of_tab, one_more
from captum_heta.app.gate import MOST, Gate
from captum_heta.app.handlers import Handlers, forget
from captum_heta.app.layout import PAGE_STYLE, Parts, layout
from captum_heta.app.runs import Runs
from captum_heta.inputs.rendering import has_template

_HOUR = 3600  # seconds

# Whose turn it is, and how it stands, says the page itself: Gradio starts all at once. No interface for programs. A new
# choice is taken while an earlier one is explained, and then stands in its place.
_MODEL: dict[str, Any] = {
    "concurrency_limit": None,
    "show_progress": "hidden",
    "trigger_mode": "multiple",
    "api_visibility": "private",
}
_AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

# The results begin below what a person pressed, on a phone two screens below: they come into sight, unless they are.
_TO_RESULTS = """() => {
  const shown = document.getElementById("results");
  if (shown.getBoundingClientRect().top > 0.6 * window.innerHeight) {
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    shown.scrollIntoView({block: "start", behavior: still ? "auto" : "smooth"});
  }
}"""

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
        examples = shown_examples(prompt)
        parts = layout(list(examples), prompt, name, has_template(explainer.tokenizer))
        _connect(page, parts, Handlers(explainer, folder), Filling(examples))
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
            server_name=host, server_port=port, theme=_theme(), css=PAGE_STYLE, app_kwargs=gate, **_LAUNCH
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


def _connect(page: gr.Blocks, parts: Parts, do: Handlers, filling: Filling) -> None:
    choices, session = gr.State(), gr.State(delete_callback=forget)
    entry, token, step, typed = parts.entry, parts.token, parts.step, parts.typed
    prompt = [entry.kind, *entry.fields]
    predicted = [choices, token, step, parts.shown]

    # What fills the page is answered, as a prompt is that a person sends off.
    settings = [typed, parts.contrast, parts.method, parts.beside, parts.curvature]
    filled = [*entry.filled, *settings, *predicted]
    loaded = page.load(filling.opened, None, [*filled, parts.address], **_AT_ONCE)
    picked = entry.example.input(filling.example, entry.example, filled, **_AT_ONCE)
    asking: list[Any] = [loaded.then, picked.then, entry.predict.click, entry.text.submit, entry.question.submit]
    running: list[Any] = [event(do.predict, [*prompt, entry.longest], predicted, **_MODEL) for event in asking]
    running[0].then(filling.chosen, choices, step, **_AT_ONCE)

    # What was predicted after another prompt is nothing to choose from.
    stale: dict[str, Any] = {"inputs": [*prompt, choices], "outputs": [choices, token, step], **_AT_ONCE}
    for field in entry.fields:
        field.change(do.stale, **stale)
    for name, tab in entry.tab.items():
        opened = tab.select(partial(kind_of_tab, name), None, entry.kind, **_AT_ONCE)
        opened.then(do.stale, **stale)
    for several, most in ((entry.messages, MESSAGES), (entry.documents, DOCUMENTS)):
        several.more.click(partial(one_more, most), several.count, several.shown, **_AT_ONCE)

    # A choice by one of the three ways undoes those by the others, in the browser.
    token.input(None, None, [step, typed], js="() => [null, '']", **_AT_ONCE)
    step.input(None, None, [token, typed], js="() => [null, '']", **_AT_ONCE)
    typed.input(None, None, [token, step], js="() => [null, null]", **_AT_ONCE)
    chosen = [typed, token, step, choices, parts.method, parts.beside, parts.curvature, parts.contrast, session]
    asked, explained = [*prompt, *chosen], [parts.shown, *parts.files, session]
    explaining: list[tuple[Any, Any]] = [
        (parts.explain.click, do.explain),
        (token.input, do.explain_token),
        (step.input, do.explain_step),
        (typed.submit, do.explain_typed),
        (parts.contrast.submit, do.explain),
    ]
    for event, explain in explaining:
        event(None, None, None, js=_TO_RESULTS, **_AT_ONCE)
        running.append(event(explain, asked, explained, **_MODEL))
        # there is more to see now, and room to scroll
        running[-1].success(None, None, None, js=_TO_RESULTS, **_AT_ONCE)
    # Gradio no longer waits for what runs, which the handler ends.
    parts.stop.click(do.stop, None, parts.shown, cancels=running, **_AT_ONCE)
    parts.link.click(do.link, asked, parts.address, **_AT_ONCE)

    # The other methods have no curvature.
    for method in (parts.method, parts.beside):
        method.change(do.has_curvature, [parts.method, parts.beside], parts.curvature, **_AT_ONCE)
