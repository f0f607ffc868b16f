"""A follow-up with what it leaves out: the words that make it a question of its own.

``Who designed it?`` after ``When was the Eiffel Tower built?`` is about the Eiffel Tower; ``and in winter?`` asks the
question before of the winter; ``the second one`` is the second line of the list that was just given. No model: the words
come from the conversation, and where rules do not see what is meant, the telling words of the question before go over,
which is enough to find the passage.
"""
# ruff: noqa: SIM905 - lists of words read as words

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from weft.components.rag.talk import is_small_talk
from weft.text import STOP_WORDS, sentences, words

MAX_QUESTION: Final = 1_000
"""Characters; an embedder reads no more than that of a question."""

MAX_TERMS: Final = 8
"""Words taken over from an earlier question: more would drown the new one."""

MAX_BACK: Final = 3
"""How many questions back a follow-up may reach."""

MAX_ITEM: Final = 200
"""Characters of a line of a list that are taken over."""

_REFERS: Final = frozenset(
    "it its they them their theirs he him his she her hers this that these those there then one ones former latter both "
    "same such here".split()
)
"""Words that stand for something said before."""

_PERSON: Final = re.compile(r"\b(?:he|him|his|she|her|hers)\b", re.IGNORECASE)
_PRONOUN: Final = re.compile(
    r"\b(?P<own>its|their|his|her)(?=\s+\w)|\b(?:it|they|them|he|him|she|her|this|that|these|those)\b(?!\s+\w+(?:ing|s)\b\s+\w+\s+\w)",
    re.IGNORECASE,
)
_DUMMY: Final = re.compile(
    r"\b(?:is|are|was|were|does|did|do|has|have|can|could|will|would)\s+(?:it|there)\b(?=\s+(?:true|possible|any|a|an)\b)"
    r"|\bthere\s+(?:is|are|was|were)\b|\b(?:say|says|said|know|think|mean|means|so)\s+that\b|\bthat\s+(?:is|was)\b(?!\?)",
    re.IGNORECASE,
)
"""``is there a``, ``is it true``, ``says that``: such words stand for nothing."""

_ELLIPSIS: Final = re.compile(
    r"^\s*(?:and|but|or|so|also|then|ok(?:ay)?,?|what about|how about|and what about|what of|same for|what if)\b|"
    r"^\s*(?:why|when|where|who|how|which|how (?:many|much|long|far|old|often|come)|what else|anything else|"
    r"(?:tell me )?more|go on|continue|really|for example|such as)\s*(?:not)?\s*[?.!]*\s*$",
    re.IGNORECASE,
)
ABOUT: Final = re.compile(
    r"^\s*(?:(?:ok(?:ay)?|thanks|great|and|but|or|so|also|then)[\s,]+)*(?:(?:what|how)\s+(?:about|of)\b|(?:the\s+)?same\s+(?:for|of|with)\b)\s*"
    r"|^\s*(?:and|or|but)\b\s*",
    re.IGNORECASE,
)
"""How a follow-up begins that asks the question before of something else."""

_ORDINALS: Final = {
    word: n
    for n, row in enumerate(
        ["first 1st 1", "second 2nd 2", "third 3rd 3", "fourth 4th 4", "fifth 5th 5", "sixth 6th 6", "seventh 7th 7",
         "eighth 8th 8", "ninth 9th 9", "tenth 10th 10"]
    )
    for word in row.split()
}  # fmt: skip
_WORDS_OF_ORDER: Final = "|".join(w for w in [*_ORDINALS, "last"] if not w.isdigit())
_ORDINAL: Final = re.compile(
    rf"\b(?:the\s+)?(?P<n>{_WORDS_OF_ORDER})(?:\s+(?:one|document|doc|file|item|point|step|entry|option|result|source|of\s+(?:them|these|those)))?\b"
    rf"|(?:\b(?:number|no\.?|item|point|document|doc|file|option|step)\s+|\#)(?P<m>\d{{1,2}})\b|^\s*(?P<k>\d{{1,2}})\s*[.)]?\s*$",
    re.IGNORECASE,
)
_BARE_ORDINAL: Final = re.compile(
    rf"\bthe\s+(?:{_WORDS_OF_ORDER})(?:\s+one|\s+of\s+(?:them|these|those))?\s*[?.!]*$", re.IGNORECASE
)
_LINE: Final = re.compile(r"^[ \t]*(?:(?P<n>\d{1,3})[.)]|[-*\u2022])[ \t]+(?P<item>.+)$", re.MULTILINE)
_CITATION: Final = re.compile(r"\s*\[\d{1,3}\](?:\s*\([^()]*\))?")
_PREPOSITION: Final = (
    "in|at|on|for|from|to|with|by|after|before|during|under|over|between|without|of|per|since|until"
)
_WORD: Final = re.compile(r"[^\W_]+(?:[-'\N{RIGHT SINGLE QUOTATION MARK}.][^\W_]+)*")
_NAME: Final = re.compile(r"[^\W\d_][\w'.-]*")
_FILE: Final = re.compile(
    r"\.(?:pdf|docx?|pptx?|xlsx?|csv|html?|md|txt|rtf|epub|eml|json|zip|py|js|ya?ml)$", re.IGNORECASE
)
_REQUESTS: Final = frozenset(
    "list name compare contrast show give summarize summarise sum explain describe write translate draft".split()
)
_ASKING: Final = frozenset("who what when where which why how many much long far old often".split())
_OPENERS: Final = _ASKING | STOP_WORDS | _REQUESTS


def stands_alone(question: str) -> bool:
    """Whether a question can be understood without what was said before."""
    if is_small_talk(question):
        return True
    if _ELLIPSIS.search(question) or _BARE_ORDINAL.search(question):
        return False
    plain = _DUMMY.sub(" ", question)
    return not any(word.removesuffix("'s") in _REFERS for word in words(plain)) and bool(_telling(plain))


def merged(question: str, before: Sequence[str], answer: str = "") -> str:
    """A follow-up with the words that it leaves out.

    Args:
        question: The follow-up.
        before: The user's messages before it, oldest first.
        answer: What was replied to the last of them.
    """
    earlier = [text for text in before[-MAX_BACK:] if not is_small_talk(text)]
    # A chain of follow-ups goes back to the question that began it.
    while len(earlier) > 1 and stands_alone(earlier[-1]):
        earlier = earlier[-1:]
    if not earlier:
        return bounded(question)
    if (full := _swapped(question, earlier)) is not None:
        return bounded(full)
    people = _people(answer, earlier) if _PERSON.search(question) else []
    if not people and (full := _named(question, earlier)) is not None:
        return bounded(full)
    have = set(words(question))
    taken: list[str] = []
    for text in earlier:
        telling = _telling(text)
        names = [word for word in telling if _is_name(word)]
        for word in names or telling:
            if word.lower() not in have:
                have.add(word.lower())
                taken.append(word)
    kept = " ".join([*people, *taken[-MAX_TERMS:]])
    return bounded(f"{question} {kept}") if kept else bounded(question)


def pointed_at(question: str, answer: str) -> str | None:
    """The line of the list in ``answer`` that ``the second one`` or ``number 2`` means; None: it means no line.

    A line is taken without its citation; of ``3. handbook.pdf: 12 passages`` the name.
    """
    match = _ORDINAL.search(question)
    items = lines(answer)
    if match is None or not items:
        return None
    word = (match["n"] or match["m"] or match["k"]).lower()
    index = len(items) - 1 if word == "last" else _ORDINALS.get(word, int(word) - 1 if word.isdigit() else -1)
    return items[index] if 0 <= index < len(items) else None


def lines(answer: str) -> list[str]:
    """The lines of the list in an answer, without marks and citations."""
    found = []
    for match in _LINE.finditer(answer):
        text = _CITATION.sub("", match["item"]).strip(
            " *\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
        )
        found.append(text.partition(" \N{EM DASH} ")[0][:MAX_ITEM])
    return found


def pointing_replaced(question: str, item: str) -> str:
    """The question with the line itself in the place of the words that point at it."""
    return bounded(_ORDINAL.sub(lambda _: item, question, count=1))


def remainder(question: str) -> str | None:
    """What ``and X?`` or ``what about X?`` asks about; None for a message that does not begin so."""
    match = ABOUT.match(question)
    return question[match.end() :].strip(" ?.!,") if match else None


def bounded(text: str) -> str:
    """The question in a message that may hold much else: its asking sentences, or its end."""
    text = " ".join(text.split())
    if len(text) <= MAX_QUESTION:
        return text
    asking = " ".join(text[s:e] for s, e in sentences(text) if text[s:e].endswith("?"))
    return (asking or text)[-MAX_QUESTION:]


def _swapped(question: str, earlier: Sequence[str]) -> str | None:
    """The question before, asked of something else: ``and the Louvre?``, ``and in winter?``, ``the second one?``."""
    rest = remainder(question)
    base = earlier[-1].strip().rstrip("?!. ")
    if remainder(earlier[-1]) is not None and len(earlier) > 1:
        base = merged(earlier[-1], earlier[:-1]).rstrip("?!. ")
    order = re.compile(rf"\b(?:{_WORDS_OF_ORDER})\b", re.IGNORECASE)
    mine, theirs = order.search(question), order.search(base)
    if (
        mine
        and theirs
        and (_BARE_ORDINAL.search(question) or rest is not None)
        and len(_telling(question)) <= 2
    ):
        return f"{base[: theirs.start()]}{mine.group().lower()}{base[theirs.end() :]}?"
    if not rest:
        return None
    if match := re.match(rf"^(?P<p>{_PREPOSITION})\s+(?P<what>\S.*)$", rest, re.IGNORECASE):
        # The same preposition at the end of the question before is what is replaced; else it is added.
        tail = re.compile(rf"\s{match['p']}\s+(?:\S+\s*){{1,4}}$", re.IGNORECASE)
        last = list(tail.finditer(base))
        cut = base[: last[-1].start()] if last and len(base[: last[-1].start()].split()) > 2 else base
        return f"{cut} {rest}?"
    head = re.search(r"(\w{3,})$", rest)
    if head and (same := re.compile(
        rf"\b(?:the|an?|my|our|your|this|their)\s+(?:[\w-]+\s+){{1,3}}?{re.escape(head[1])}\b", re.IGNORECASE
    ).search(base)):  # fmt: skip
        return f"{base[: same.start()]}{rest}{base[same.end() :]}?"  # the pear cake for the apple cake
    names = _names(base)
    if any(_is_name(word) for word in _telling(rest)) and len(names) == 1:
        start, end = names[0]
        lead = re.search(r"\b(?:the|a|an)\s+$", base[:start], re.IGNORECASE)
        return f"{base[: lead.start() if lead else start]}{rest}{base[end:]}?"
    if any(_is_name(word) for word in _telling(rest)):
        telling = [word for word in _telling(base) if not _is_name(word)] + _asking(base)
        have = set(words(question))
        return " ".join([question, *(word for word in telling if word.lower() not in have)][: MAX_TERMS + 1])
    return None


def _named(question: str, earlier: Sequence[str]) -> str | None:
    """The question with the one name of the question before in the place of its pronoun."""
    for text in reversed(earlier):
        names = _names(text)
        if not names:
            continue
        if len(names) > 1:
            return None
        match = next((m for m in _PRONOUN.finditer(question) if not _is_dummy(question, m)), None)
        if match is None:
            return None
        start, end = names[0]
        lead = re.search(r"\bthe\s+$", text[:start], re.IGNORECASE)
        name = f"{'the ' if lead else ''}{text[start:end]}"
        return f"{question[: match.start()]}{name}{chr(39) + 's' if match['own'] else ''}{question[match.end() :]}"
    return None


def _is_dummy(question: str, match: re.Match[str]) -> bool:
    return any(found.start() <= match.start() < found.end() for found in _DUMMY.finditer(question))


def _names(text: str) -> list[tuple[int, int]]:
    """Where runs of capitalised words and numbers stand; the word that begins the sentence is none unless it is a name."""
    runs: list[tuple[int, int]] = []
    for match in _NAME.finditer(text):
        word = match.group().rstrip(".")
        plain = word.lower().removesuffix("'s")
        is_first = not text[: match.start()].strip(" \"'(")
        if _FILE.search(word):
            runs.append((match.start(), match.start() + len(word)))
            continue
        if not word[0].isupper() or (is_first and plain in _OPENERS) or plain in _ASKING:
            continue
        end = match.start() + len(word.removesuffix("'s"))
        if runs and text[runs[-1][1] : match.start()] in (" ", " of ", " of the "):
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((match.start(), end))
    return [run for run in runs if text[run[0] : run[1]].lower() not in STOP_WORDS]


def _people(answer: str, earlier: Sequence[str]) -> list[str]:
    """Names of two or three words in the answer that the questions do not have: ``he`` is one of them."""
    asked = " ".join(earlier).lower()
    found: list[str] = []
    plain = _CITATION.sub(" ", answer)
    for match in re.finditer(r"\b[A-ZÀ-Þ][\w'-]+(?:\s+[A-ZÀ-Þ][\w.'-]+){1,2}", plain):
        name = " ".join(match.group().removesuffix("'s").split())
        first = name.split()[0].lower()
        if first not in STOP_WORDS and name.lower() not in asked and name not in found:
            found.append(name)
    return found[:2]


def _telling(text: str) -> list[str]:
    """The words that say something, as they are written."""
    found = _WORD.findall(text)
    if found and found[0].lower() in _REQUESTS:
        found = found[1:]
    return [
        word
        for word in found
        if word.lower() not in STOP_WORDS and word.lower() not in _REFERS and word.lower() not in _ASKING
    ]


def _asking(text: str) -> list[str]:
    return [word for word in words(text)[:3] if word in _ASKING]


def _is_name(word: str) -> bool:
    return any(character.isupper() or character.isdigit() for character in word)


def name_for(subject: str, before: Sequence[str]) -> str | None:
    """The one name in the questions before that a pronoun stands for; None: there is none, or there are several."""
    return _named(subject, [text for text in before[-MAX_BACK:] if not is_small_talk(text)])
