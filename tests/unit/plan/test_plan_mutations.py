"""Whatever stands in a spec, the compiler ends with plans or with a SpecError."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from weft.errors import SpecError
from weft.plan import check
from weft.registry.components import Components
from weft.spec.load import read
from weft.spec.problems import Problems

TEXTS = [
    path.read_text() for path in sorted((Path(__file__).parents[2] / "spec" / "bad").glob("plan-*.yaml"))
]
WORD = re.compile(r"[\w./-]+")
WORDS = sorted({word for text in TEXTS for word in WORD.findall(text)})


def mutated(text: str, chance: random.Random) -> str:
    """The text with a few words replaced, a line gone or a line twice."""
    for _ in range(chance.randint(1, 3)):
        lines = text.splitlines(keepends=True)
        match chance.randrange(4):
            case 0:
                lines.pop(chance.randrange(len(lines)))
            case 1:
                lines.insert(chance.randrange(len(lines)), chance.choice(lines))
            case _:
                word = chance.choice(list(WORD.finditer(text)))
                lines = [text[: word.start()] + chance.choice(WORDS) + text[word.end() :]]
        text = "".join(lines) or "x"
    return text


@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_spec_compiles_or_is_refused(components: Components, seed: int) -> None:
    """Nothing else is raised, whatever is wrong."""
    chance = random.Random(seed)
    text = mutated(chance.choice(TEXTS), chance)
    problems = Problems()
    spec = read({"spec.yaml": text}, problems)
    try:
        plans = check(
            spec, components, problems=problems, workers=chance.randint(1, 2), split=chance.random() < 0.3
        )
    except SpecError:
        return
    assert len(plans) == len(spec.megaservices)
