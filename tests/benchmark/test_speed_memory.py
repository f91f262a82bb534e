import sys

import pytest

from captum_heta.benchmark.speed_memory import grown, growth
from captum_heta.benchmark.speed_prompt import Setting

SETTING = Setting("tiny", None, None, 32, "cpu", "float32")


def test_a_row_makes_a_process_grow():
    found = growth(SETTING, 32, "heta_fisher")
    assert 0 <= found < 2000


def test_memory_is_of_rows_that_run_as_a_whole():
    assert grown(SETTING, 8, "shapley") is None
    assert grown(SETTING, 8, "trace") >= 0


def test_windows_does_not_tell(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ValueError, match="--memory reads resource.getrusage, which Windows does not have"):
        growth(SETTING, 8, "trace")
