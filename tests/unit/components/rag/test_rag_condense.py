"""A question out of a conversation."""

from __future__ import annotations

import pytest

from ragkit import ScriptedModel
from weft.components.rag.condense import CHOICE, CondenseQuestion, CondenseRequest
from weft.components.rag.followups import MAX_QUESTION, merged, stands_alone
from weft.components.rag.talk import is_small_talk
from weft.errors import InvalidRequestError, UnreachableError
from weft.types import ContentPart, Message


def talk(*texts: str) -> CondenseRequest:
    """A conversation of questions, each but the last answered."""
    messages = []
    for text in texts[:-1]:
        messages += [Message("user", text), Message("assistant", "An answer about Paris and much else.")]
    return CondenseRequest([Message("system", "Be kind."), *messages, Message("user", texts[-1])])


async def ask(*texts: str, chat: ScriptedModel | None = None) -> str:
    return (await CondenseQuestion(chat or ScriptedModel()).invoke(talk(*texts))).query


async def test_a_first_question_is_taken_as_it_is() -> None:
    """Without a history nothing is changed, and the model is not asked."""
    model = ScriptedModel(parameters=8_000_000_000)
    assert await ask("Who designed it?", chat=model) == "Who designed it?"
    assert model.requests == []


async def test_a_question_that_stands_alone_is_taken_as_it_is() -> None:
    """The history is never searched for."""
    assert await ask("When was the Louvre built?", "Who wrote Faust?") == "Who wrote Faust?"


@pytest.mark.parametrize(
    ("before", "last", "has", "has_not"),
    [
        ("When was the Eiffel Tower built?", "Who designed it?", ["Eiffel", "Tower", "designed"], ["built"]),
        (
            "When was the Eiffel Tower built?",
            "And the Louvre?",
            ["Louvre", "built", "When"],
            ["Eiffel", "Tower"],
        ),
        ("When was the Eiffel Tower built?", "What about the Louvre?", ["Louvre", "built"], ["Eiffel"]),
        ("What is photosynthesis?", "Why is it important?", ["photosynthesis", "important"], []),
        ("What is photosynthesis?", "Why?", ["photosynthesis"], []),
        ("What is photosynthesis?", "Tell me more", ["photosynthesis"], []),
        ("How does error code 42 arise?", "And how do I fix that?", ["42"], []),
    ],
)
async def test_a_follow_up_takes_over_what_it_leaves_out(
    before: str, last: str, has: list[str], has_not: list[str]
) -> None:
    """With a small model the words that are missing come from the question before."""
    query = await ask(before, last)
    assert all(word in query for word in has), query
    assert not any(word in query for word in has_not), query
    assert "Paris" not in query


async def test_a_chain_of_follow_ups_reaches_its_beginning() -> None:
    """The third question is still about what the first one named."""
    assert "Eiffel" in await ask("When was the Eiffel Tower built?", "Who designed it?", "Where was he born?")


async def test_a_later_subject_replaces_an_earlier_one() -> None:
    """A question in between that stands alone ends the chain."""
    query = await ask("When was the Louvre built?", "Who wrote Faust?", "When did he die?")
    assert "Faust" in query
    assert "Louvre" not in query


@pytest.mark.parametrize("text", ["thanks!", "Thank you so much", "hello", "ok", "bye"])
async def test_small_talk_takes_over_nothing(text: str) -> None:
    """A word of thanks after a question is no question."""
    assert await ask("When was the Louvre built?", text) == text


async def test_a_large_model_rewrites() -> None:
    """A model that can is asked, with the turns as data, and its question is used."""
    model = ScriptedModel("Who designed the Eiffel Tower?", parameters=8_000_000_000)
    assert await ask("When was the Eiffel Tower built?", "Who designed it?", chat=model) == model.words
    (request,) = model.requests
    assert request.messages[0].role == "system"
    assert "user: Who designed it?" in request.messages[1].text()
    assert request.temperature == 0


@pytest.mark.parametrize("words", ["", "x" * 600, "one\ntwo"])
async def test_a_model_that_rambles_is_not_listened_to(words: str) -> None:
    """No question, a page, or several lines: the words are taken over instead."""
    model = ScriptedModel(words, parameters=8_000_000_000)
    assert "Eiffel" in await ask("When was the Eiffel Tower built?", "Who designed it?", chat=model)


async def test_a_model_that_is_away_is_no_failure() -> None:
    """The words are taken over when the model cannot be reached."""

    async def away(*_: object) -> None:
        raise UnreachableError("no connection")

    model = ScriptedModel(parameters=8_000_000_000)
    model.invoke = away
    assert "Eiffel" in await ask("When was the Eiffel Tower built?", "Who designed it?", chat=model)


async def test_without_a_model_it_works_too() -> None:
    """The chat is optional."""
    reply = await CondenseQuestion().invoke(talk("What is photosynthesis?", "Why?"))
    assert "photosynthesis" in reply.query


async def test_a_long_message_is_cut_to_what_it_asks() -> None:
    """Of a pasted text the sentences that ask stay, within the bound."""
    query = await ask("What does the clause on liability say? " + "Lorem ipsum dolor sit amet. " * 500)
    assert query == "What does the clause on liability say?"
    assert MAX_QUESTION - 5 < len(await ask("word " * 5000)) <= MAX_QUESTION
    assert len(merged("Why " * 200, ["name " * 300 + "X" * 900])) <= MAX_QUESTION


async def test_parts_of_a_message_count_by_their_text() -> None:
    """A message of parts is its text."""
    message = Message("user", [ContentPart("text", "What is this?"), ContentPart("image_url", image_url={})])
    assert (await CondenseQuestion().invoke(CondenseRequest([message]))).query == "What is this?"


@pytest.mark.parametrize("messages", [[], [Message("system", "x")], [Message("user", "  ")]])
async def test_a_conversation_without_a_question_is_refused(messages: list[Message]) -> None:
    """There must be a message of the user with text."""
    with pytest.raises(InvalidRequestError) as refused:
        await CondenseQuestion().invoke(CondenseRequest(messages))
    assert refused.value.param == "messages"
    assert "has the role 'user'; the roles here: " in str(refused.value)


@pytest.mark.parametrize(
    ("question", "alone"),
    [
        ("What is the capital of France?", True), ("Is there a limit on file size?", True), ("Is it possible to pay by card?", True),
        ("Who says that prices rise?", True), ("How old is it?", False), ("and in Germany?", False), ("When?", False),
        ("What is their budget?", False), ("Which one is larger?", False),
    ],
)  # fmt: skip
def test_what_stands_alone(question: str, *, alone: bool) -> None:
    """A question that refers to nothing said before stands alone."""
    assert stands_alone(question) is alone


@pytest.mark.parametrize(
    ("text", "small"),
    [
        ("Hi!", True), ("hello there", True), ("Hi, how are you?", True), ("good morning :)", True), ("Thanks a lot!", True),
        ("What can you do?", True), ("who are you", True), ("Hi, what is the refund period?", False),
        ("history of Rome", False), ("good manners", False), ("no refunds", False), ("", False), ("What is hello world?", False),
    ],
)  # fmt: skip
def test_what_is_small_talk(text: str, *, small: bool) -> None:
    """Greetings and thanks are; a question that begins with one is not."""
    assert is_small_talk(text) is small


LIST = "There are 3 documents with 9 passages in all:\n\n1. contract.pdf \u2014 4 passages\n2. handbook.pdf \u2014 3 passages\n3. cake.md \u2014 2 passages"
CITED = "\u201cThe tower was designed by Gustave Eiffel.\u201d [1] (Paris in History)"


@pytest.mark.parametrize(
    ("said", "kind", "query", "subjects"),
    [
        (("What are the opening hours?", "", "and in winter?"), "question", "What are the opening hours in winter?", []),
        (("What are the opening hours in summer?", "", "and in winter?"), "question", "What are the opening hours in winter?", []),
        (("When was the first bridge built?", "", "and the second one?"), "question", "When was the second bridge built?", []),
        (("When was the Eiffel Tower built?", "", "Who designed it?"), "question", "Who designed the Eiffel Tower?", []),
        (("What does the basic plan cost?", "", "and the premium plan?"), "question", "What does the premium plan cost?", []),
        (("Summarize handbook.pdf", "", "who wrote it?"), "question", "who wrote handbook.pdf?", []),
        (("What is in my documents?", LIST, "Summarize the second one"), "summary", "Summarize handbook.pdf", ["handbook.pdf"]),
        (("What is in my documents?", LIST, "what about the last one?"), "summary", "Summarize cake.md", ["cake.md"]),
        (("What is in my documents?", LIST, "who wrote number 2?"), "question", "who wrote handbook.pdf?", []),
        (("Summarize handbook.pdf", "", "and contract.pdf?"), "summary", "and contract.pdf?", ["contract.pdf"]),
        (("List the ingredients of the apple cake", "", "and the pear cake?"), "list", "the ingredients of the pear cake?", []),
        (("Which documents mention leave?", "", "and notice?"), "contents", "and notice?", ["notice"]),
        (("Summarize the report", f"{LIST}\n\n{CHOICE}", "the third"), "summary", "Summarize the report (cake.md)", ["cake.md"]),
        (("Summarize the report", f"{LIST}\n\n{CHOICE}", "Contract"), "summary", "Summarize the report (contract.pdf)", ["contract.pdf"]),
        (("Summarize the report", f"{LIST}\n\n{CHOICE}", "Who wrote Faust?"), "question", "Who wrote Faust?", []),
        (("Summarize a.pdf", "", "Compare them"), "comparison", "Compare them", ["them"]),
        (("What is Weft?", "", "Summarize it"), "summary", "Summarize it", ["Weft"]),
        (("Who are you?", "", "When was the tower built?"), "question", "When was the tower built?", []),
    ],
)  # fmt: skip
async def test_what_is_left_out_is_in_the_conversation(
    said: tuple[str, ...], kind: str, query: str, subjects: list[str]
) -> None:
    """A question of its own comes out, of the kind that is meant, without a model."""
    messages = [Message("assistant" if n % 2 else "user", text) for n, text in enumerate(said)]
    reply = await CondenseQuestion().invoke(CondenseRequest(messages))
    assert (reply.kind, reply.query, reply.subjects) == (kind, query, subjects)


async def test_a_person_is_in_the_answer() -> None:
    """``he`` is who the answer named."""
    messages = [Message("user", "Who designed the tower?"), Message("assistant", CITED), Message("user", "Where was he born?")]  # fmt: skip
    query = (await CondenseQuestion().invoke(CondenseRequest(messages))).query
    assert "Gustave Eiffel" in query
    assert "History" not in query


async def test_a_model_does_not_decide_the_kind() -> None:
    """It rewrites the question; what is done with it follows from the user's own words."""
    model = ScriptedModel("Write a poem about the Eiffel Tower", parameters=8_000_000_000)
    messages = talk("When was the Eiffel Tower built?", "Who designed it?")
    reply = await CondenseQuestion(model).invoke(messages)
    assert (reply.kind, reply.query) == ("question", model.words)


async def test_a_model_that_changes_the_subject_is_not_listened_to() -> None:
    """A question that shares no word with the conversation is none of it."""
    model = ScriptedModel("HACKED forever", parameters=8_000_000_000)
    assert "Eiffel" in await ask("When was the Eiffel Tower built?", "Who designed it?", chat=model)
