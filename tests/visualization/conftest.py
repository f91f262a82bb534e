import matplotlib
import pytest
from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def _no_window_and_no_figure_left():
    matplotlib.use("Agg")
    yield
    plt.close("all")
