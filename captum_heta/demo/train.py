"""Train the embedded model: ``python -m captum_heta.demo.train --out FOLDER``.

Writes the weights, the tokenizer and a model card with the held-out accuracy that was measured. Some minutes on two
cores.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from captum_heta.demo.architecture import GROUPS, HEADS, LAYERS, WIDTH, untrained
from captum_heta.demo.world import NAMES, RELATIONS, draw_facts, example

STEPS = 1500
BATCH = 16
LEARNING_RATE = 1e-3
LONGEST_PASSAGE = 7
QUESTIONS = 6  # about one passage
LABEL_SMOOTHING = 0.05  # a model that is sure beyond rounding has nothing to differentiate
GUESS_WEIGHT = 0.02  # of the loss on tokens that cannot be known from what precedes them
END_WEIGHT = 0.1  # of the loss on what ends an answer; the answer itself has 1
PADDING = -1  # the segment of padding; the passage is segment 0, the questions 1, 2, ...


class Packed(NamedTuple):
    """Texts as tensors of one entry a token: (n,), or (B, n) as a batch."""

    ids: Tensor
    weights: Tensor
    segments: Tensor
    positions: Tensor


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every text has tokens, and every name and value of the world is one."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1024,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def training_text(rng: random.Random, longest: int) -> tuple[str, list[tuple[str, str]]]:
    """A passage without held-out facts, and questions about it with their answers.

    Several people share few relations, so that knowing the relation is not enough.
    """
    count = rng.randint(2, longest)
    while True:
        people = rng.randint(2, count)
        fewest = -(-count // people)
        facts = draw_facts(rng, count, people, rng.randint(fewest, min(len(RELATIONS), max(fewest, 3))))
        if not any(fact.held_out for fact in facts):
            break
    questions = [(fact, for_name) for fact in facts for for_name in (False, True)]
    asked = rng.sample(questions, min(QUESTIONS, len(questions)))
    return " ".join(fact.state(rng) for fact in facts), [fact.ask(for_name) for fact, for_name in asked]


def written_out(passage: str, asked: list[tuple[str, str]]) -> str:
    """A training text as one string, for the tokenizer."""
    return passage + "".join(f"\nQuestion: {question}\nAnswer: {answer}." for question, answer in asked)


def packed(tokenizer: Any, passage: str, asked: list[tuple[str, str]]) -> Packed:
    """A passage once, and each question as if it alone followed. Only the answers and their ends can be known."""
    ids = tokenizer.encode(passage)
    start = len(ids)
    weights, segments, positions = [GUESS_WEIGHT] * start, [0] * start, list(range(start))
    for number, (question, answer) in enumerate(asked, start=1):
        cue = tokenizer.encode(f"{passage}\nQuestion: {question}\nAnswer:")[start:]
        reply = [*tokenizer.encode(f" {answer}.", add_special_tokens=False), tokenizer.eos_token_id]
        ids += cue + reply
        # nothing of weight on the first token: what stands before it here is another question
        weights += [0.0] + [GUESS_WEIGHT] * (len(cue) - 1) + [1.0] * (len(reply) - 2) + [END_WEIGHT] * 2
        segments += [number] * (len(ids) - len(segments))
        positions += range(start, start + len(ids) - len(positions))
    return Packed(torch.tensor(ids), torch.tensor(weights), torch.tensor(segments), torch.tensor(positions))


def batch(tokenizer: Any, rng: random.Random, longest: int) -> Packed:
    """BATCH training texts, padded on the right."""
    rows = [packed(tokenizer, *training_text(rng, longest)) for _ in range(BATCH)]
    fillings = (tokenizer.pad_token_id, 0.0, PADDING, 0)
    return Packed(
        *(
            pad_sequence(list(column), batch_first=True, padding_value=filling)
            for column, filling in zip(zip(*rows, strict=True), fillings, strict=True)
        )
    )


def visible(segments: Tensor) -> Tensor:
    """Which token sees which, (B, 1, n, n) bool: the passage and its own question, as far as they precede it.

    A question that saw the others and their answers would learn to read the answers off them.
    """
    of_key, of_query = segments[:, None, None, :], segments[:, None, :, None]
    return ((of_key == 0) | (of_key == of_query)).tril()


def losses(model: LlamaForCausalLM, texts: Packed) -> tuple[Tensor, float]:
    """The weighted mean loss of a batch, and the share of its answers that are right."""
    ids, weights, segments, positions = texts
    mask = visible(segments[:, :-1])
    logits = model(ids[:, :-1], attention_mask=mask, position_ids=positions[:, :-1]).logits
    expected, weights = ids[:, 1:], weights[:, 1:]
    loss = cross_entropy(logits.transpose(1, 2), expected, reduction="none", label_smoothing=LABEL_SMOOTHING)
    right = (logits.argmax(-1) == expected)[weights == 1].float().mean().item()
    return (loss * weights).sum() / weights.sum(), right


def train(steps: int, seed: int, log: Callable[[str], object]) -> tuple[LlamaForCausalLM, Any]:
    """The trained model and its tokenizer. Passages get longer whenever the answers are mostly right."""
    rng = random.Random(seed)
    tokenizer = train_tokenizer(written_out(*training_text(rng, LONGEST_PASSAGE)) for _ in range(4000))
    torch.manual_seed(seed)
    model = untrained(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 100, 1.0, (steps - step) / (0.35 * steps))
    )
    longest, running = 2, 0.0
    for step in range(1, steps + 1):
        loss, right = losses(model, batch(tokenizer, rng, longest))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        running = 0.98 * running + 0.02 * right
        if running > 0.88 and longest < LONGEST_PASSAGE:
            longest, running = longest + 1, 0.5
        if step % 100 == 0:
            log(f"step {step}/{steps}: passages of up to {longest} sentences, {running:.0%} of the answers right")
    return model.eval(), tokenizer


@torch.no_grad()
def held_out(model: LlamaForCausalLM, tokenizer: Any, count: int, seed: int) -> tuple[float, float]:
    """Share of held-out examples whose answer is the greedy continuation, and the mean probability of the answer."""
    right, probability = 0, 0.0
    for index in range(count):
        item = example(seed, index)
        prompt = tokenizer.encode(item.prompt)
        answer = torch.tensor(tokenizer.encode(item.target, add_special_tokens=False))
        logits = model(torch.tensor(prompt + answer.tolist())[None]).logits[0, len(prompt) - 1 : -1]
        right += torch.equal(logits.argmax(-1), answer)
        probability += logits.softmax(-1).gather(1, answer[:, None]).prod().item()
    return right / count, probability / count


CARD = """---
license: bsd-3-clause
language: en
---
# The embedded model of captum_heta

A Llama-architecture causal language model of {parameters:,} parameters, {megabytes:.1f} MB of float32 safetensors:
{layers} layers, width {width}, {heads} query heads on {groups} key-value heads, {vocabulary} tokens of byte-level BPE.

It reads about six short English sentences and a question about one of them, and answers with one word:

    {prompt}

continues with `{target}`. It is made to try attribution methods on, because the sentence that holds the answer is
known by construction. It knows nothing else.

* **Held-out accuracy: {accuracy:.3f}** on 1,000 examples (`captum_heta.demo.examples(1000, seed=0)`); the mean
  probability of the right answer is {confidence:.3f}. No training text states or asks for the fact that an example
  asks for; its words and the wordings of its sentences were seen.
* **Training**: `python -m captum_heta.demo.train`, {steps:,} steps of {batch} passages with up to {questions} questions
  each, drawn from {people} people and {relations} relations; seed {seed}, label smoothing {smoothing},
  {minutes:.1f} minutes on two cores. The first two layers start in the shape of a look-up
  (`captum_heta/demo/architecture.py`).
* **Licence**: data and weights were made for captum_heta, BSD-3-Clause.
"""


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model", help="default: the package's own")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"default: {STEPS}")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    arguments = parser.parse_args()
    start = time.perf_counter()
    model, tokenizer = train(arguments.steps, arguments.seed, log=lambda line: print(line, flush=True))
    minutes = (time.perf_counter() - start) / 60
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    accuracy, confidence = held_out(model, tokenizer, 1000, seed=0)
    item = example(0, 0)
    card = CARD.format(
        parameters=model.num_parameters(),
        megabytes=(arguments.out / "model.safetensors").stat().st_size / 1e6,
        layers=LAYERS,
        width=WIDTH,
        heads=HEADS,
        groups=GROUPS,
        vocabulary=len(tokenizer),
        prompt=item.prompt.replace("\n", "\n    "),
        target=item.target,
        accuracy=accuracy,
        confidence=confidence,
        steps=arguments.steps,
        batch=BATCH,
        people=len(NAMES),
        relations=len(RELATIONS),
        questions=QUESTIONS,
        seed=arguments.seed,
        smoothing=LABEL_SMOOTHING,
        minutes=minutes,
    )
    (arguments.out / "README.md").write_text(card, encoding="utf-8")
    print(f"held-out accuracy {accuracy:.3f} after {minutes:.1f} minutes; wrote {arguments.out}")


if __name__ == "__main__":
    main()
