"""Train the evidence reader's judge, and write what was learned into the package.

    python benchmarks/quality/judge/train.py DATA --base MODEL [--minutes 60] [--seed 0] [--continue] [--out judge.npz]

DATA is a folder with ``new_wiki_v1.0.json``, ``amazon_reviews_v1.0.json`` and ``reddit_v1.0.json`` (github.com/modestyachts/
squadshifts-website, folder ``datasets``) and ``nq-open-oracle.jsonl`` (github.com/nelson-liu/lost-in-the-middle, folder
``qa_data``, unpacked); MODEL is the folder of all-MiniLM-L6-v2 in Weft's cache. Takes torch; one thread is enough. A twelfth of the
articles is left out and measured on. Neither xquad's articles nor the documents of this benchmark are in what is learned from.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
import torch
from examples import Example, Maker, load
from model import Reading, learned, loss, marked, restore
from tables import tables

from weft.components.evidence.judge import (
    BEGIN,
    LEARNED,
    MAX_ABOVE,
    MAX_QUESTION,
    MAX_TOKENS,
    SEMICOLON,
    SEPARATOR,
)

BATCH, CHUNK = 32, 50
TABLES = 4_500
LEFT_OUT = 12
MEASURED = 2_400
RATE, RISE = 1.5e-3, 0.04


class Tokens(NamedTuple):
    """An example as the model takes it."""

    kind: str
    ids: list[int]
    kinds: list[int]
    same: list[int]
    start: int
    end: int


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--continue", action="store_true", dest="goes_on", help="from what --out has")
    parser.add_argument("--out", type=Path, default=LEARNED)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    rng = random.Random(given.seed)
    net = Reading(given.base / "model.onnx")
    if given.goes_on:
        with np.load(given.out) as numbers:
            restore(net, dict(numbers))
    tokenizer = tokenizers.Tokenizer.from_file(str(given.base / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    maker = Maker([*load(given.data, random.Random(0))], rng)
    known, unseen = prepared(maker, tokenizer, rng)
    print(f"{len(known)} examples, {sum(p.numel() for p in net.parameters() if p.requires_grad)} numbers")
    for line in train(net, known, unseen, given.minutes, given.rate, rng):
        print(line, flush=True)
        np.savez_compressed(given.out, **learned(net))


def prepared(
    maker: Maker, tokenizer: tokenizers.Tokenizer, rng: random.Random
) -> tuple[list[Tokens], list[Tokens]]:
    """Examples to learn from, and those of articles that are left out."""
    made = [*maker(), *tables(TABLES, rng)]
    groups = sorted({example.group for example in made})
    out = {*groups[::LEFT_OUT]}
    known, unseen = [], []
    for example in made:
        if (tokens := encoded(example, tokenizer)) is not None:
            (unseen if example.group in out else known).append(tokens)
    rng.shuffle(unseen)
    return known, sorted(unseen[:MEASURED], key=lambda tokens: len(tokens.ids))


def encoded(example: Example, tokenizer: tokenizers.Tokenizer) -> Tokens | None:
    """As :meth:`weft.components.evidence.judge.Judge.read` does it; None if the answer is cut off."""
    asked = tokenizer.encode(example.question, add_special_tokens=False).ids[:MAX_QUESTION]
    above = tokenizer.encode(example.above, add_special_tokens=False).ids[:MAX_ABOVE] if example.above else []
    said = tokenizer.encode(example.text, add_special_tokens=False)
    first = [BEGIN, *asked, SEPARATOR]
    begin = len(first) + (len(above) + 1 if above else 0)
    room = MAX_TOKENS - begin - 1
    second = [*above, SEMICOLON] if above else []
    second += [*said.ids[:room], SEPARATOR]
    kinds = [0] * len(first) + [1] * len(second)
    here, there = {*asked}, {*above, *said.ids[:room]}
    ids = [*first, *second]
    same = [int(token in (here if kind else there)) for token, kind in zip(ids, kinds, strict=True)]
    for mark in (0, len(first) - 1, len(ids) - 1):
        same[mark] = 0
    if example.answer is None:
        return Tokens(example.kind, ids, kinds, same, 0, 0)
    start, end = example.answer
    inside = [i for i, (a, b) in enumerate(said.offsets[:room]) if b > start and a < end]
    if not inside:
        return None
    return Tokens(example.kind, ids, kinds, same, begin + inside[0], begin + inside[-1])


def batches(examples: list[Tokens], rng: random.Random) -> Iterator[list[Tokens]]:
    """For ever; texts of about one length together."""
    while True:
        rng.shuffle(examples)
        for at in range(0, len(examples), BATCH * CHUNK):
            chunk = sorted(examples[at : at + BATCH * CHUNK], key=lambda tokens: len(tokens.ids))
            made = [chunk[i : i + BATCH] for i in range(0, len(chunk), BATCH)]
            rng.shuffle(made)
            yield from made


def tensors(examples: Sequence[Tokens]) -> tuple[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor]:
    """What the model takes, and where the answers begin and end."""
    longest = max(len(tokens.ids) for tokens in examples)
    fed = np.zeros((4, len(examples), longest), np.int64)
    for row, tokens in enumerate(examples):
        mask = [1] * len(tokens.ids)
        for part, values in enumerate((tokens.ids, tokens.kinds, mask, tokens.same)):
            fed[part, row, : len(values)] = values
    places = torch.tensor([[tokens.start, tokens.end] for tokens in examples])
    return tuple(torch.tensor(fed)), places[:, 0], places[:, 1]


def train(
    net: Reading,
    known: list[Tokens],
    unseen: list[Tokens],
    minutes: float,
    rate: float,
    rng: random.Random,
) -> Iterator[str]:
    """Learn for so long; every few minutes how well it goes."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    began = said = time.monotonic()
    seen, lately = 0, deque[float](maxlen=100)
    for examples in batches(known, rng):
        done = (time.monotonic() - began) / (60 * minutes)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, done / RISE) * (1 - done)
        fed, start, end = tensors(examples)
        wrong = loss(*net(*fed), start, end)
        optimiser.zero_grad()
        wrong.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        seen += len(examples)
        lately.append(wrong.item())
        if time.monotonic() - said > 180:
            said = time.monotonic()
            yield f"{done:.2f} {seen} examples, loss {np.mean(lately):.3f}, {measured(net, unseen)}"
    yield f"{seen} examples, {measured(net, unseen)}"


@torch.no_grad()
def measured(net: Reading, examples: Sequence[Tokens]) -> str:
    """AUROC by kind of example without an answer, and how often the marked words touch the answer."""
    net.eval()
    sure, right, kinds = [], [], []
    for at in range(0, len(examples), 48):
        some = examples[at : at + 48]
        fed, start, end = tensors(some)
        answer, answers = net(*fed)
        better, first, last = marked(answer)
        sure += (answers + better / 4).tolist()
        right += ((first <= end) & (last >= start)).tolist()
        kinds += [tokens.kind for tokens in some]
    net.train()
    scores, names = np.array(sure), np.array(kinds)
    yes = scores[names == "answered"]
    found = {
        kind: float(np.mean(yes[:, None] > scores[names == kind]))
        for kind in ["own", "other", "swapped", "attribute", "item"]
        if kind in kinds
    }
    all_of = float(np.mean(yes[:, None] > scores[names != "answered"]))
    touched = np.mean(np.array(right)[names == "answered"])
    return f"AUROC {all_of:.4f} ({', '.join(f'{k} {v:.3f}' for k, v in found.items())}), marked {touched:.3f}"


if __name__ == "__main__":
    main()
