"""What is asked of other packages, and what becomes of their scores: with stand-ins for them."""

import pytest
import torch

from captum_heta import compare
from captum_heta.attr import ContextCite, LLMTokenAttribution
from captum_heta.inputs import ChatInput, TextInput
from captum_heta.methods import METHODS, PEERS, named_methods
from captum_heta.models import LanguageModel
from captum_heta.peers import ContextCitePackage, FlashTrace, InseqSaliency, InterpretoLime, ShapText
from captum_heta.testing.architectures import tiny_model

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nBen lives in"
OUTPUT = " Oslo Rome"
TOKENS = [name for name in PEERS if name not in ("context_cite_package", "shap_text")]  # with scores that are known


def explained(name, demo, inp=PROMPT, **options):
    model, tokenizer = demo
    method = PEERS[name].make(model, tokenizer)
    inp = TextInput(inp, tokenizer) if isinstance(inp, str) else inp
    return LLMTokenAttribution(method, tokenizer).attribute(inp, target=OUTPUT, **options)


def outputs_of(demo):
    return demo[1].encode(OUTPUT, add_special_tokens=False)


@pytest.mark.parametrize("name", PEERS)
def test_what_is_not_installed_fails_alone_in_one_sentence(name, demo, monkeypatch):
    monkeypatch.setattr("captum_heta.peers.package.find_spec", lambda name: None)
    model, tokenizer = demo
    found = compare([name, "normxlogit"], tokenizer, PROMPT, OUTPUT, model=model)
    assert found.names == ["NormXLogit"]
    extra = PEERS[name].type.package.extra
    message = f"ImportError: {extra} is not installed: pip install 'captum-heta[{extra}]'."
    assert str(found.failures[PEERS[name].title]) == message


@pytest.mark.usefixtures("stubs")
@pytest.mark.parametrize("name", PEERS)
def test_the_model_stays_as_it_was(name, demo, state_of, monkeypatch):
    model, tokenizer = tiny_model("llama", vocab_size=len(demo[1])).train(), demo[1]
    next(model.parameters()).requires_grad_(False)
    model(torch.tensor([[2, 3]])).logits.sum().backward()
    before, draws = state_of(model), torch.get_rng_state()
    special = tokenizer.special_tokens_map, tokenizer.padding_side, len(tokenizer)
    found = compare([name], tokenizer, PROMPT, OUTPUT, model=model)
    assert not found.failures
    assert state_of(model) == before
    assert torch.equal(torch.get_rng_state(), draws)
    assert (tokenizer.special_tokens_map, tokenizer.padding_side, len(tokenizer)) == special


@pytest.mark.parametrize("name", TOKENS)
def test_scores_stand_at_the_tokens_that_they_are_of(name, demo, stubs, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(0.0))
    found = explained(name, demo)
    inp = TextInput(PROMPT, demo[1])
    ids = torch.tensor(inp.ids)[inp.itp_mask[0]].float()
    # FlashTrace is called for each output, with one token behind the prompt
    rows = torch.stack([ids + 100 * (name == "flashtrace"), ids + 100])
    torch.testing.assert_close(found.token_attr, rows)
    torch.testing.assert_close(found.seq_attr, rows.sum(0))
    sentences = explained(name, demo, feature_mask=inp.sentence_mask())
    mask = inp.sentence_mask()
    sums = torch.stack([rows[:, mask == number].sum(1) for number in mask.tolist()], 1)
    torch.testing.assert_close(sentences.token_attr, sums)


@pytest.mark.parametrize("name", TOKENS)
def test_a_chat_is_read_as_it_is_rendered(name, demo, stubs, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(0.0))
    tokenizer = demo[1]
    monkeypatch.setattr(tokenizer, "chat_template", "<s>{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    inp = ChatInput([{"role": "user", "content": PROMPT}], tokenizer)
    found = explained(name, demo, inp)
    ids = torch.tensor(inp.ids)[inp.itp_mask[0]].float()
    torch.testing.assert_close(found.token_attr[0], ids + 100 * (name == "flashtrace"))


@pytest.mark.parametrize("name", TOKENS)
def test_coarse_to_fine_is_the_same_as_every_token(name, demo, stubs):
    whole, parts = explained(name, demo), explained(name, demo, refine=0.5)
    torch.testing.assert_close(parts.token_attr, whole.token_attr)


@pytest.mark.parametrize("name", TOKENS)
def test_outputs_before_an_output_are_explained_as_the_prompt_is(name, demo, stubs, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(0.0))
    found = explained(name, demo, include_output=True)
    first = outputs_of(demo)[0] + 100.0 * (name == "flashtrace")
    torch.testing.assert_close(found.output_attr, torch.tensor([[0.0, 0.0], [first, 0.0]]))


def test_outputs_together_are_a_sum_but_for_flashtrace(demo, stubs):
    ids = torch.tensor(TextInput(PROMPT, demo[1]).ids[1:]).float()
    torch.testing.assert_close(explained("inseq_saliency", demo, per_token=False).seq_attr, 2 * ids + 100)
    torch.testing.assert_close(explained("flashtrace", demo, per_token=False).seq_attr, ids + 200)


@pytest.mark.parametrize("name", [name for name in PEERS if name not in ("flashtrace", "shap_text")])
def test_packages_that_read_other_tokens_are_refused(name, demo, stub):
    module = PEERS[name].type.package.module
    made = stub(module)
    entry = {"inseq": "load_model", "context_cite": "ContextCiter"}.get(module) or PEERS[name].type.kind
    original = getattr(made, entry)

    def deaf(model, *arguments, **named):
        found = original(model, *arguments, **named)
        tokenizer = found.tokenizer
        first = tokenizer.pad_token

        class Deaf:
            def __call__(self, text, **options):
                return tokenizer(f"{first} {text}", **options)

            def encode(self, text, **options):
                return tokenizer.encode(f"{first} {text}", **options)

            def __getattr__(self, name):
                return getattr(tokenizer, name)

        found.tokenizer = Deaf()
        return found

    setattr(made, entry, deaf)
    with pytest.raises((ValueError, RuntimeError), match="other tokens than it was given|failed on"):
        explained(name, demo)


def test_flashtrace_that_reads_other_tokens_is_refused(demo, stub):
    made = stub("flashtrace")
    original = made.FlashTrace.trace

    class Deaf(made.FlashTrace):
        def trace(self, **named):
            found = original(self, **named)
            found.prompt_tokens.append("more")
            return found

    made.FlashTrace = Deaf
    with pytest.raises(ValueError, match="FlashTrace.* read 17 tokens and 1 behind them, and was given 16 and 1"):
        explained("flashtrace", demo)


def test_shap_that_reads_other_tokens_is_refused(demo, stub):
    made = stub("shap")
    original = made.Explainer

    class Deaf(original):
        def __init__(self, value, masker, algorithm):
            super().__init__(lambda rows: value(rows + 1), masker, algorithm)

    made.Explainer = Deaf
    with pytest.raises(RuntimeError, match="SHAP.* failed on .*: ValueError: SHAP.* read other tokens"):
        explained("shap_text", demo)


@pytest.mark.parametrize("name", PEERS)
def test_what_fails_in_a_package_is_told_in_a_line(name, demo, stub):
    def fail(*arguments, **named):
        raise AssertionError("This is\nnot so.")

    kind = getattr(PEERS[name].type, "kind", "")
    names = ("load_model", "FlashTrace", "ContextCiter", "Explainer", kind)
    stub(PEERS[name].type.package.module, **dict.fromkeys(filter(None, names), fail))
    model, tokenizer = demo
    found = compare([name], tokenizer, PROMPT, OUTPUT, model=model)
    (failure,) = found.failures.values()
    assert str(failure).startswith("RuntimeError: ")
    assert str(failure).endswith(f" failed on {type(model).__name__}: AssertionError: This is")


def test_flashtrace_reads_models_like_llama_alone(demo, stubs):
    method = FlashTrace(tiny_model("gpt2"), demo[1])
    with pytest.raises(TypeError, match="FlashTrace reads models that are built as Llama alone, and GPT2LMHeadModel"):
        method.attribute(torch.tensor([[2, 3]]))


@pytest.mark.parametrize("kind", [FlashTrace, ShapText])
def test_a_method_of_texts_needs_the_tokenizer(kind, demo):
    name = "flashtrace" if kind is FlashTrace else "shap_text"
    with pytest.raises(TypeError, match="looks at the text of tokens: pass the model's tokenizer."):
        named_methods([name], demo[0])


def test_flashtrace_explains_no_stops(demo, stubs):
    model, tokenizer = demo
    llm = LLMTokenAttribution(FlashTrace(model, tokenizer), tokenizer)
    found = llm.attribute(TextInput(PROMPT, tokenizer), target=" Oslo.")
    assert found.token_attr[0].min() > 0
    assert torch.equal(found.token_attr[1], torch.zeros_like(found.token_attr[1]))
    with pytest.raises(ValueError, match="explains no ',', '.' or white space, and the output '.' is nothing else"):
        llm.attribute(TextInput(PROMPT, tokenizer), target=".")


def test_sources_of_context_cite_are_the_features(demo, stubs):
    found = explained("context_cite_package", demo, n_samples=8)
    inp = TextInput(PROMPT, demo[1])
    mask = inp.sentence_mask()
    sizes = torch.bincount(mask.unique(return_inverse=True)[1])[mask.unique(return_inverse=True)[1]]
    torch.testing.assert_close(found.seq_attr, sizes + 0.008)
    assert found.token_attr is None
    assert len(set(mask.tolist())) == 3
    own = LLMTokenAttribution(ContextCite(demo[0]), demo[1]).attribute(inp, target=OUTPUT, n_samples=2)
    torch.testing.assert_close(found.output_probs, own.output_probs)


def test_the_last_token_stays_where_no_source_does(demo, stubs):
    ids = torch.tensor([[5, 6, 7]])
    method = ContextCitePackage(demo[0])
    found = method.attribute(ids, feature_mask=torch.tensor([[0, 0, 0]]), target=3, n_samples=1000)
    torch.testing.assert_close(found, torch.full((1, 3), 3.0))  # of three tokens the last is left, and 1 by the draws


def test_shap_values_are_of_log_odds(demo, stubs):
    model, tokenizer = demo
    found = explained("shap_text", demo, perturbations_per_eval=3)
    inp = TextInput(PROMPT, tokenizer)
    masked, outputs = tokenizer.encode("...")[1], outputs_of(demo)

    def log_odds(ids):
        with torch.no_grad():
            logits = model(torch.tensor([ids + outputs[:-1]])).logits[0, -len(outputs) :].double()
        p = logits.softmax(-1)[range(len(outputs)), outputs]
        return (p / (1 - p)).log()

    whole = log_odds(inp.ids)
    rows = [whole - log_odds([*inp.ids[:i], masked, *inp.ids[i + 1 :]]) for i in range(1, len(inp.ids))]
    torch.testing.assert_close(found.token_attr, torch.stack(rows, 1).float(), rtol=1e-3, atol=1e-4)


def test_shap_needs_two_tokens(demo, stubs):
    with pytest.raises(ValueError, match="SHAP groups the tokens of a prompt, and this one has a single token"):
        ShapText(*demo).attribute(torch.tensor([[4]]))


def test_draws_of_interpreto_follow_the_seed(demo, stubs):
    ids = torch.tensor([[5, 6, 7]])
    rows = [InterpretoLime(demo[0]).attribute(ids, target=3, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


def test_draws_of_interpreto_are_averaged(demo, stubs):
    model, tokenizer = demo
    llm = LLMTokenAttribution(InterpretoLime(model), tokenizer)
    inp = TextInput(PROMPT, tokenizer)
    once, twice = (llm.attribute(inp, target=" Oslo", num_trials=count).seq_attr[0] for count in (1, 2))
    torch.manual_seed(0)
    first, second = torch.rand(()), torch.rand(())
    torch.testing.assert_close(twice - once, (first + second) / 2 - first, rtol=1e-3, atol=1e-4)


def test_plain_ids_are_explained_without_a_tokenizer(demo, stubs):
    ids = torch.tensor([[5, 6, 7], [8, 9, 3]])
    found = InseqSaliency(demo[0]).attribute(ids, target=torch.tensor([4, 5]))
    torch.testing.assert_close(found, ids.float())


def test_names_of_other_packages_are_other_names():
    assert not set(PEERS) & set(METHODS)
    titles = [method.title for method in (METHODS | PEERS).values()]
    assert len(set(titles)) == len(titles)
    assert all(": " not in title for title in titles)  # which tables of a benchmark read as a part of a method


def test_lengths_are_checked_with_the_output_where_it_is_read(stubs):
    model = tiny_model("llama")
    most = LanguageModel(model).max_positions
    ids = torch.full((1, most), 5)
    assert InseqSaliency(model).attribute(ids, target=3).shape == (1, most)
    with pytest.raises(ValueError, match=f"{most + 1}"):
        ContextCitePackage(model).attribute(ids, target=3)
