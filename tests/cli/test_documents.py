"""Documents and a question on the command line."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from captum_heta import Comparison, LLMTokenAttributionResult
from captum_heta.attr.sources_view import view_of
from captum_heta.cli import app
from captum_heta.cli.documents import read_documents
from captum_heta.cli.loading import documents_input
from captum_heta.cli.question import Question
from captum_heta.demo import load_model
from captum_heta.inputs.documents import REST
from captum_heta.visualization.sources import page

FILES = {
    "b-register.txt": "Anna lives in Rome. Ben lives in Oslo.\n",
    "a-menu.md": "Ben likes to eat rice.\r\n",
    "c-staff.MARKDOWN": "\ufeffBen works as a pilot. Anna works as a doctor.",
    ".hidden.pdf": "%PDF",
}
QUESTION = "Where does Ben live?"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_bytes(text.encode())
    return folder


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def asked(folder, *arguments, command="explain", code=0):
    return run(command, "--documents", folder, "--question", QUESTION, *arguments, code=code)


def test_reads_text_files_in_the_order_of_their_names(folder):
    assert read_documents(folder) == {
        "a-menu.md": "Ben likes to eat rice.",
        "b-register.txt": "Anna lives in Rome. Ben lives in Oslo.",
        "c-staff.MARKDOWN": "Ben works as a pilot. Anna works as a doctor.",
    }
    assert read_documents(folder / "a-menu.md") == {"a-menu.md": "Ben likes to eat rice."}


def test_shows_which_document_the_answer_comes_from(folder, tmp_path):
    files = ("--html", tmp_path / "it.html", "--json", tmp_path / "it.json")
    shown = asked(folder, "--generate", "2", *files)
    result = LLMTokenAttributionResult.load(tmp_path / "it.json")
    assert result.target == " Oslo."
    assert result.method == "TargetedHETA"
    assert result.prompt.endswith(f"\n\nQuestion: {QUESTION}\nAnswer:")
    assert result.documents == ["a-menu.md", "b-register.txt", "c-staff.MARKDOWN"]
    sources = result.sources()
    assert sources.document_shares[0, :3].argmax() == 1
    assert sources.has_rest
    assert (tmp_path / "it.html").read_text() == page(view_of(sources, None))
    assert "[2] b-register.txt Ben lives in Oslo." in shown
    assert "[3] c-staff.MARKDOWN" in shown
    assert REST in shown
    assert "Oslo. [2]" not in shown


def test_without_more_it_is_the_answer(folder, tmp_path):
    asked(folder, "--quiet", "--json", tmp_path / "it.json")
    assert len(LLMTokenAttributionResult.load(tmp_path / "it.json").output_tokens) > 1


def test_citations(folder, tmp_path):
    target = ("--target", "Oslo. Ben works as a pilot.", "--method", "heta", "--curvature", "fisher")
    shown = asked(folder, *target, "--citations", "--html", tmp_path / "it.html", "--json", tmp_path / "it.json")
    sources = LLMTokenAttributionResult.load(tmp_path / "it.json").sources()
    assert [2] in sources.citations()
    for piece, numbers in zip(sources.answer_pieces, sources.citations(), strict=True):
        assert f"{piece} {''.join(f'[{number}]' for number in numbers)}" in shown
    assert (tmp_path / "it.html").read_text() == sources.to_html(citations=True)
    files = ("--html", tmp_path / "it.html", "--json", tmp_path / "it.json")
    asked(folder, *target, "--citations", "--threshold", "0.9", *files)
    sources = LLMTokenAttributionResult.load(tmp_path / "it.json").sources()
    assert (tmp_path / "it.html").read_text() == sources.to_html(citations=True, threshold=0.9)


def test_through_output_and_instructions(folder, tmp_path):
    more = ("--through-output", "--instructions", "Answer in one word. ", "--json", tmp_path / "it.json")
    shown = asked(folder, "--target", "Oslo.", *more)
    result = LLMTokenAttributionResult.load(tmp_path / "it.json")
    assert result.prompt.startswith("Answer in one word.\n\nBen likes to eat rice.")
    assert result.output_attr is not None
    assert "through the outputs before it" in shown
    assert "Answer in one word." in [piece.strip() for piece in result.pieces]


def test_coarse_to_fine(folder, tmp_path):
    shown = asked(folder, "--target", "Oslo", "--refine", "0.5", "--json", tmp_path / "it.json")
    result = LLMTokenAttributionResult.load(tmp_path / "it.json")
    assert result.provenance["options"]["refine"] == 0.5
    assert "Coarse to fine" in shown
    assert result.sources().document_shares[0, :3].argmax() == 1


def test_a_long_prompt(tmp_path):
    """By sentences, of which a long one has few."""
    folder = tmp_path / "long"
    folder.mkdir()
    _, tokenizer = load_model()
    names = ["Anna", "Carla", "David", "Emma"]
    for i in range(4):
        (folder / f"{i}.txt").write_text(" ".join(f"{names[(i + j) % 4]} lives in Rome." for j in range(10)))
    (folder / "5.txt").write_text("Ben lives in Oslo.")
    asked(folder, "--target", "Oslo", "--json", tmp_path / "it.json", "--method", "targeted")
    result = LLMTokenAttributionResult.load(tmp_path / "it.json")
    assert len(tokenizer.encode(result.prompt)) > 200
    assert len(result.pieces) == 43
    assert result.provenance["options"].get("refine") is None
    assert result.sources().document_shares[0, :5].argmax() == 4


def test_of_a_long_prompt_sentences_of_the_answer_are_explained_as_one(tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    names = ["Anna", "Carla", "David", "Emma"]
    for i in range(5):
        (folder / f"{i}.txt").write_text(" ".join(f"{names[(i + j) % 4]} lives in Rome." for j in range(12)))
    (folder / "5.txt").write_text("Ben lives in Oslo. Ben works as a pilot.")
    given = ("--target", "Oslo. Ben works as a pilot.", "--json", tmp_path / "it.json")
    shown = asked(folder, *given)
    result = LLMTokenAttributionResult.load(tmp_path / "it.json")
    assert result.output_tokens == ["Oslo.", "Ben works as a pilot."]
    assert result.provenance["refined"].endswith("documents or messages")
    assert "Coarse to fine" in shown
    assert result.sources().document_shares[:, :6].argmax(-1).tolist() == [5, 5]
    assert "Each sentence of the answer was explained as one." in shown
    assert "--no-refine looks at each token of the answer and each sentence of the documents" in shown
    asked(folder, *given, "--no-refine", "--quiet")
    result = LLMTokenAttributionResult.load(tmp_path / "it.json")
    assert len(result.output_tokens) > 2
    assert result.provenance["options"].get("refine") is None


def test_with_a_chat_template(folder, tmp_path):
    model, tokenizer = load_model()
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['content'] + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
    )
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    model = ("--model", tmp_path / "model")
    asked(folder, "--target", "Oslo", *model, "--json", tmp_path / "it.json")
    result = LLMTokenAttributionResult.load(tmp_path / "it.json")
    assert result.prompt.endswith(f"Question: {QUESTION}\nAnswer:")
    assert "Answer:" not in [piece.strip() for piece in result.pieces]  # the template's own
    assert result.sources().document_shares[0, :3].argmax() == 1


def test_a_chat_has_its_own_beginning(folder):
    tokenizer = SimpleNamespace(chat_template="{{ messages }}")
    with pytest.raises(ValueError, match="the template of a chat writes its own beginning"):
        documents_input(Question(documents=folder, question=QUESTION, bos=True), tokenizer)


def test_compare_takes_documents(folder, tmp_path):
    methods = ("--methods", "targeted,gradient_norm", "--json", tmp_path / "it.json", "--html", tmp_path / "it.html")
    asked(folder, "--target", "Oslo", *methods, command="compare")
    found = Comparison.load(tmp_path / "it.json")
    assert set(found.groups) == {"a-menu.md", "b-register.txt", "c-staff.MARKDOWN", REST}
    assert "c-staff.MARKDOWN" in (tmp_path / "it.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--chat", "x.json"), "leave it out, or --documents"),
        (("--file", "x.txt"), "leave out the text, or --file"),
        (("a prompt",), "leave out the text, or --file"),
        (("--contrast", "Rome", "--target", "Oslo"), "leave out --contrast"),
        (("--reasoning",), "leave them out, or --documents"),
        (("--thought", "x"), "leave them out, or --documents"),
        (("--threshold", "0.3"), "pass --citations too"),
        (("--citations", "--threshold", "0"), "--threshold is a part of a sentence and must be in (0, 1]"),
        (("--instructions", "Read {documents}."), "leave out the braces"),
        (("--instructions", " "), "--instructions is empty"),
        (("--target", "Oslo", "--generate", "3"), "--generate explains what the model generates"),
        (("--bos",), "--bos: the tokenizer puts"),
    ],
)
def test_what_does_not_go_together(folder, arguments, said):
    assert said in asked(folder, *arguments, code=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--question", QUESTION), "--question goes with documents"),
        (("--instructions", "Read."), "--instructions goes with documents"),
        (("--citations",), "--citations goes with documents"),
        (("--threshold", "0.5"), "--threshold goes with documents"),
        (("--documents", "nowhere"), "--documents needs a question"),
        (("--documents", "nowhere", "--question", " "), "--question is empty"),
        (("--documents", "nowhere", "--question", "Who?"), "there is no such folder or file"),
    ],
)
def test_what_is_missing(arguments, said):
    assert said in run("explain", *arguments, code=1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.txt", b"\xff\xfe", "is no UTF-8 text"),
        ("x.txt", b"a\0b", "is binary"),
        ("x.txt", b" \n", "has no text: take it out"),
        ("x.pdf", b"%PDF", "only files with .md, .markdown, .txt are read"),
        ("folder", None, "has the folder folder"),
    ],
)
def test_files_that_are_no_documents(folder, name, content, said):
    file = folder / name
    file.mkdir() if content is None else file.write_bytes(content)
    assert said in asked(folder, code=1)


def test_an_empty_folder(tmp_path):
    assert "is empty: put the documents into it" in asked(tmp_path, code=1)


def test_json_to_standard_output_alone(folder):
    found = CliRunner().invoke(
        app, ["explain", "--documents", str(folder), "--question", QUESTION, "--target", "Oslo", "--json", "-"]
    )
    assert json.loads(found.stdout)["documents"][1] == "b-register.txt"
