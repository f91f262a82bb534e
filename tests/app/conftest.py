import time

import pytest
import torch

from captum_heta.app.explainer import Explainer
from captum_heta.app.runs import Stopped


@pytest.fixture(scope="session", autouse=True)
def _copies(tmp_path_factory):
    """Gradio's copies of files go where pytest clears up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="session")
def until_stopped():
    """Work that goes on until it is stopped; sets an event at its beginning, and one when it was stopped."""

    def work(began, ended):
        began.set()
        try:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                torch.ones(1) + 1
                time.sleep(0.001)
        except Stopped:
            ended.set()
            raise

    return work


@pytest.fixture(scope="session")
def explainer(demo):
    return Explainer(*demo, max_tokens=100)
