"""``captum-heta demo``: a page to explain texts on, in a browser."""

import os
import socket
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from captum_heta.cli.arguments import DebugOption, DeviceOption, DtypeOption, ModelOption, check_model_options
from captum_heta.cli.messages import print_note, reported_errors, warnings_to


def demo(
    model: ModelOption = None,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen at; 0.0.0.0 lets other machines use the page, by an address in numbers or this "
            "machine's own name."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="The first free one from 7860 on if left out.", min=1, max=65535)
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="The longest prompt that is taken.", min=1)] = 512,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    debug: DebugOption = False,
) -> None:
    """Serve a page on which texts are explained, to a browser on this machine."""
    with reported_errors(debug):
        check_model_options(model, dtype)
        if port is not None:
            _check_port(host, port)
        try:
            from captum_heta.app.page import build, serve
        except ImportError as error:
            raise RuntimeError("The page needs gradio: pip install 'captum-heta[demo]'.") from error
        from captum_heta.app.ending import leave, served_until, termination
        from captum_heta.app.explainer import Explainer
        from captum_heta.cli.loading import example, load

        loaded, tokenizer = load(model, dtype, place=device)
        prompt, _ = example(None, None, model=model)
        explainer = Explainer(loaded, tokenizer, max_tokens)
        # what has ended may still write for a moment
        with (
            termination() as terminated,
            tempfile.TemporaryDirectory(prefix="captum-heta-", ignore_cleanup_errors=True) as folder,
        ):
            os.environ["GRADIO_TEMP_DIR"] = folder  # Gradio's copies of the files, which have people's texts in them
            page = build(explainer, Path(folder), prompt, model or "the small one that comes with captum_heta")
            address = serve(page, host, port, explainer.runs)
            print_note(f"Serving {address} until Ctrl+C")
            with warnings_to(print_note):
                done = served_until(terminated, page, explainer.runs)
    if not done:
        leave()


def _check_port(host: str, port: int) -> None:
    """Raise OSError if nobody can listen there, before a model is loaded for it."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listening:
            if os.name == "posix":  # as servers do, so that a port which was in use a moment ago is free
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except OSError as error:
        raise OSError(
            f"Cannot listen at {host}, port {port} ({error.strerror}): pass another --host or --port."
        ) from error
