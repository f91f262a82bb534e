"""What is wrong with a command is said before a model is loaded, and what is wrong with a text before it runs."""

import json
import os
import socket
from pathlib import Path

import pytest
import torch
import transformers
from typer.testing import CliRunner

from captum_heta.cli import app, loading
from captum_heta.cli import benchmark as benchmark_module
from captum_heta.cli.loading import located, outputs_of

PROMPT = "Ben lives in Oslo. Ben lives in"


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def said(result):
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture
def _no_model(monkeypatch):
    def load(*arguments, **options):
        pytest.fail("a model is loaded")

    monkeypatch.setattr(loading, "load_model", load)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load)


@pytest.fixture
def folder(demo, tmp_path):
    for part in demo:
        part.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


BOTH = [
    (("--dtype", "float16"), "--dtype must be float32 or bfloat16, got 'float16'"),
    (("--dtype", "bfloat16"), "--dtype is that of the model of --model"),
    (("--dtype", "float32"), "--dtype is that of the model of --model"),
    (("--model", ""), "--model is empty"),
    (("--target", ""), "--target is empty: give a text"),
    (("--contrast", ""), "--contrast is empty: give the text that the target is compared with"),
    (("--refine", "0"), "--refine is a part of the score and must be in (0, 1], got 0.0"),
    (("--refine", "1.5"), "--refine is a part of the score and must be in (0, 1], got 1.5"),
    (("--refine", "nan"), "--refine is a part of the score and must be in (0, 1], got nan"),
    (("--refine", "0.9", "--no-refine"), "--no-refine looks at every token: leave it out, or --refine"),
    (("--json", "no/such/scores.json"), "--json no/such/scores.json: there is no folder"),
    (("--json", "."), "--json . is a folder: give the name of a file in it"),
    (("--json", __file__ + "/scores.json"), "is a file, in which there can be no other"),
]
EXPLAIN = [
    *BOTH,
    (("--curvature", "newton"), "curvature must be one of auto, exact"),
    (("--method", "ig"), "--method must be targeted or heta, got 'ig'; compare has the others"),
]
COMPARE = [
    *BOTH,
    (("--methods", "heta,hetta"), "There is no method 'hetta'; there are heta, targeted"),
    (("--methods", "heta, ig,heta"), "--methods has 'heta' twice"),
    (("--methods", " ,"), "--methods names nothing, got ' ,'"),
    (("--methods", "ig,tdd", "--contrast", "Rome"), "None of the methods ig, tdd explains a difference of two outputs"),
    (("--methods", "ig,contextcite", "--refine", "0.9"), "None of the methods ig, contextcite looks at parts of the"),
    (("--html", "no/such/page.html"), "--html no/such/page.html: there is no folder"),
    (("--html", "."), "--html . is a folder"),
    (("--html", "one.x", "--json", "./one.x"), "--html and --json are the same file"),
]


@pytest.mark.usefixtures("_no_model")
@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [("explain", *case) for case in EXPLAIN] + [("compare", *case) for case in COMPARE],
)
def test_options(command, arguments, message):
    assert message in said(run(command, PROMPT, *arguments))
    assert not Path("one.x").exists()


@pytest.mark.usefixtures("_no_model")
@pytest.mark.parametrize("command", ["explain", "compare"])
def test_an_empty_prompt(command):
    assert "The prompt is empty" in said(run(command, ""))


@pytest.mark.usefixtures("_no_model")
@pytest.mark.parametrize("command", ["explain", "compare"])
def test_an_empty_target_is_not_that_of_the_example(command):
    assert "--target is empty" in said(run(command, "--target", ""))


@pytest.mark.usefixtures("_no_model")
@pytest.mark.parametrize("command", ["explain", "compare"])
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no folder here that takes no file of anyone")
def test_a_folder_that_takes_no_file(command):
    assert "no file can be made in /proc" in said(run(command, PROMPT, "--json", "/proc/scores.json"))


@pytest.mark.usefixtures("_no_model")
def test_a_file_that_is_protected(monkeypatch, tmp_path):
    file = tmp_path / "kept.json"
    file.write_text("kept")
    monkeypatch.setattr(os, "access", lambda path, mode: path != file or mode != os.W_OK)
    assert "is there and cannot be written to" in said(run("explain", PROMPT, "--json", str(file)))
    assert file.read_text() == "kept"


def test_looking_leaves_nothing(tmp_path):
    assert run("explain", PROMPT, "--curvature", "newton", "--json", str(tmp_path / "scores.json")).exit_code == 1
    assert not list(tmp_path.iterdir())


def test_what_is_no_plain_file_is_written_to(tmp_path):
    result = run("explain", PROMPT, "--curvature", "fisher", "--json", os.devnull)
    assert result.exit_code == 0, result.output
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("command", ["explain", "compare"])
def test_bos_is_looked_at_before_the_weights(command, folder, monkeypatch):
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", None)
    message = "--bos: the tokenizer puts '<s>' before prompts itself"
    assert message in said(run(command, PROMPT, "--model", str(folder), "--bos"))


class TestLength:
    @pytest.fixture(autouse=True)
    def _model(self, demo, monkeypatch):
        model, tokenizer = demo
        monkeypatch.setattr(loading, "load_model", lambda name: demo)
        self.model, self.tokenizer, self.positions = model, tokenizer, model.config.max_position_embeddings

    def refused(self, monkeypatch, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(self.model, "forward", lambda *_, **__: pytest.fail("the model runs"))
            return said(run(*arguments))

    @pytest.mark.parametrize("command", ["explain", "compare"])
    def test_a_long_prompt_is_refused_before_the_model_runs(self, command, monkeypatch):
        text = "Ben lives in Oslo. " * 4000
        count = len(self.tokenizer.encode(text))
        message = self.refused(monkeypatch, command, text)
        assert f"have {count} tokens, more than the {self.positions} positions" in message

    @pytest.mark.parametrize("command", ["explain", "compare"])
    def test_so_is_a_long_target(self, command, monkeypatch):
        target = " Oslo" * 1000
        count = len(self.tokenizer.encode(PROMPT)) + 1000 - 1
        message = self.refused(monkeypatch, command, PROMPT, "--target", target)
        assert f"have {count} tokens, more than the {self.positions} positions" in message

    def test_a_prompt_of_all_positions_is_taken(self):
        prompt = "Ben" + " Oslo" * (self.positions - 2)
        inp = located(prompt, self.model, self.tokenizer)
        assert len(inp.ids) == self.positions
        for target in (None, " Oslo"):
            assert outputs_of(inp, self.model, target).shape == (1,)
        with pytest.raises(ValueError, match=f"have {self.positions + 1} tokens"):
            located(prompt + " Oslo", self.model, self.tokenizer)
        with pytest.raises(ValueError, match=f"have {self.positions + 1} tokens"):
            outputs_of(inp, self.model, " Oslo Oslo")

    def test_the_likelier_of_two_targets_is_taken(self):
        ids = torch.tensor([self.tokenizer.encode(PROMPT)])
        likelihoods = {}
        for text in ("Oslo", " Oslo"):
            tokens = self.tokenizer.encode(text, add_special_tokens=False)
            with torch.no_grad():
                logits = self.model(torch.cat([ids, torch.tensor([tokens])], 1)).logits[0, ids.shape[1] - 1 : -1]
            likelihoods[text] = logits.log_softmax(-1)[range(len(tokens)), tokens].sum().item()
        best = max(likelihoods, key=likelihoods.get)
        found = outputs_of(located(PROMPT, self.model, self.tokenizer), self.model, "Oslo")
        assert found.tolist() == self.tokenizer.encode(best, add_special_tokens=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", ""), "There is no preset ''; there are table1"),
        (("--methods", "heta,heta:newton"), "there is no curvature mode 'newton'"),
        (("--methods", "random,random"), "--methods has 'random' twice"),
        (("--methods", "hetta"), "There is no method 'hetta'"),
        (("--metrics", "dsa,dsa"), "--metrics has 'dsa' twice"),
        (("--options", "{"), "--options is no JSON"),
        (("--options", '{"hetta": {}}'), "options are for 'hetta'"),
        (("--seed", str(2**63)), "seed must be below 2**63"),
        (("--data", "embedded=x.json"), "--data: embedded comes with the package and has no path, got 'x.json'"),
        (("--model", "captum_heta.demo.chain"), "--data embedded asks what captum_heta.demo.chain was not trained"),
        (("--data", "embedded,embedded"), "--data has 'embedded' twice"),
        (("--data", "longra=a.json,longra=b.json"), "--data has 'longra' twice"),
        (("--data", "embedded,longra"), "--data longra needs its file"),
        (("--data", "longra=no/such.jsonl"), "There is no file or folder 'no/such.jsonl'"),
        (("--dtype", "float16"), "--dtype must be float32 or bfloat16, got 'float16'"),
        (("--out", __file__), "is a file: give the name of a folder"),
        (("--out", __file__ + "/out"), "is a file, in which there can be no other"),
    ],
)
def test_options_of_a_benchmark(arguments, message, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_module, "load", lambda *_: pytest.fail("a model is loaded"), raising=False)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", None)
    out = tmp_path / "out"
    result = run("benchmark", "--model", str(folder), "--out", str(out), *arguments)
    assert message in said(result)
    assert not out.exists()


def test_dtype_of_a_benchmark_without_a_model(tmp_path):
    message = said(run("benchmark", "--out", str(tmp_path / "out"), "--dtype", "bfloat16"))
    assert "--dtype is that of the model of --model" in message


def test_a_benchmark_cuts_to_no_more_than_the_model_reads(tmp_path):
    out = str(tmp_path / "out")
    quick = ("--methods", "random", "--metrics", "dsa", "--limit", "1")
    assert "--max-tokens 513 is more than the 512 positions of LlamaForCausalLM" in said(
        run("benchmark", "--out", out, *quick, "--max-tokens", "513")
    )
    assert run("benchmark", "--out", out, *quick, "--max-tokens", "512").exit_code == 0
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["max_tokens"] == 512
    assert run("benchmark", "--out", out, *quick).exit_code == 0  # which is the same


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"Cannot listen at 127.0.0.1, port {port}" in said(run("demo", "--port", str(port)))
    assert "--dtype is that of the model of --model" in said(run("demo", "--dtype", "bfloat16"))
