"""Documents of our own and questions about them: a regression in retrieval, reading or refusing shows here first."""

from __future__ import annotations

FILES = {
    "allotments.md": """\
# Riverside Allotments

## Membership
A plot costs 48 crowns a year. The waiting list is kept by Ingrid Holm, and it is reviewed every March.
Members who have not worked their plot for ten weeks are written to; after twenty weeks the plot goes to the next on the list.

## Water
Hoses may be used before nine in the morning and after six in the evening. The main valve is behind the tool shed. It must be
closed by hand when frost is forecast, which the warden does.

## Bees
Two hives stand in the orchard. They belong to the beekeepers' guild of Tolborg, which gives every member a jar in August.
""",
    "ferry.txt": """\
The ferry Aurora was built in 1931 at the yard of Brekke & Sons. She carried coal for eleven years. In 1942 she was taken over by
the navy and painted grey.

After the war her boilers were replaced by two diesel engines. That made her slower, but she needed a crew of five instead of
fourteen. She was sold to a museum in 1988 for a single crown.

Her bell hangs in the town hall of Tolborg. It rings on the first Sunday of every month.
""",
    "lighthouse.txt": """\
The lighthouse on Gull Rock is 34 metres high. It was lit for the first time in October 1874, after the wreck of the schooner
Petrel had cost nineteen lives.

Its keeper lived on the rock with his family until 1961, when the lamp was made automatic. The last keeper was Anders Lunde. His
daughter wrote a book about their winters there.

The lamp can be seen from 21 nautical miles away. Visitors are let in between May and September, never more than eight at a time.
""",
    "crane.md": """\
# Harbour crane 7

The crane lifts 12 tonnes at a reach of 18 metres. Above a wind of 60 km/h it must be locked.

| Part | Check | Interval |
|---|---|---|
| Hook block | cracks | every week |
| Slewing ring | play | every 3 months |
| Brake linings | thickness, at least 4 mm | every 500 hours |
| Limit switches | function | every day |
""",
    "crane-old.md": """\
# Harbour crane 3

The crane lifts 5 tonnes at a reach of 11 metres. Above a wind of 45 km/h it must be locked. It was scrapped in 2009 and its
motor went to the technical school.
""",
    "guesthouse.txt": """\
Welcome to the guest house. Breakfast is served from 7 to 10 in the winter garden. Bicycles can be borrowed free of charge; ask the
caretaker for a lock.

The front door is locked at eleven at night. If you come later, the code for the side entrance is on your room card. Dogs are
welcome in the rooms on the ground floor and cost 15 crowns a night.

Check-out is at noon. Luggage can be left in the cellar until five.
""",
    "bread.md": """\
# Rye bread

- 500 g of rye flour
- 380 ml of warm water
- 90 g of sourdough starter
- 11 g of salt

Mix everything and let it stand for twelve hours under a cloth. Bake it for 15 minutes at 250 degrees, then for 45 minutes at 200.
The loaf is done when it sounds hollow underneath. It keeps for a week.
""",
    "minutes.txt": """\
Minutes of the harbour board, 3 February. Present: Solveig Dahl (chair), Peter Moe, Karin Aas. Absent with apologies: Tor Lie.

1. The dredging of the inner basin is put off until autumn, because the contractor's barge is under repair.
2. Peter Moe reported that mooring fees had brought in 212,000 crowns, nine per cent more than the year before.
3. The board decided by two votes to one to ban jet skis inside the breakwater from 1 May.
""",
}

ANSWERED = [
    ("How much does a plot cost per year?", "allotments.md", "48 crowns"),
    ("Who keeps the waiting list for plots?", "allotments.md", "Ingrid Holm"),
    ("Where is the main water valve?", "allotments.md", "behind the tool shed"),
    ("Who owns the bee hives?", "allotments.md", "guild of Tolborg"),
    ("When was the Aurora built?", "ferry.txt", "1931"),
    ("How large was the crew of the ferry after it got diesel engines?", "ferry.txt", "five"),
    ("Where is the ferry's bell today?", "ferry.txt", "town hall of Tolborg"),
    ("What did the museum pay for the ferry?", "ferry.txt", "a single crown"),
    ("How tall is the lighthouse?", "lighthouse.txt", "34 metres"),
    ("Who was the last keeper of the lighthouse?", "lighthouse.txt", "Anders Lunde"),
    ("How many visitors may be in the lighthouse at once?", "lighthouse.txt", "eight"),
    ("What does crane 7 lift?", "crane.md", "12 tonnes"),
    ("How often are the limit switches of the crane checked?", "crane.md", "every day"),
    ("How thick must brake linings be?", "crane.md", "4 mm"),
    ("At which wind must crane 3 be locked?", "crane-old.md", "45 km/h"),
    ("What happened to the motor of crane 3?", "crane-old.md", "technical school"),
    ("When is breakfast?", "guesthouse.txt", "7 to 10"),
    ("What does it cost to bring a dog?", "guesthouse.txt", "15 crowns"),
    ("How do I get in after eleven at night?", "guesthouse.txt", "side entrance"),
    ("How much salt goes into the rye bread?", "bread.md", "11 g"),
    ("How long does the dough stand?", "bread.md", "twelve hours"),
    ("Why is the dredging put off?", "minutes.txt", "barge is under repair"),
    ("How much money came in from mooring fees?", "minutes.txt", "212,000 crowns"),
    ("From what date are jet skis banned?", "minutes.txt", "1 May"),
]
"""Question, the file that answers it, and words that the quote must have."""

UNANSWERED = [
    "Who discovered penicillin?",
    "What is the capital of Mongolia?",
    "How do I renew a passport?",
    "What is the boiling point of ethanol?",
    "Who won the football world cup in 1998?",
    "How is a Python list sorted in reverse?",
    "What is the wireless password of the office?",
    "Which vaccines does a puppy need?",
    "How much is a train ticket to Vienna?",
    "When did the Roman empire fall?",
]
