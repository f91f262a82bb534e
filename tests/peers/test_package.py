import importlib.metadata

import pytest

from captum_heta.peers.package import Package
from captum_heta.testing.architectures import tiny_model

PACKAGE = Package("The Peer", "the_peer", "the-peer")


def test_what_is_missing_is_told_with_the_way_out():
    assert PACKAGE.missing == "the-peer is not installed: pip install 'captum-heta[the-peer]'."
    assert PACKAGE.named == "The Peer"
    with pytest.raises(ImportError, match="^the-peer is not installed: pip install 'captum-heta"):
        PACKAGE.imported()


def test_what_is_there_is_imported():
    torch = Package("Torch", "torch", "torch")
    assert torch.missing == ""
    assert torch.named == f"Torch {importlib.metadata.version('torch')}"
    assert torch.imported().__name__ == "torch"


@pytest.mark.parametrize("code", ["import nowhere_at_all", "raise AttributeError('of\\nother versions')"])
def test_what_cannot_be_imported_is_told_in_a_line(code, tmp_path, monkeypatch):
    (tmp_path / "the_peer.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="^The Peer is installed and cannot be imported: ") as raised:
        PACKAGE.imported()
    assert "\n" not in str(raised.value)


def test_what_fails_is_told_in_a_line():
    model = tiny_model("llama")
    message = "^The Peer failed on LlamaForCausalLM: KeyError: 'this'$"
    with pytest.raises(RuntimeError, match=message), PACKAGE.at_work(model):
        raise KeyError("this")
    with pytest.raises(RuntimeError, match="ValueError: one$"), PACKAGE.at_work(model):
        raise ValueError("\none\ntwo")
    with pytest.raises(KeyboardInterrupt), PACKAGE.at_work(model):
        raise KeyboardInterrupt


def test_other_tokens_are_refused():
    PACKAGE.check_read([1, 2], (1, 2))
    for read, place in (([1, 3], 1), ([1], 1), ([1, 2, 3], 2), ([], 0)):
        message = f"^The Peer read other tokens than it was given, {len(read)} and not 2, from position {place} on: "
        with pytest.raises(ValueError, match=message):
            PACKAGE.check_read(read, [1, 2])
