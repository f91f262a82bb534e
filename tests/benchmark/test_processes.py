import pytest

from captum_heta.benchmark.processes import process

NAMES = "RANK OMPI_COMM_WORLD_RANK PMI_RANK WORLD_SIZE OMPI_COMM_WORLD_SIZE PMI_SIZE LOCAL_RANK MPI_LOCALRANKID".split()


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_one_process_without_a_launcher():
    assert process() == (0, 1, 0)


def test_launchers_say_which_it_is(monkeypatch):
    for name, value in zip(("RANK", "WORLD_SIZE", "LOCAL_RANK"), "341", strict=True):
        monkeypatch.setenv(name, value)
    assert process() == (3, 4, 1)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RANK", "two", "The environment variable RANK must be a whole number, got 'two': unset it."),
        ("WORLD_SIZE", "", "The environment variable WORLD_SIZE must be a whole number, got ''"),
        ("RANK", "1", "The environment says that this is process 1 of 1: unset RANK and WORLD_SIZE."),
        ("PMI_SIZE", "0", "The environment says that this is process 0 of 0"),
    ],
)
def test_what_does_not_fit_is_told(monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=told):
        process()
