"""The embedded models by their names: what each is before it is trained, how it is trained, what its card says."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from captum_heta.demo import architecture
from captum_heta.demo.lessons import LONGEST_PASSAGE, MOST_CHAINS, Lesson, chain_text, training_text
from captum_heta.demo.measured import Answers, Chains, held_out, held_out_chains
from captum_heta.demo.two_steps import chain
from captum_heta.demo.world import example


class Task(NamedTuple):
    """What a model learns."""

    lesson: Lesson
    longest: int
    unit: str
    """What passages are counted in, of which the longest has ``longest``."""
    measure: Callable[[PreTrainedModel, Any, int, int], Answers | Chains]
    """From the model, its tokenizer, how many examples and their seed to what the card says of them."""
    shown: Callable[[], tuple[str, str]]
    """Prompt and output of the card's example."""
    card: str


class Recipe(NamedTuple):
    """One embedded model."""

    task: Task
    untrained: Callable[[Any], PreTrainedModel]
    """From the tokenizer to the model at step 0; random draws come from torch's global generator."""
    steps: int
    copies_first: bool
    """Whether training begins with repeated words, before the first passage."""
    stored: torch.dtype
    """Of the weights in the file; the model computes in float32."""
    own_tokenizer: bool
    """Whether a tokenizer is trained; else it is that of the first model."""
    title: str
    family: str
    shape: str
    start: str
    """The card's words: its heading, of what architecture it is, on its layers, on how training began."""


def _neox(tokenizer: Any) -> GPTNeoXForCausalLM:
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _example() -> tuple[str, str]:
    item = example(0, 0)
    return item.prompt, item.target or ""


def _chain() -> tuple[str, str]:
    item = chain(0, 0)
    return item.prompt, item.reasoning + item.answer


_CARD = """---
license: bsd-3-clause
language: en
---
# {title}

A {family}-architecture causal language model of {parameters:,} parameters, {megabytes:.1f} MB of {dtype} safetensors:
{shape}, {vocabulary} tokens of byte-level BPE.

It reads about six short English sentences and a question about one of them, and answers with one word:

    {prompt}

continues with `{target}`. It is made to try attribution methods on, because the sentence that holds the answer is
known by construction. It knows nothing else. `captum_heta.demo.load_model("{model}")` loads it, in float32.

* **Held-out accuracy: {accuracy:.3f}** on 1,000 examples (`captum_heta.demo.examples(1000, seed=0)`); the mean
  probability of the right answer is {confidence:.3f}. No training text states or asks for the fact that an example
  asks for; its words and the wordings of its sentences were seen.
* **Training**: `python -m captum_heta.demo.train --model {model}`, {steps:,} steps of {batch} passages
  with up to {questions} questions each, drawn from {people} people and {relations} relations; seed {seed},
  label smoothing {smoothing}, {minutes:.1f} minutes on {cores}. {start}
* **Licence**: data and weights were made for captum_heta, BSD-3-Clause.
"""

_CHAIN_CARD = """---
license: bsd-3-clause
language: en
---
# {title}

A {family}-architecture causal language model of {parameters:,} parameters, {megabytes:.1f} MB of {dtype} safetensors:
{shape}, {vocabulary} tokens of byte-level BPE.

It reads ten short English sentences, who is with whom and who is where, and answers where somebody is by writing the
person and then the place:

    {prompt}

continues with `{target}`. It is made to try attribution of reasoning on, because both facts are known by construction:
the person comes from the first, the place from the second and from the person that is written. It knows nothing else.
`captum_heta.demo.load_model("{model}")` loads it, in float32.

* **Held-out accuracy: {accuracy:.3f}** on 1,000 chains (`captum_heta.demo.chains(1000, seed=0)`), of the person
  {first:.3f}, of the place behind the right person {second:.3f}; the mean probability of both words is
  {confidence:.3f}. No training text has either fact; their words were seen.
* **It reads the place off what is written**: behind another person of the same text instead of the right one, the
  likeliest place is that person's in {followed:.3f} of the cases, four a chain.
* **Training**: `python -m captum_heta.demo.train --model {model}`, {steps:,} steps of {batch} passages
  of up to {longest} chains with a question about each, drawn from {people} people and {places} places; seed {seed},
  label smoothing {smoothing}, {minutes:.1f} minutes on {cores}. Half of the answers begin with another
  person than the right one, which is not asked for, and go on with that person's place. {start}
* **Licence**: data and weights were made for captum_heta, BSD-3-Clause.
"""

FACTS = Task(
    lesson=training_text,
    longest=LONGEST_PASSAGE,
    unit="sentences",
    measure=held_out,
    shown=_example,
    card=_CARD,
)
CHAINS = Task(
    lesson=chain_text,
    longest=MOST_CHAINS,
    unit="chains",
    measure=held_out_chains,
    shown=_chain,
    card=_CHAIN_CARD,
)

_LLAMA = (
    f"{architecture.LAYERS} layers, width {architecture.WIDTH}, {architecture.HEADS} query heads on "
    f"{architecture.GROUPS} key-value heads"
)
_LOOK_UP = "The first two layers start in\n  the shape of a look-up (`captum_heta/demo/architecture.py`)."

RECIPES = {
    "llama": Recipe(
        task=FACTS,
        untrained=architecture.untrained,
        steps=1500,
        copies_first=False,
        stored=torch.float32,
        own_tokenizer=True,
        title="The embedded model of captum_heta",
        family="Llama",
        shape=_LLAMA,
        start=_LOOK_UP,
    ),
    "gpt_neox": Recipe(
        task=FACTS,
        untrained=_neox,
        steps=3000,
        copies_first=True,
        stored=torch.float16,
        own_tokenizer=False,
        title="The second embedded model of captum_heta",
        family="GPT-NeoX",
        shape="4 layers, width 128, 4 heads; the tokenizer is the first model's",
        start="Every weight starts from the usual\n"
        "  random draw of transformers, none in a shape. Words in random order, twice, come before the passages,\n"
        "  until they are copied.",
    ),
    "chain": Recipe(
        task=CHAINS,
        untrained=architecture.untrained,
        steps=900,
        copies_first=False,
        stored=torch.float16,
        own_tokenizer=False,
        title="The embedded model of captum_heta that answers in two steps",
        family="Llama",
        shape=f"{_LLAMA}; the tokenizer is the first model's",
        start=_LOOK_UP,
    ),
}
