"""Chats on the command line."""

import json

import pytest
from typer.testing import CliRunner

from captum_heta import Comparison, LLMTokenAttributionResult
from captum_heta.cli import app
from captum_heta.demo import load_model

MESSAGES = [
    {"role": "system", "content": "Anna lives in Rome. Ben lives in Oslo."},
    {"role": "user", "content": "Question: Where does Ben live?"},
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose tokenizer has a chat template."""
    model, tokenizer = load_model()
    tokenizer.chat_template = TEMPLATE
    folder = tmp_path_factory.mktemp("chatting")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "messages.json"
    file.write_text(json.dumps(MESSAGES))
    return file


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_explains_the_messages_and_not_the_template(folder, file, tmp_path):
    found = tmp_path / "it.json"
    run("explain", "--chat", file, "--model", folder, "--target", "Oslo", "--method", "targeted", "--json", found)
    result = LLMTokenAttributionResult.load(found)
    assert result.prompt.endswith("Answer:")
    assert "".join(result.pieces) == "".join(message["content"] for message in MESSAGES)
    assert set(result.by_group()) == {"0 system", "1 user"}
    assert result.pieces[result.seq_attr.argmax()].strip() == "Oslo"


def test_compares_on_a_chat(folder, file, tmp_path):
    found = tmp_path / "it.json"
    run("compare", "--chat", file, "--model", folder, "--target", "Oslo", "--methods", "gradient_norm", "--json", found)
    assert Comparison.load(found).prompt.endswith("Answer:")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a prompt",), "--chat has the prompt"),
        (("--bos",), "leave it out"),
    ],
)
def test_what_does_not_go_together(file, arguments, said):
    assert said in " ".join(run("explain", *arguments, "--chat", file, code=1).split())


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"role": "user"}', '[{"content": "x"}]', b"\xff"])
def test_a_file_that_is_no_chat(file, content):
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert "is no chat" in " ".join(run("explain", "--chat", file, code=1).split())


def test_a_tokenizer_without_a_template(file):
    said = " ".join(run("explain", "--chat", file, code=1).split())
    assert "the embedded model has no chat template: pass another --model" in said
