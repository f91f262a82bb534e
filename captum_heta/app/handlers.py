"""What the events of the page do: from what a person entered to what Gradio puts into the components."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from captum_heta.app.explainer import CURVED, Choices, Explainer, output_of
from captum_heta.app.results import HINT, message_html, results
from captum_heta.app.runs import Stopped
from captum_heta.files import write_whole

_log = logging.getLogger(__name__)

NONE = ""  # the second method, where there is none
_STOPPED = "Stopped."
_FILES = ("heta-comparison.html", "heta-comparison.json")


class Handlers:
    """The functions behind the page; whatever goes wrong in them is told on it in a sentence.

    Each that runs the model gets Gradio's request, which says whose session it is, so that the session can stop it.

    Args:
        explainer: the model.
        folder: for the files that a person may download; each session has a new folder in it.
    """

    def __init__(self, explainer: Explainer, folder: Path) -> None:
        self._explainer, self._folder = explainer, folder

    def predict(self, request: gr.Request, prompt: str) -> tuple[Any, ...]:
        """The choices, as next tokens and as steps of the continuation, and a message in the place of the results."""
        try:
            with self._explainer.runs.run(request.session_hash):
                found = self._explainer.choices(prompt)
        except Stopped:
            return *self.clear(), message_html(_STOPPED)
        except Exception as error:  # of whatever kind
            return *self.clear(), message_html(_sentence(error))
        label = self._explainer.label
        likeliest = [(f"{label(token)} {_percent(probability)}", token) for token, probability in found.likeliest]
        steps = [(label(token), step) for step, token in enumerate(found.continuation)]
        return found, gr.Radio(choices=likeliest, value=None), gr.Radio(choices=steps, value=None), HINT

    def clear(self) -> tuple[Any, ...]:
        """No choices."""
        return None, gr.Radio(choices=[], value=None), gr.Radio(choices=[], value=None)

    def has_curvature(self, method: str, beside: str) -> Any:
        """The choice of a curvature is there if a method among the two has one."""
        return gr.Dropdown(visible=method in CURVED or beside in CURVED)

    def explain_token(self, request: gr.Request, prompt: str, token: int, *settings: Any) -> tuple[Any, ...]:
        """As `explain`, of a next token."""
        return self.explain(request, prompt, "", token, None, *settings)

    def explain_step(self, request: gr.Request, prompt: str, step: int, *settings: Any) -> tuple[Any, ...]:
        """As `explain`, of a token of the continuation."""
        return self.explain(request, prompt, "", None, step, *settings)

    def explain_typed(self, request: gr.Request, prompt: str, typed: str, *settings: Any) -> tuple[Any, ...]:
        """As `explain`, of a typed text."""
        return self.explain(request, prompt, typed, None, None, *settings)

    def stop(self, request: gr.Request) -> Any:
        """A message in the place of the results, if something ran for this session; it then ends."""
        return message_html(_STOPPED) if self._explainer.runs.stop(request.session_hash) else gr.skip()

    def explain(
        self,
        request: gr.Request,
        prompt: str,
        typed: str,
        token: int | None,
        step: int | None,
        choices: Choices | None,
        method: str,
        beside: str,
        curvature: str,
        contrast: str,
        session: str | None,
    ) -> tuple[Any, ...]:
        """The results, the two files to download, and the session's folder.

        Args:
            request: whose session it is.
            prompt: the text.
            typed: the output as text; or
            token: the id of a likely next token; or
            step: the number of a token of the continuation. Without any, the likeliest next token is explained.
            choices: those that were predicted last.
            method: a name of `captum_heta.methods.METHODS`.
            beside: another one, or `NONE`.
            curvature: of the methods that have one.
            contrast: the text that the output is compared with; empty for none.
            session: the session's folder, if it has one.
        """
        try:
            self._explainer.ids_of(prompt)  # what is wrong with the prompt is told before what is wrong with a choice
            with self._explainer.runs.run(request.session_hash):
                if token is None and step is None:
                    ids, outputs = self._explainer.typed(prompt, typed or None)
                else:
                    ids, outputs = output_of(choices, prompt, token, step)
                methods = [method] if beside == NONE else [method, beside]
                found = self._explainer.explain(ids, outputs, methods, curvature, contrast or None)
                shown = results(found)
            session = session or tempfile.mkdtemp(dir=self._folder)
            html_file, json_file = (Path(session) / name for name in _FILES)
            write_whole(html_file, found.to_html())
            found.save(json_file)
        except Stopped:
            return *_nothing(_STOPPED), session
        except Exception as error:  # of whatever kind
            return *_nothing(_sentence(error)), session
        files = [gr.DownloadButton(value=str(file), visible=True) for file in (html_file, json_file)]
        return shown, *files, session


def forget(session: str | None) -> None:
    """Delete a session's folder, when the session ends."""
    if session is not None:
        shutil.rmtree(session, ignore_errors=True)


def _nothing(message: str) -> tuple[Any, ...]:
    """A message in the place of the results, and no files."""
    return message_html(message), gr.DownloadButton(visible=False), gr.DownloadButton(visible=False)


def _percent(probability: float) -> str:
    return f"{probability:.1%}" if probability >= 0.001 else "<0.1%"


def _sentence(error: Exception) -> str:
    """An error's message if it is for the person at the page; otherwise where to look for it."""
    if isinstance(error, ValueError | TypeError | RuntimeError | OSError) and str(error):
        return str(error)
    _log.error("The page could not answer.", exc_info=error)
    return "Something failed that should not. The terminal in which the page was started says what."
