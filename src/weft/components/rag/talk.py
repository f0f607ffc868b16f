"""What the nodes of a conversation must agree on: what is small talk, and which models are small."""

from __future__ import annotations

import re
from typing import Final, Literal

from weft.contracts.chat import ChatDescription

LARGE_PARAMETERS: Final = 1_000_000_000
"""From this size on a model is trusted to put an answer into words; below, the quote speaks first."""

ABILITIES: Final = (
    "It can answer questions from the documents and quote where it is said, tell which documents there are and which of them "
    "speak of something, sum a document up, list what a document lists (steps, ingredients, requirements), and compare two "
    "documents or things."
)
"""What the program can do, for people and for models that are asked."""

MAX_TALK: Final = 200
"""Characters of a message that may be small talk."""

Talk = Literal["greeting", "thanks", "goodbye", "abilities", "self", "wellbeing", "assent"]

_OTHERS: Final = r"(?:\s(?:there|all|everyone|everybody|again|weft|bot|assistant|friend|team|folks|dear))*"
_TALK: Final[dict[Talk, str]] = {
    # The order matters where one message is several: "hello, what can you do" asks for abilities.
    "abilities": r"""what\s(?:all\s)?(?:can|could|do)\s(?:you|i|we)\s(?:do|ask)(?:\s(?:you|here|for\sme|with\s(?:this|you|it)|exactly))*
        | what\s(?:are\syou\s(?:for|good\sat|good\sfor|capable\sof|able\sto\sdo)|(?:is|are)\syour\s(?:purpose|capabilities|features|functions|skills|abilities))
        | what\s(?:kinds?|sorts?|types?)\sof\s(?:questions?|things|requests?)\s(?:can|could|do|may|should)\s(?:i|you|we)\s(?:ask|answer|do|handle)(?:\s(?:you|here|about))*
        | what\s(?:questions?|things)\s(?:can|could|may|should)\s(?:i|you|we)\s(?:ask|answer|do)(?:\s(?:you|here))?
        | what\s(?:should|may)\si\s(?:ask|do)(?:\s(?:you|here|now|first))*
        | how\s(?:does\s(?:this|it)\swork|do\s(?:i|you)\s(?:use\s(?:this|you|it)|work)|can\s(?:you\shelp(?:\sme)?|i\suse\s(?:this|you|it))|to\suse\s(?:this|you|it)|do\si\s(?:start|begin))
        | what\s(?:(?:can|could|do)\syou\shelp(?:\sme)?|are\syou\sable\sto\s(?:help(?:\sme)?|do))(?:\s(?:with|do|for\sme|here))* | how\s(?:can|could|may|do)\syou\s(?:help|assist)(?:\s(?:me|us|here))*
        | (?:can|could)\syou\shelp(?:\sme)?(?:\sout)? | help(?:\sme)? | i\sneed\s(?:some\s)?help | what\snow | \?+
        | (?:tell\sme\s)?(?:what|about)\s(?:you\scan\sdo|your\s(?:abilities|features)) | what\sis\sthis(?:\s(?:thing|app|page|program|tool|site))?""",
    "self": r"""(?:who|what)(?:'s|\sis|\sare|'re)\s(?:you|this)(?:\sexactly)? | (?:who|what)\sam\si\s(?:talking|speaking|chatting)\s(?:to|with)
        | what(?:'s|\sis)\syour\sname | do\syou\shave\sa\sname | (?:who|what)\s(?:made|built|created|developed|wrote|runs)\syou
        | are\syou\s(?:an?\s)?(?:real\s)?(?:ai|bot|robot|human|person|machine|chatgpt|gpt|llm|alive|real|computer|program|there)(?:\sor\s(?:an?\s)?\w+)*
        | (?:what|which)\s(?:language\s)?(?:model|llm|ai)\s(?:are\syou(?:\s(?:running|using|based)(?:\son)?)?|do\syou\suse|is\sthis|are\syou\susing|is\srunning|do\syou\srun)
        | (?:introduce|tell\sme\s(?:something\s)?about)\syourself""",
    "thanks": r"""(?:many\s|no\s|ok\s|great\s)?(?:thanks?|thx|ty|cheers|merci|danke|gracias)(?:\s(?:you|a\slot|a\sbunch|a\smillion|so\smuch|very\smuch(?:\sindeed)?|indeed|again|for\s(?:(?:your|the|all)\s(?:\w+\s?){1,3}|that|this|it)|everyone|all))*
        | (?:i\s)?appreciate\s(?:it|that|your\shelp) | much\sappreciated | that\s(?:was|is|'s)\s(?:very\s|really\s|so\s)?(?:helpful|useful|great|perfect|all|it|kind)
        | (?:that\s)?(?:helped|helps)(?:\s(?:me\s)?(?:a\slot|much))? | you(?:'re|\sare)\s(?:very\s|so\s|really\s)?(?:great|the\sbest|helpful|awesome|amazing|kind)""",
    "goodbye": r"""(?:good)?bye(?:\sbye)?(?:\sfor\snow)? | good\snight | see\s(?:you|ya)(?:\s(?:later|soon|tomorrow|around))* | (?:cya|ciao|farewell|adieu|so\slong)
        | have\sa\s(?:nice|good|great|lovely)\s(?:day|evening|weekend|one|night|time) | (?:talk|speak)\s(?:to\syou\s)?(?:later|soon)
        | (?:until|till)\snext\stime | take\scare | i(?:'m|\sam)\s(?:done|leaving|off|finished)(?:\s(?:now|for\s(?:today|now)))* | i\s(?:have\sto|must|gotta)\sgo(?:\snow)? | that(?:'s|\sis)\sall(?:\s(?:for\s(?:today|now)))?""",
    "wellbeing": r"""(?:and\s)?how(?:'s|\sis|\sare)\s(?:you|it\sgoing|things|everything|life|your\sday)(?:\s(?:doing|today|feeling|going|all|so\sfar))* | what(?:'s|\sis)\s(?:up|new|going\son) | sup
        | how\sdo\syou\sdo | are\syou\s(?:ok|okay|well|fine) | nice\sto\s(?:meet|see)\syou | pleased\sto\smeet\syou""",
    "greeting": rf"""(?:hi|hello|hey|hiya|heya|howdy|greetings|yo|hallo|hola|bonjour|salut|ciao|moin|servus|namaste|welcome|good\s(?:morning|afternoon|evening|day))+{_OTHERS}
        | (?:is\s)?(?:any(?:one|body)|someone)\s(?:there|here|home|around) | (?:this\sis\sa\s)?test(?:ing)?(?:\s(?:1\s2\s3|one\stwo\sthree|message))?""",
    "assent": r"""ok(?:ay)? | (?:oh\s)?great | cool | nice(?:\sone)? | perfect | good(?:\s(?:job|work|answer|point|to\sknow))? | awesome | excellent | wonderful | fantastic | brilliant | alright | all\sright | fine | wow | interesting | hm+ | aha | lol | haha+
        | got\sit | i\s(?:see|understand|got\sit) | (?:makes|that\smakes)\ssense | understood | yes(?:\splease)? | yep | yeah | no | nope | sure | right | correct | exactly | well\sdone | never\s?mind | no\sproblem | not\sreally | you(?:'re|\sare)\s(?:right|wrong|welcome) | sorry""",
}
_PARTS: Final = {
    kind: re.compile(rf"(?:{pattern})(?=\s|$)", re.VERBOSE | re.IGNORECASE) for kind, pattern in _TALK.items()
}
_NO_WORD = re.compile(r"[^\w\s'?]+")
_FILLER = re.compile(
    r"^(?:and|so|well|oh|then|please|again|now|but|just|also|buddy|mate|man|sir|my\sfriend|dude)(?=\s|$)\s*"
)


def small_talk(text: str) -> Talk | None:
    """What a message that asks nothing of documents wants: greet, thank, agree, or know who speaks; None: it asks more.

    Of a message that is several of these the most telling: ``hello, what can you do?`` is the question.
    """
    if len(text) > MAX_TALK:
        return None
    plain = _NO_WORD.sub(" ", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    words = " ".join(re.sub(r"(?<=\w)\?+", " ", plain).split())
    found: set[Talk] = set()
    while words:
        if filler := _FILLER.match(words):
            words = words[filler.end() :]
            continue
        matches = [
            (match.end(), kind) for kind, part in _PARTS.items() if (match := part.match(words)) is not None
        ]
        if not matches:
            return None
        end, kind = max(matches, key=lambda pair: pair[0])
        found.add(kind)
        words = words[end:].lstrip()
    return next((kind for kind in _TALK if kind in found), None)


def is_small_talk(text: str) -> bool:
    """Whether a message only greets, thanks, agrees or asks after the speaker: documents have nothing to say to it."""
    return small_talk(text) is not None


def is_small(description: ChatDescription) -> bool:
    """Whether a model is too small to be trusted with the words; one that is somewhere else is assumed to be large."""
    if description.parameters is not None:
        return description.parameters < LARGE_PARAMETERS
    return description.local
