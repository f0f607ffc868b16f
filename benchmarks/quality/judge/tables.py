"""Tables and lists that are made up, and questions about them: for what public question sets do not have.

A third of the questions is answered by a cell; the others ask for something that no column has, or for a thing that is in no row.
"""
# ruff: noqa: SIM905 - a list of words reads as words

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from examples import Example

KINDS = (
    "folding oak steel small large spare rear front electric garden kitchen round square heavy portable wall ceiling left right "
    "twin double blue red green old winter summer brass copper glass wooden digital manual"
).split()
THINGS = (
    "table chair lamp pump motor chain wheel cabinet shelf bench sensor valve filter kettle ladder tent boat engine desk sofa "
    "mirror clock drill saw hose printer router monitor keyboard tray basket rope anchor sail brush bucket heater fan mixer oven "
    "scale microscope camera tripod bell organ drum violin sledge map globe vase carpet curtain door window gate fence"
).split()
FIRST = "Anna Bram Carla Deniz Elias Fatima Goran Hana Idris Jonas Kofi Lena Mirko Nadia Olga Pavel Rosa Sven Tara Umar Vera Yusuf Zoe".split()
LAST = "Abbott Bergman Castell Duarte Ekholm Farkas Greer Holt Ivarsson Jansen Keane Lorimer Novak Okoro Petrov Rahn Silva Tamm Vance Young".split()
PLACES = "Bergen Porto Graz Lyon Leeds Turku Gent Basel Cork Bari Split Riga Bonn Oulu Jena Hull Nice Vigo Pisa cellar attic shed".split()
MONTHS = "January February March April May June July August September October November December".split()
TITLES = ("", "Price list", "Inventory", "Stock list", "Loans", "Equipment", "Orders")
FIRST_COLUMN = ("Item", "Article", "Name", "Object", "Product")


class Column(NamedTuple):
    """What stands in a column, under which names, and how it is asked for."""

    names: tuple[str, ...]
    value: Callable[[random.Random], str]
    asked: tuple[str, ...]


COLUMNS = (
    Column(
        ("Price", "Price EUR", "Cost", "Unit price"),
        lambda r: f"{r.randrange(3, 900)}.{r.choice(('00', '50', '90', '20'))}",
        ("What does the {} cost?", "How much is the {}?", "What is the price of the {}?"),
    ),
    Column(
        ("Lead time", "Delivery"),
        lambda r: f"{r.randrange(2, 14)} {r.choice(('weeks', 'days'))}",
        ("What is the lead time of the {}?", "How long does it take to deliver the {}?"),
    ),
    Column(
        ("Stock", "In stock", "Pieces"),
        lambda r: str(r.randrange(0, 400)),
        ("How many of the {} are in stock?", "How many pieces of the {} are there?"),
    ),
    Column(
        ("Contact", "Responsible", "Owner"),
        lambda r: f"{r.choice(FIRST)} {r.choice(LAST)}",
        (
            "Who is the contact for the {}?",
            "Who is responsible for the {}?",
            "Whom do I ask about the {}?",
        ),
    ),
    Column(
        ("Supplier", "Maker", "Manufacturer"),
        lambda r: f"{r.choice(LAST)} {r.choice(('Ltd', 'GmbH', '& Sons', 'AB'))}",
        ("Who makes the {}?", "Which supplier delivers the {}?"),
    ),
    Column(
        ("Due", "Date", "Until", "Returned"),
        lambda r: f"{r.randrange(1, 29)} {r.choice(MONTHS)}{r.choice(('', ' 2024', ' 2025'))}",
        ("When is the {} due?", "On which day is the {} due back?", "Until when is the {} borrowed?"),
    ),
    Column(
        ("Place", "Location", "Room", "City"),
        lambda r: r.choice(PLACES),
        ("Where is the {}?", "In which place is the {} kept?", "Where is the {} stored?"),
    ),
    Column(
        ("Weight kg", "Weight", "kg"),
        lambda r: str(r.randrange(1, 900)),
        ("How heavy is the {}?", "How many kilograms does the {} weigh?", "What does the {} weigh?"),
    ),
    Column(
        ("Colour", "Finish"),
        lambda r: r.choice(("white", "black", "grey", "natural", "silver", "beige")),
        ("What colour is the {}?", "In which colour does the {} come?"),
    ),
    Column(
        ("Insured for", "Insurance value"),
        lambda r: f"{r.randrange(2, 90)},000",
        ("For how much is the {} insured?", "What is the insurance value of the {}?"),
    ),
    Column(
        ("Power W", "Watts"),
        lambda r: str(r.randrange(5, 2200)),
        ("How many watts does the {} use?", "What is the power of the {}?"),
    ),
    Column(
        ("Warranty", "Guarantee"),
        lambda r: f"{r.randrange(1, 11)} years",
        ("How long is the warranty on the {}?", "For how many years is the {} guaranteed?"),
    ),
)
NOWHERE = (
    "Is the {} waterproof?", "Does the {} come with a battery?", "Can the {} be rented?", "Is there a manual for the {}?",
    "Who designed the {}?", "How loud is the {}?", "Why was the {} returned?", "Is the {} suitable for children?",
    "Who painted the {}?", "Which country does the {} come from?", "Has the {} been repaired?", "How old is the {}?",
)  # fmt: skip
"""What no column has."""


def tables(count: int, rng: random.Random) -> Iterator[Example]:
    """Examples from so many tables."""
    for number in range(count):
        yield from _examples(f"table {number // 50}", rng)


def _thing(rng: random.Random) -> str:
    return f"{rng.choice(KINDS)} {rng.choice(THINGS)}"


def _code(rng: random.Random) -> str:
    letters = "".join(rng.sample("ABCDEFGHKLMNPRSTX", 2))
    number = rng.randrange(1, 99)
    return rng.choice((f"E{number:02}", f"{letters}-{number:03}", f"{letters}{number:04}", f"F{number}"))


def _examples(group: str, rng: random.Random) -> Iterator[Example]:
    columns = rng.sample(COLUMNS, rng.randrange(1, 5))
    names = [rng.choice(column.names) for column in columns]
    things = list(dict.fromkeys(_thing(rng) for _ in range(rng.randrange(1, 5))))
    codes = [_code(rng) for _ in things] if rng.random() < 0.3 else []
    text, places = _written(things, codes, columns, names, rng)
    row, column = rng.randrange(len(things)), rng.randrange(len(columns))
    thing, asked = things[row], columns[column]
    above = rng.choice(TITLES)

    def example(kind: str, question: str, answer: tuple[int, int] | None = None) -> Example:
        return Example(kind, group, question, above, text, answer)

    yield example("answered", rng.choice(asked.asked).format(thing), places[row, column])
    draw = rng.random()
    if draw < 0.45:
        other = rng.choice([other for other in COLUMNS if other not in columns])
        yield example("attribute", rng.choice(other.asked).format(thing))
    elif draw < 0.6:
        yield example("attribute", rng.choice(NOWHERE).format(thing))
    else:
        kind, _, noun = thing.partition(" ")
        absent = rng.choice(
            (
                _thing(rng),
                f"{rng.choice(KINDS)} {noun}",
                f"{kind} {rng.choice(THINGS)}",
                f"{noun} {_code(rng)}",
            )
        )
        if absent not in things:
            yield example("item", rng.choice(asked.asked).format(absent))
    if codes:
        question = rng.choice(
            ("Which article has the code {}?", "What is {}?", "What does the code {} stand for?")
        )
        if rng.random() < 0.5:
            begin = text.lower().find(thing)
            yield example("answered", question.format(codes[row]), (begin, begin + len(thing)))
        elif (code := _code(rng)) not in codes:
            yield example("item", question.format(code))


def _written(
    things: list[str], codes: list[str], columns: list[Column], names: list[str], rng: random.Random
) -> tuple[str, dict[tuple[int, int], tuple[int, int]]]:
    """The table in one of the ways that documents have it, and where each cell stands."""
    first = rng.choice(FIRST_COLUMN)
    form = rng.choice(("table", "table", "table", "pairs", "paths", "prose"))
    form = "table" if codes else form
    text = " | ".join([first, *(["Code"] if codes else []), *names]) if form == "table" else ""
    places = {}
    for row, thing in enumerate(things):
        begin = {
            "table": f"\n{thing.capitalize()}" + (f" | {codes[row]}" if codes else ""),
            "pairs": f"\n{first}: {thing}",
            "paths": f"\n{first.lower()}s[{row}].name: {thing}",
            "prose": f" The {thing} has",
        }[form]
        text += begin if text else begin[1:]
        for index, (column, name) in enumerate(zip(columns, names, strict=True)):
            text += {
                "table": " | ",
                "pairs": f"\n{name}: ",
                "paths": f"\n{first.lower()}s[{row}].{name.lower().replace(' ', '_')}: ",
                "prose": f"{',' if index else ''} {name.lower()} ",
            }[form]
            value = column.value(rng)
            places[row, index] = (len(text), len(text) + len(value))
            text += value
        text += "." if form == "prose" else ""
    return text, places
