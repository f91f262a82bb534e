"""What the events of the page do: from what a person entered to what Gradio puts into the components."""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gradio as gr

from captum_heta.app.explainer import CURVED, Choices, Explainer, output_of
from captum_heta.app.fields import COUNT, prompt_of
from captum_heta.app.line import Line
from captum_heta.app.links import NONE, Shown, is_loopback, link
from captum_heta.app.prompts import Prompt
from captum_heta.app.results import HINT, link_html, message_html, results, standing_html
from captum_heta.app.runs import Stopped
from captum_heta.app.standing import Standing
from captum_heta.files import write_whole
from captum_heta.inputs.answered import AnsweredInput

_log = logging.getLogger(__name__)

T = TypeVar("T")

_STOPPED = "Stopped."
_FILES = ("heta-comparison.html", "heta-comparison.json")


class Asked(NamedTuple):
    """What is on the page when a person asks for an explanation.

    Attributes:
        prompt: as the tab and its fields say; ValueError where they do not fit.
        typed: the output as text; or
        token: the id of a likely first token; or
        step: the number of a token of the answer. Without any, the likeliest next token is explained.
        choices: those that there were last.
        method: a name of `captum_heta.methods.METHODS`.
        beside: another one, or `NONE`.
        curvature: of the methods that have one.
        contrast: the text that the output is compared with; empty for none.
        session: the session's folder, if it has one.
    """

    prompt: Callable[[], Prompt]
    typed: str
    token: int | None
    step: int | None
    choices: Choices | None
    method: str
    beside: str
    curvature: str
    contrast: str
    session: str | None

    @classmethod
    def of(cls, values: tuple[Any, ...]) -> "Asked":
        """From the kind of the prompt, the fields of it, and the others in order."""
        kind, fields, rest = values[0], values[1 : 1 + COUNT], values[1 + COUNT :]
        return cls(lambda: prompt_of(kind, fields), *rest)

    @property
    def methods(self) -> list[str]:
        """The names of one or two."""
        return [self.method] if self.beside == NONE else [self.method, self.beside]


class Handlers:
    """The functions behind the page; whatever goes wrong in them is told on it in a sentence.

    Each that runs the model gets Gradio's request, which says whose session it is, so that the session can stop it. It
    is a generator, which tells how the run stands until it is done.

    Args:
        explainer: the model.
        folder: for the files that a person may download; each session has a new folder in it.
    """

    def __init__(self, explainer: Explainer, folder: Path) -> None:
        self._explainer, self._folder = explainer, folder
        self._line = Line(explainer.runs)

    def predict(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The choices, as first tokens and as steps of the answer, and a message in the place of the results.

        Args:
            request: whose session it is.
            *values: the kind of the prompt, its fields, and how many tokens the answer may have.
        """
        standing = Standing(request.session_hash, "The model reads the prompt and answers")
        try:
            prompt, longest = prompt_of(values[0], values[1:-1]), int(values[-1])
            found = yield from self._told(
                standing,
                lambda: self._explainer.choices(prompt, longest=longest),
                lambda shown: (gr.skip(), gr.skip(), gr.skip(), shown),
            )
        except Stopped:
            yield (gr.skip(),) * 4 if standing.replaced else (*self.clear(), message_html(_STOPPED))
        except Exception as error:  # of whatever kind
            yield *self.clear(), message_html(_sentence(error))
        else:
            label = self._explainer.label
            likeliest = [(f"{label(token)} {_percent(likely)}", token) for token, likely in found.likeliest]
            steps = [(label(token), step) for step, token in enumerate(found.answer)]
            yield found, gr.Radio(choices=likeliest, value=None), gr.Radio(choices=steps, value=None), HINT

    def clear(self) -> tuple[Any, ...]:
        """No choices."""
        return None, gr.Radio(choices=[], value=None), gr.Radio(choices=[], value=None)

    def stale(self, *values: Any) -> tuple[Any, ...]:
        """No choices, if those that there are came after another prompt.

        Args:
            *values: the kind of the prompt, its fields, and the choices.
        """
        choices: Choices | None = values[-1]
        if choices is None or choices.prompt == prompt_of(values[0], values[1:-1]):
            return (gr.skip(),) * 3
        return self.clear()

    def has_curvature(self, method: str, beside: str) -> Any:
        """The choice of a curvature is there if a method among the two has one."""
        return gr.Dropdown(visible=method in CURVED or beside in CURVED)

    def explain_token(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        """As `explain`, of a likely first token."""
        yield from self._explained(request, Asked.of(values)._replace(typed="", step=None))

    def explain_step(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        """As `explain`, of a token of the answer."""
        yield from self._explained(request, Asked.of(values)._replace(typed="", token=None))

    def explain_typed(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        """As `explain`, of a typed text."""
        yield from self._explained(request, Asked.of(values)._replace(token=None, step=None))

    def explain(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The results, the two files to download, and the session's folder.

        Args:
            request: whose session it is.
            *values: as `Asked.of` takes them.
        """
        yield from self._explained(request, Asked.of(values))

    def stop(self, request: gr.Request) -> Any:
        """A message in the place of the results, if something ran for this session; it then ends."""
        return message_html(_STOPPED) if self._explainer.runs.stop(request.session_hash) else gr.skip()

    def link(self, request: gr.Request, *values: Any) -> str:
        """A link that carries what is on the page, where this machine alone reaches it; or why there is none.

        Args:
            request: where the page is.
            *values: as `Asked.of` takes them.
        """
        asked, address = Asked.of(values), f"http://{request.headers['host']}/"
        try:
            if not is_loopback(address):
                raise ValueError("Other machines reach this page: no link is made, as it would carry the text to them.")
            prompt = asked.prompt()
            self._explainer.located(prompt)
            token = None if asked.token is None else output_of(asked.choices, prompt, asked.token, None)[1]
            if asked.step is not None:  # told if it is none of the answer
                output_of(asked.choices, prompt, None, asked.step)
            target = asked.typed if token is None else self._explainer.tokenizer.decode(token)
            settings = asked.contrast, asked.method, asked.beside, asked.curvature
            return link_html(link(address, Shown(prompt, target, asked.step, *settings)))
        except Exception as error:  # of whatever kind
            return message_html(_sentence(error))

    def _explained(self, request: gr.Request, asked: Asked) -> Iterator[tuple[Any, ...]]:
        standing, session = Standing(request.session_hash, "The model reads the prompt"), asked.session
        try:
            prompt = asked.prompt()
            self._explainer.located(prompt)  # what is wrong with the prompt is told before what is wrong with a choice
            chosen = asked.token is not None or asked.step is not None
            before, outputs = output_of(asked.choices, prompt, asked.token, asked.step) if chosen else ((), None)

            def work() -> Any:
                target = self._explainer.typed(prompt, asked.typed or None) if outputs is None else outputs
                settings = asked.methods, asked.curvature, asked.contrast or None
                return self._explainer.explain(prompt, before, target, *settings)

            inp = self._explainer.answered(prompt, before)
            found = yield from self._told(standing, work, lambda shown: (shown, *[gr.skip()] * 3), inp)
            shown = results(found)
            session = session or tempfile.mkdtemp(dir=self._folder)
            html_file, json_file = (Path(session) / name for name in _FILES)
            write_whole(html_file, found.to_html(shares=True))
            found.save(json_file)
        except Stopped:
            yield (gr.skip(),) * 4 if standing.replaced else (*_nothing(_STOPPED), session)
        except Exception as error:  # of whatever kind
            yield *_nothing(_sentence(error)), session
        else:
            files = [gr.DownloadButton(value=str(file), visible=True) for file in (html_file, json_file)]
            yield shown, *files, session

    def _told(
        self,
        standing: Standing,
        work: Callable[[], T],
        told: Callable[[str], tuple[Any, ...]],
        inp: AnsweredInput | None = None,
    ) -> Generator[tuple[Any, ...], None, T]:
        """What ``work`` returns; until then, what is ``told`` of how it stands, whenever that changes."""
        before = ""
        with contextlib.closing(self._line.run(standing, work)) as ticks:
            while True:
                try:
                    next(ticks)
                except StopIteration as done:
                    return done.value
                shown = standing_html(standing, self._line.ahead(standing), inp)
                if shown != before:
                    before = shown
                    yield told(shown)


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
