import pytest

from captum_heta.app.explainer import Explainer
from captum_heta.cli.common import outputs_of


@pytest.fixture(scope="session", autouse=True)
def _copies(tmp_path_factory):
    """Gradio's copies of files go where pytest clears up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="session")
def explainer(demo):
    return Explainer(*demo, outputs_of, max_tokens=100)
