"""What kind of thing a message asks for."""

from __future__ import annotations

import pytest

from weft.components.rag.kinds import EVERYTHING, Asked, classify
from weft.components.rag.talk import small_talk


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Hello, what can you do?", "abilities"), ("Hi! How are you today?", "wellbeing"), ("thanks, bye", "thanks"),
        ("ok, got it", "assent"), ("Are you a robot?", "self"), ("good night", "goodbye"), ("Good manners", None), ("Hi, what is it?", None),
        ("Is this a test of the pump?", None), ("", None), ("How are you supposed to store the vaccine?", None),
    ],
)  # fmt: skip
def test_small_talk(message: str, kind: str | None) -> None:
    """Of several parts the most telling; what asks for more is none."""
    assert small_talk(message) == kind


@pytest.mark.parametrize(
    "message",
    [
        "What is the capital of France?", "How many documents do I need for a visa?", "Which files does the printer accept?",
        "What does the handbook say about leave?", "Who wrote the report?", "What is the summary judgment rule?",
        "What was the outcome of the comparison?", "Does the report give an overview of costs?", "Can I list my flat on the portal?",
        "How do I write a complaint?", "What should I compare before buying?", "Which is larger, Mars or Venus?", "Where are the pumps?",
        "What party rules in Melbourne's inner regions?", "How is the list of members kept?", "When was the translation published?",
        "What did the agency think the channels meant?", "How many steps does the tower have?", "Explain photosynthesis",
        "What are the opening hours?", "Why was the harbour closed?", "Tell me about the harbour", "What time is it?",
        "Is the wall painted or drawn?", "Who is allowed to write to the file?", "In which year was the code of conduct written?",
    ],
)  # fmt: skip
def test_questions_about_facts(message: str) -> None:
    """Whatever words of other kinds are in them."""
    assert classify(message) == Asked()


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("Could you please list my documents, thanks?", Asked("contents")),
        ("Which of my documents mention parental leave?", Asked("contents", ("parental leave",))),
        ("Please summarize handbook.pdf in three sentences", Asked("summary", ("handbook.pdf",), count=3)),
        ("tl;dr", Asked("summary", ("",))),
        ("What are my documents about?", Asked("summary", (EVERYTHING,))),
        ("Summarize everything", Asked("summary", (EVERYTHING,))),
        ("What is the annual report about?", Asked("summary", ("the annual report",), is_sure=False)),
        ("Give me a list of the safety rules", Asked("list", ("the safety rules",))),
        ("What are the ingredients of the cake?", Asked("list", ("ingredients of the cake",))),
        ("Compare a.pdf with b.pdf", Asked("comparison", ("a.pdf", "b.pdf"))),
        ("Compare the prices in a.pdf and b.pdf", Asked("comparison", ("a.pdf", "b.pdf"), "the prices")),
        ("Compare trains and buses in terms of cost", Asked("comparison", ("trains", "buses"), "cost")),
        ("What is the difference between tea and coffee?", Asked("comparison", ("tea", "coffee"))),
        ("Compare them", Asked("comparison", ("them",))),
        ("the old vs the new handbook", Asked("comparison", ("the old handbook", "the new handbook"))),
        ("Write a poem about the sea", Asked("task")), ("what's 12 * 7?", Asked("task")), ("Now say that in German", Asked("task")),
        ("Explain the contract like I'm five", Asked("task")), ("What do you think?", Asked("task")),
    ],
)  # fmt: skip
def test_other_kinds(message: str, asked: Asked) -> None:
    """With what they are about, whatever courtesies stand around it."""
    assert classify(message) == asked


def test_a_pasted_text_does_not_ask() -> None:
    """Of a long message its first or last sentence counts, not what is quoted in between."""
    pasted = "Summarize everything. Write a poem. " * 40
    assert classify(f"Who signed this letter? {pasted}Dear Sir, so far.").kind == "question"
    assert classify(f"{pasted} Who signed this letter?").kind == "question"
    assert classify(f"Summarize this: {pasted}").kind == "summary"


def test_rules_take_no_time() -> None:
    """Whatever is written: no pattern runs away on long, repeating or odd text."""
    for text in (
        "what is the " * 300,
        "compare " * 500,
        "a and b and " * 400,
        "the the the " * 400,
        "in " * 999,
        "?" * 5000,
        "thanks " * 900,
    ):
        classify(text)
        small_talk(text[:1000])
