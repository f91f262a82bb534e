"""What ``explain`` and ``compare`` ask alike: a prompt, a target, a contrast, a model, and where the answer goes."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from captum_heta.app.long_prompts import MOST, SHARE, automatic_refine
from captum_heta.checks import check_part
from captum_heta.cli.arguments import (
    BosOption,
    DebugOption,
    DeviceOption,
    DtypeOption,
    ModelOption,
    check_model_options,
    read_chat,
    read_prompt,
)
from captum_heta.cli.documents import read_documents
from captum_heta.cli.files import check_files


class Question(NamedTuple):
    """The arguments of a command, as a person passes them; their types are what Typer makes of them."""

    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The text to explain; - reads it from standard input. An example of the embedded model if left out."
        ),
    ] = None
    target: Annotated[
        str | None,
        typer.Option(
            help="The continuation to explain, with or without a space before it, as the model finds likelier; the "
            "model's likeliest token if left out."
        ),
    ] = None
    contrast: Annotated[
        str | None,
        typer.Option(
            help="Another continuation: explain why the target and not this one, up to the first token in which they "
            "differ."
        ),
    ] = None
    model: ModelOption = None
    file: Annotated[
        Path | None, typer.Option("--file", help="Read the prompt from this file; its last newline is cut.")
    ] = None
    chat: Annotated[
        Path | None,
        typer.Option(
            "--chat",
            metavar="FILE",
            help="Read a chat from this JSON file in the prompt's place, a list of messages with role and content, and "
            "render it by the chat template of the model.",
        ),
    ] = None
    documents: Annotated[
        Path | None,
        typer.Option(
            "--documents",
            metavar="FOLDER",
            help="In the prompt's place: the text and Markdown files of this folder, or one file, and --question.",
        ),
    ] = None
    question: Annotated[str | None, typer.Option(help="What is asked about --documents.")] = None
    instructions: Annotated[
        str | None, typer.Option(help="What is said before --documents, such as how to answer; nothing if left out.")
    ] = None
    answer: Annotated[
        bool, typer.Option("--answer", help="Explain the whole answer that the model generates, without its end token.")
    ] = False
    generate: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Explain the answer that the model generates, as --answer, of at most N tokens."
        ),
    ] = None
    refine: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Coarse to fine: look at sentences (or paragraphs) first, and then at the tokens of those that hold "
            f"this share of the score, above 0 and up to 1, and of the last ones. If left out, {SHARE} for prompts of "
            f"more than {MOST} tokens.",
        ),
    ] = None
    no_refine: Annotated[
        bool,
        typer.Option("--no-refine", help="Look at every token, however long the prompt is."),
    ] = False
    dtype: DtypeOption = None
    device: DeviceOption = None
    bos: BosOption = False
    html_file: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page to this file too; - for standard output, and nothing else there."),
    ] = None
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write all numbers to this file too; - for standard output, and nothing else."),
    ] = None
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show nothing but errors, and what goes to standard output.")
    ] = False
    debug: DebugOption = False

    def checked(self) -> "Question":
        """With the prompt read from wherever it is; what is wrong is said before a model is loaded.

        Raises:
            ValueError: for files, options of the model, a prompt, a target, a contrast or a share that cannot be used.
            OSError: for a prompt's file that cannot be read.
        """
        check_files({"--html": self.html_file, "--json": self.json_file})
        check_model_options(self.model, self.dtype)
        if self.target == "":
            raise ValueError("--target is empty: give a text, or leave it out for the model's likeliest token.")
        if self.contrast == "":
            raise ValueError("--contrast is empty: give the text that the target is compared with, or leave it out.")
        if self.refine is not None:
            check_part("--refine", self.refine, "the score", one=True)
            if self.no_refine:
                raise ValueError("--no-refine looks at every token: leave it out, or --refine.")
        for name, given in (("--answer", self.answer), ("--generate", self.generate is not None)):
            if self.target is not None and given:
                raise ValueError(f"{name} explains what the model generates: leave it out, or --target.")
        if self.chat is not None:
            if self.prompt is not None or self.file is not None:
                raise ValueError("--chat has the prompt: leave out the text, or --file.")
            if self.bos:
                raise ValueError("--bos: the template of a chat writes its own beginning; leave it out.")
            if self.documents is not None:
                raise ValueError("--chat has the whole prompt: leave it out, or --documents.")
            read_chat(self.chat)
        if self.documents is not None:
            self._check_documents(self.documents)
        for name, text in (("--question", self.question), ("--instructions", self.instructions)):
            if self.documents is None and text is not None:
                raise ValueError(f"{name} goes with documents: pass --documents too, or leave it out.")
        if self.chat is not None or self.documents is not None:
            return self
        return self._replace(prompt=read_prompt(self.prompt, self.file))

    def _check_documents(self, place: Path) -> None:
        if self.prompt is not None or self.file is not None:
            raise ValueError("--documents and --question are the prompt: leave out the text, or --file.")
        if self.question is None:
            raise ValueError("--documents needs a question: pass --question.")
        for name, text in (("--question", self.question), ("--instructions", self.instructions)):
            if text is not None and not text.strip():
                raise ValueError(f"{name} is empty: give a text, or leave it out with what it goes with.")
        read_documents(place)

    @property
    def generates(self) -> bool:
        """Whether the model's own answer is explained."""
        return self.answer or self.generate is not None

    def share(self, count: int) -> float | None:
        """The ``refine`` of a prompt of ``count`` tokens; None for each token."""
        return None if self.no_refine else self.refine or automatic_refine(count)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first argument is a `Question`, with the arguments of one in its own place and before its others.

    Typer reads the arguments of a command off its signature.
    """
    own = list(inspect.signature(command).parameters.values())[1:]
    asked = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=Question._field_defaults[name],
            annotation=Question.__annotations__[name],
        )
        for name in Question._fields
    ]

    def run(**given: Any) -> None:
        mine = {name: given.pop(name) for name in [parameter.name for parameter in own]}
        command(Question(**given), **mine)

    parameters = [*asked[:1], *own, *asked[1:]]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
