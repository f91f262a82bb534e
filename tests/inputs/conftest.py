from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from captum_heta.demo import load_model

# Chat templates in the style of the families that the names say; none has the text of a message where it is not its own
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + (m['content'] or '') + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
MISTRAL = (  # the system's message is written into the user's
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set ns.system = m['content'] + '\\n\\n' %}"
    "{% elif m['role'] == 'user' %}{{ '[INST] ' + ns.system + m['content'] + ' [/INST]' }}{% set ns.system = '' %}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
PLAIN = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
TEMPLATES = {"chatml": CHATML, "llama": LLAMA, "mistral": MISTRAL, "plain": PLAIN}
MARKS = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]"]


def byte_tokenizer(template, trim_offsets):
    """One token a byte, as GPT-2 writes bytes, and the marks of the templates as special tokens; it adds a <s>."""
    vocab = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", additional_special_tokens=MARKS
    )
    bos = ("<s>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=trim_offsets),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[bos]),
        ]
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="session")
def kit():
    """The templates, and tokenizers with one of them: of bytes, and the embedded model's, a copy for each."""

    def embedded(template):
        tokenizer = load_model()[1]
        tokenizer.chat_template = template
        return tokenizer

    return SimpleNamespace(
        templates=TEMPLATES, chatml=CHATML, llama=LLAMA, mistral=MISTRAL, plain=PLAIN, bytes=byte_tokenizer,
        embedded=embedded,
    )  # fmt: skip


@pytest.fixture(params=[(name, how) for name in TEMPLATES for how in ("embedded", "bytes", "trimmed")], ids="-".join)
def tokenizer(request, kit):
    """Each template on each tokenizer; "trimmed" leaves white space out of its offsets."""
    name, how = request.param
    template = kit.templates[name]
    return kit.embedded(template) if how == "embedded" else kit.bytes(template, trim_offsets=how == "trimmed")
