"""Messages that are no questions about facts, and the reply that is fitting for each, about the documents in ``harbour/``.

The first twenty were written down before the rules that tell them apart; the rest came after, in three batches, each asked
once before anything was changed for it: of the first 10 of 24 got the fitting reply, of the second 18 of 24, of the third
21 of 26. What was missed was mended then, so that all of them hold now but the one in ``MISSED``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from weft.components.rag.reply import SAID

FILES = ("boats.txt", "contract.txt", "handbook-2019.md", "handbook.md", "recipes.md")
INGREDIENTS = ("3 apples", "200 g flour", "100 g butter", "80 g sugar", "2 eggs")
STEPS = ("Heat the oven to 180 degrees.", "Stir butter, sugar and eggs", "Fold in the flour.", "Lay the sliced apples on top.", "Bake for 40 minutes.")  # fmt: skip
RULES = ("Wear eye protection", "Tie back long hair", "Switch machines off", "Report every accident")


@dataclass(frozen=True)
class Fitting:
    """What a reply must be.

    Attributes:
        begins: How it begins.
        has: What is in it, in this order.
        cites: Sources of all its citations; None: any, or none.
        least, most: How many citations.
        has_not: What is not in it.
    """

    begins: str = ""
    has: tuple[str, ...] = ()
    cites: frozenset[str] | None = None
    least: int = 0
    most: int = 99
    has_not: tuple[str, ...] = ("The documents do not answer",)

    def misses(self, text: str, sources: list[str]) -> list[str]:
        """What is wrong with a reply; nothing: it fits."""
        wrong = []
        if not text.startswith(self.begins):
            wrong.append(f"does not begin with {self.begins!r}")
        place = 0
        for words in self.has:
            found = text.find(words, place)
            if found < 0:
                wrong.append(f"has no {words!r} after character {place}")
            place = max(place, found)
        wrong += [f"has {words!r}" for words in self.has_not if words in text]
        if self.cites is not None and set(sources) != self.cites:
            wrong.append(f"cites {sorted(set(sources))}")
        if not self.least <= len(sources) <= self.most or len(re.findall(r"\[\d+\]", text)) != len(sources):
            wrong.append(f"has {len(sources)} citations")
        return wrong


def talk(kind: str) -> Fitting:
    """The fixed words for small talk."""
    return Fitting(SAID[kind].partition("{model}")[0], most=0)


def summary(name: str, *, least: int = 2, most: int = 5) -> Fitting:
    """Sentences of one document."""
    return Fitting(name, ("in its own words:",), frozenset({name}), least, most)


def items(*lines: str, source: str) -> Fitting:
    """A list, item by item."""
    return Fitting("- ", lines, frozenset({source}), len(lines), len(lines))


def side_by_side(*parts: str) -> Fitting:
    """Two things, each with its evidence."""
    return Fitting("**", parts, None, 2)


CONTENTS = Fitting("There are 5 documents with ", FILES, most=0)
LARGER = Fitting("That needs a larger language model", ("--llm URL#model",))
EVERYTHING = Fitting("There are 5 documents; a sentence of each:", FILES, frozenset(FILES), 5, 5)
DINGHY = side_by_side("dinghy**", "dinghy", "keelboat**", "keelboat")
NOTICE = side_by_side("**contract.txt**", "ten days", "**handbook.md", "three months")


def speaks(*names: str) -> Fitting:
    """Which documents speak of something."""
    return Fitting(f"{len(names)} document", (), frozenset(names), len(names), len(names))


WRITTEN_DOWN: list[tuple[str, Fitting]] = [
    ("Hello there!", talk("greeting")),
    ("Thanks, that helped a lot.", talk("thanks")),
    ("Goodbye!", talk("goodbye")),
    ("What can you do?", talk("abilities")),
    ("Who are you?", talk("self")),
    ("What is in my documents?", CONTENTS),
    ("How many documents do you have?", CONTENTS),
    ("Which documents mention the notice period?", speaks("contract.txt", "handbook.md")),
    ("Summarize handbook.md", summary("handbook.md")),
    ("Give me a short summary of the freelance contract", summary("contract.txt")),
    ("What is boats.txt about?", summary("boats.txt")),
    ("Summarize all my documents", EVERYTHING),
    ("Summarize the employee handbook", Fitting("2 documents could be meant:", ("handbook-2019.md", "handbook.md", "Which one do you mean?"), most=0)),
    ("List the ingredients of the apple cake", items(*INGREDIENTS, source="recipes.md")),
    ("List all safety rules of the workshop", items(*RULES, source="handbook.md")),
    ("What are the steps to bake the apple cake?", items(*STEPS, source="recipes.md")),
    ("What is the difference between a dinghy and a keelboat?", DINGHY),
    ("Compare the notice period in contract.txt and handbook.md", NOTICE),
    ("Write a poem about the harbour", LARGER),
    ("Translate the safety rules into German", LARGER),
]  # fmt: skip

FIRST: list[tuple[str, Fitting]] = [
    ("yo, anybody home?", talk("greeting")),
    ("cheers mate, much appreciated", talk("thanks")),
    ("what are you able to help me with?", talk("abilities")),
    ("could you tell me which files have been loaded so far?", CONTENTS),
    ("is there a document on cooking in here?", speaks("recipes.md")),
    ("I'd like an inventory of the library please", CONTENTS),
    ("In a few words, what does contract.txt deal with?", summary("contract.txt")),
    ("Please boil the boat guide down to two sentences", Fitting(has=("boats.txt",))),
    ("what's the gist of the galley recipes?", summary("recipes.md")),
    ("main takeaways from the contract?", summary("contract.txt")),
    ("give me the whole collection in a nutshell", EVERYTHING),
    ("what do I need for the apple cake?", items(*INGREDIENTS, source="recipes.md")),
    ("enumerate the rules for working in the workshop", items(*RULES, source="handbook.md")),
    ("walk me through baking the apple cake step by step", items(*STEPS, source="recipes.md")),
    ("dinghy or keelboat: what sets them apart?", DINGHY),
    ("how do the leave rules of employees and freelancers differ?", side_by_side("employees**", "days", "**freelancers**", "no paid leave")),
    ("put the handbook.md and contract.txt next to each other as to notice", side_by_side("**handbook.md", "three months", "**contract.txt**", "ten days")),
    ("pros and cons of a dinghy compared with a keelboat", DINGHY),
    ("compose a limerick on lentils", LARGER),
    ("how would you phrase the notice clause in French?", LARGER),
    ("what's 15% of 95 euros?", LARGER),
    ("Can you come up with a name for my boat?", LARGER),
    ("do you reckon freelancing is a good idea?", LARGER),
    ("rewrite the safety rules as a rap", LARGER),
]  # fmt: skip

SECOND: list[tuple[str, Fitting]] = [
    ("Hey there", talk("greeting")),
    ("thank you for the explanation", talk("thanks")),
    ("ok bye, have a good weekend", talk("goodbye")),
    ("What sort of things can I ask you about?", talk("abilities")),
    ("Which language model are you running?", talk("self")),
    ("show me what documents you've got", CONTENTS),
    ("how many files did I upload?", CONTENTS),
    ("Do any of my files talk about sick days?", speaks("contract.txt")),
    ("in which document is the core time mentioned?", speaks("handbook.md")),
    ("Can I get a summary of recipes.md?", summary("recipes.md")),
    ("Please summarise the 2019 handbook in one sentence", summary("handbook-2019.md", least=1, most=1)),
    ("What are the main points of the document about boats?", summary("boats.txt")),
    ("Sum up the freelance contract for me in 2 bullet points", summary("contract.txt", most=2)),
    ("Could you give me the ingredients for the apple cake?", items(*INGREDIENTS, source="recipes.md")),
    ("tell me all the safety rules of the workshop, please", items(*RULES, source="handbook.md")),
    ("what steps do I have to follow to bake the apple cake?", items(*STEPS, source="recipes.md")),
    ("Compare a dinghy to a keelboat", DINGHY),
    ("How does the new handbook differ from the handbook of 2019?", side_by_side("**handbook.md", "**handbook-2019.md")),
    ("Explain the differences between employees and freelancers regarding paid leave", side_by_side("**employees**", "days", "**freelancers**", "no paid leave")),
    ("Write an email to Ben Larsen reminding him of the notice period", LARGER),
    ("Can you translate contract.txt to Spanish?", LARGER),
    ("How much is 38 hours times 52 weeks?", LARGER),
    ("Make up a bedtime story about a keelboat", LARGER),
    ("What's your opinion on lentil soup?", LARGER),
]  # fmt: skip

THIRD: list[tuple[str, Fitting]] = [
    ("Good evening!", talk("greeting")),
    ("Great, thank you very much indeed", talk("thanks")),
    ("see you tomorrow", talk("goodbye")),
    ("hi, how do I use this?", talk("abilities")),
    ("What's your name?", talk("self")),
    ("Tell me what files are stored here", CONTENTS),
    ("Which documents are available to you?", CONTENTS),
    ("What's in the collection at the moment?", CONTENTS),
    ("Is there anything in my files about insurance?", Fitting("None of the 5 documents seems to speak of", most=0)),
    ("which of my documents deal with sailing?", speaks("boats.txt")),
    ("I need a brief overview of the employee handbook of Harbour Tools", summary("handbook.md")),
    ("What's recipes.md about?", summary("recipes.md")),
    ("Summarise boats.txt in three bullet points, please", summary("boats.txt", least=3, most=3)),
    ("Can you explain what the freelance contract says in general?", summary("contract.txt")),
    ("What are the instructions for the apple cake?", items(*STEPS, source="recipes.md")),
    ("Name the safety rules", items(*RULES, source="handbook.md")),
    ("Show me the steps for baking the apple cake, numbered", items(*STEPS, source="recipes.md")),
    ("What are the differences between handbook-2019.md and handbook.md?", side_by_side("**handbook-2019.md", "**handbook.md")),
    ("Freelancers versus employees: who gets paid leave?", side_by_side("**Freelancers**", "no paid leave", "**employees**", "days of paid leave")),
    ("Compare working hours in the old and the new handbook", side_by_side("**handbook-2019.md", "40 hours", "**handbook.md", "38 hours")),
    ("Please generate a cover letter for a job at Harbour Tools", LARGER),
    ("Say hello in Italian", LARGER),
    ("Could you write me a Python script that prints the ingredients?", LARGER),
    ("Give me three ideas for a company party", LARGER),
    ("summarize the weather report", Fitting("There is no document called", most=0)),
]  # fmt: skip

MISSED = ("list everything I need to bake the apple cake", items(*INGREDIENTS, source="recipes.md"))
"""It gets the steps: that what one needs are ingredients takes more than words and headings."""
