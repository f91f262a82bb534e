"""``captum-heta demo``: a page to explain texts on, in a browser."""

import os
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from captum_heta.app.explainer import Explainer
from captum_heta.cli.common import DebugOption, DtypeOption, ModelOption, errors_told, example, load, outputs_of


def demo(
    model: ModelOption = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 lets other machines use the page.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="The first free one from 7860 on if left out.", min=1, max=65535)
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="The longest prompt that is taken.", min=1)] = 512,
    dtype: DtypeOption = "float32",
    debug: DebugOption = False,
) -> None:
    """Serve a page on which texts are explained, to a browser on this machine."""
    with errors_told(debug):
        try:
            from captum_heta.app.page import build, serve
        except ImportError as error:
            raise RuntimeError("The page needs gradio: pip install 'captum-heta[demo]'.") from error
        loaded, tokenizer = load(model, dtype)
        prompt, _ = example(None, None)
        explainer = Explainer(loaded, tokenizer, outputs_of, max_tokens)
        with tempfile.TemporaryDirectory(prefix="captum-heta-") as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder  # Gradio's copies of the files, which have people's texts in them
            page = build(explainer, Path(folder), prompt, model or "the embedded model")
            address = serve(page, host, port)
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # an end like that by Ctrl+C, which clears up
            Console(stderr=True, highlight=False).print(f"Serving {address} until Ctrl+C", markup=False)
            page.block_thread()
