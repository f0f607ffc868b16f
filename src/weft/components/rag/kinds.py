"""What kind of thing a message asks for: a fact, a summary, a list, a comparison, or nothing that documents can tell.

Rules, no model: they cost microseconds, give the same for the same message, and no document can talk them into anything.
What no rule knows is a question about facts, which is what most messages are and where a mistake costs least.
"""
# ruff: noqa: SIM905, ISC004, RUF001 - lists of words read as words; a pattern may go over lines; people write other signs for times

from __future__ import annotations

import re
from typing import Final, Literal, get_args

from msgspec import Struct

from weft.components.rag.talk import is_small_talk

Kind = Literal["question", "talk", "contents", "summary", "list", "comparison", "task"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)

EVERYTHING: Final = "*"
"""The subject that is all documents."""


class Asked(Struct, frozen=True):
    """What a message asks for.

    Attributes:
        kind: ``question`` (facts), ``talk`` (greetings, thanks, what can you do), ``contents`` (which documents there
            are), ``summary``, ``list``, ``comparison``, ``task`` (writing, translating, reckoning, opinions).
        subjects: What it is about, in its own words: the document to sum up, the things to compare.
        aspect: What the subjects are compared in; empty: in general.
        count: How many sentences or points are wanted; None: not said.
        is_sure: False where the words may as well ask for a fact (``what is the handbook about``).
    """

    kind: Kind = "question"
    subjects: tuple[str, ...] = ()
    aspect: str = ""
    count: int | None = None
    is_sure: bool = True


def _rule(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.VERBOSE | re.IGNORECASE)


_POLITE: Final = _rule(
    r"""^(?:(?:hi|hello|hey|ok|okay|so|well|now|and|also|then|great|cool|perfect|thanks|thank\syou|please|kindly|just|but|
             alright|right|next|sorry|excuse\sme)\b[\s,.!:;-]*
         | (?:can|could|would|will|might)\syou\s(?:please\s|kindly\s|maybe\s|quickly\s|briefly\s|just\s|also\s)*
         | (?:can|could|may|might)\s(?:i|we)\s(?:please\s|also\s)?(?:get|have|see)\s(?=an?\s|the\s)
         | would\syou\smind\s
         | (?:i|we)(?:'d|\swould)\s(?:like|love)\s(?:you\s)?(?:to\s)?(?:(?:get|have|see)\s)?
         | (?:i|we)\s(?:want|need)\s(?:you\s)?(?:to\s)?(?:(?:get|have|see)\s)?
         | help\sme\s(?:to\s)?(?:with\s)? | let'?s\s | let\sme\s(?:see|have)\s | try\sto\s | go\sahead\sand\s
         | (?:in|with)\s(?:a\s(?:few|couple\sof)\s|short|brief|\w+\s)?(?:words|sentences?|lines?)?[,:]\s | briefly[,:]?\s | quick(?:ly)?[,:]?\s
         | (?:do\syou\sknow|tell\sme|i\swonder|any\sidea)(?=\s(?:what|which|how)\b)\s )*""",
)
_TRAILING: Final = _rule(
    r"(?:[\s,;-]*\b(?:please|thanks|thank\syou|for\sme|for\sus|if\syou\scan|if\spossible|briefly|quickly|in\sshort|again|now))*"
    r"[\s?.!]*$"
)
_LENGTH: Final = _rule(
    r"""[\s,(]*\b(?:in|within|using|with|as|into|to)\s(?:about\s|at\smost\s|max(?:imum)?\s|no\smore\sthan\s|only\s|just\s)?
        (?P<n>\d{1,2}|an?|one|two|three|four|five|six|seven|eight|nine|ten|a\sfew|some)?\s?
        (?:short\s|brief\s|simple\s|key\s|main\s)?(?:sentences?|lines?|points?|bullets?(?:\spoints?)?|paragraphs?|words)\)?$"""
)
_NUMBERS: Final = {
    word: n for n, word in enumerate("one two three four five six seven eight nine ten".split(), 1)
}

_DOCUMENTS: Final = (
    r"(?:documents?|docs?|files?|pdfs?|uploads?|sources?|library|collection|knowledge\s?base|database|corpus|"
    r"materials?|archive|folder|papers|data|texts)"
)
_MINE: Final = r"(?:(?:of\s)?(?:my|the|your|our|these|those|this|that|all|every|any)\s)*"
_STATE: Final = r"(?:uploaded|available|ingested|indexed|loaded|stored|added|current(?:ly)?|existing|known|imported|saved)"

_CONTENTS: Final = [
    _rule(p)
    for p in (
        # What is in my documents?  What's in here?
        rf"^what(?:\sis|'s|\sare|\sdo\s(?:we|i|you)\shave|\sdo\syou\ssee)\s(?:there\s)?(?:in|inside|within|stored\sin)\s"
        rf"(?:here|there|it|{_MINE}(?:{_STATE}\s)?{_DOCUMENTS})(?:\s(?:right\s)?now|\sat\sthe\smoment)?$",
        rf"^what(?:\sis|'s)\s{_STATE}(?:\s(?:here|in\s.*))?$",
        # Which documents do you have?  What files are there?
        rf"^(?:what|which|whose|how\smany)\s(?:of\s)?(?:\w+\s)?(?:{_STATE}\s)?(?:{_DOCUMENTS}|passages|chunks)"
        rf"(?:\s(?:exactly|all))?\s(?:do|did|have|has|can|are|is|were)\s"
        rf"(?:(?:you|i|we)\b(?:\scurrently|\salready|\sall|\sactually)?(?:\s(?:have|got|know(?:\sof|\sabout)?|see|read|access|"
        rf"hold|contain|search|{_STATE}|upload|ingest|add|load|give\syou|work\swith|use|look\sat|ask\s(?:you\s)?about))?"
        rf"|there|in\b|inside|{_STATE}|been\s{_STATE})(?:\s(?:in|on|to|into|for|at|so|access|here|there|right|now|{_MINE}{_DOCUMENTS}|"
        rf"have|moment|far|you|with|me|already|currently|the|{_STATE}))*$",
        # List my documents.  Show me all files that you have.
        rf"^(?:list|show|name|give|display|enumerate|print|tell|see|view)\s?(?:me\s|us\s)?(?:a\slist\sof\s|"
        rf"the\s(?:names|titles|list)\sof\s|the\sinventory\sof\s|what(?:'s|\sis)\sin\s|what\s|which\s)?{_MINE}"
        rf"(?:{_STATE}\s)?(?:documents|docs|files|pdfs|uploads|sources|library|collection|knowledge\s?base)"
        rf"(?:\s(?:names|titles|list))?(?:\s(?:that\s|which\s)?(?:are\s|is\s)?(?:(?:you|i|we)\s.*|in|there|here|{_STATE}"
        rf"|in\s(?:here|there|(?:the|my|your)\s\w+)))*$",
        rf"^(?:an?|the)\s(?:inventory|list(?:ing)?|catalog(?:ue)?|index|register|directory|names|titles)\s(?:of|for)\s{_MINE}(?:{_STATE}\s)?"
        rf"{_DOCUMENTS}$",
        r"^(?:give|show|make)\s(?:me\s)?(?:an?\s|the\s)?(?:inventory|catalogue|catalog|directory\slisting)\b.*$",
        # What have I uploaded?  What do you know?
        rf"^what\s(?:all\s)?(?:have|did|has)\s(?:i|we|been)\s(?:already\s|so\sfar\s)?(?:{_STATE}|upload|ingest|add|load|give[n]?|"
        r"put\sin|feed|fed|share[d]?)\b(?:\s(?:you|so\sfar|to\syou|in|here|already|with\syou))*$",
        r"^what\s(?:do|can)\s(?:you|i|we)\s(?:know|have|read|ask\s(?:you\s)?about|search|access)(?:\s(?:about|so\sfar|here|from|in))*$",
        rf"^(?:do|have)\s(?:you|i|we)\s(?:have|got)?\s?(?:any\s|some\s)?{_DOCUMENTS}(?:\s(?:at\sall|here|in\shere|{_STATE}))*$",
        rf"^are\sthere\s(?:any\s|some\s)?{_DOCUMENTS}(?:\s(?:at\sall|here|in\shere|in|{_STATE}))*$",
    )
]
_FINDS: Final = [
    _rule(p)
    for p in (
        # Which documents mention parental leave?  Do I have anything about boats?
        rf"^(?:what|which)\s(?:of\s{_MINE})?{_DOCUMENTS}\s(?:mentions?|talks?\sabout|speaks?\s(?:of|about)|covers?|contains?|discuss(?:es)?|"
        r"deals?\swith|says?\s(?:something|anything)\sabout|(?:is|are)\sabout|describes?|has\s(?:something|anything)\s(?:on|about)|"
        r"have\s(?:something|anything)\s(?:on|about)|(?:is|are)\srelevant\s(?:to|for))\s(?P<a>.+)$",
        rf"^(?:do|does|is|are)\s(?:there\s)?(?:any|one|some|either|none)\s(?:of\s)?{_MINE}{_DOCUMENTS}\s(?:that\s|which\s)?"
        r"(?:mentions?|talks?\sabout|speaks?\s(?:of|about)|covers?|contains?|discuss(?:es)?|deals?\swith|describes?|"
        r"say\s(?:something|anything)\sabout|have\s(?:something|anything)\s(?:on|about))\s(?P<a>.+)$",
        rf"^(?:do|have)\s(?:you|i|we)\s(?:have|got|know)?\s?(?:anything|something|any\s{_DOCUMENTS}|a\s{_DOCUMENTS}|any\sinformation)\s(?:(?:in|among|inside)\s{_MINE}{_DOCUMENTS}\s)?"
        r"(?:about|on|regarding|concerning|for)\s(?P<a>.+)$",
        rf"^(?:is|are)\sthere\s(?:anything|something|any\s{_DOCUMENTS}|a\s{_DOCUMENTS}|any\sinformation)\s(?:(?:in|among|inside)\s{_MINE}{_DOCUMENTS}\s)?(?:about|on|regarding|concerning)\s"
        r"(?P<a>.+)$",
        rf"^(?:find|show|list|give)\s(?:me\s)?(?:all\s|the\s|every\s|any\s)*{_DOCUMENTS}\s"
        r"(?:about|on|regarding|concerning|that\smention|mentioning|that\s(?:talk|speak)\sabout|that\scover)\s(?P<a>.+)$",
        rf"^in\s(?:which|what)\s(?:of\s{_MINE})?{_DOCUMENTS}\s(?:is|are|do\si\sfind|can\si\sfind|does)\s(?P<a>.+?)(?:\s(?:mentioned|"
        r"discussed|described|covered|appear|occur|come\sup))?$",
    )
]

_SUMMARY_NOUN: Final = (
    r"(?:summary|overview|synopsis|recap|abstract|outline|gist|tl;?\s?dr|essence|digest|précis|run-?down|wrap-?up|"
    r"(?:main|key|most\simportant|important|central|essential|core)\s(?:points?|ideas?|takeaways?|findings?|messages?|facts?|"
    r"conclusions?|content|arguments?|insights?|things)|highlights?|takeaways?|bullet\spoints|short\sversion)"
)
_SHORT: Final = r"(?:(?:very\s)?(?:short|brief|quick|concise|one[\s-]\w+|\w+[\s-]sentence|\w+[\s-]line|executive|rough|general|high-level|little|good|\d+[\s-]\w+)\s)*"
_SUMMARY: Final = [
    _rule(p)
    for p in (
        r"^(?:summari[sz](?:e|ing)|sum\sup|recap|outline|condense|boil\sdown|digest|abridge|tl;?\s?dr:?)(?:\s(?:of|for|me))*(?:\s(?P<a>.+))?$",
        rf"^(?:(?:give|write|make|provide|create|get|show|produce|prepare|want|need|have|offer|generate|tell|send)\s(?:me\s|us\s)?)?"
        rf"(?:an?\s|the\s|some\s|its\s)?{_SHORT}{_SUMMARY_NOUN}(?:\s(?:of|from|for|about|on|in|to)\s(?P<a>.+))?$",
        rf"^(?:what(?:\sis|\sare|'s|\swere)|which\sare)\s(?:the|its|their)\s{_SHORT}{_SUMMARY_NOUN}"
        r"(?:\s(?:of|from|for|in|to)\s(?P<a>.+))?$",
        r"^(?:boil|condense|distil|cut|shorten|reduce|compress|break|pare)\s(?P<a>.+?)\sdown$",
        r"^(?:(?:give|tell|show|get)\s(?:me\s|us\s)?)?(?P<a>.+?)\s(?:in\sa\snutshell|in\sbrief|summari[sz]ed|tl;?\s?dr)$",
    )
]
_TOPICS: Final = _rule(
    rf"""^(?:what|which)\s(?:topics?|subjects?|themes?)\s(?:(?:do|does)\s(?P<a>{_MINE}{_DOCUMENTS}|you|they)\s
        (?:cover|treat|deal\swith|contain|address|discuss)|(?:are|is)\s(?:covered|treated|there|discussed|in)(?:\s(?:here|(?:in\s)?(?P<b>.+)))?)$"""
)
_ABOUT_WHAT: Final = [
    _rule(p)
    for p in (
        r"^what(?:\sis|\sare|'s|\swas)\s(?P<a>.+?)\s(?:all\s|mainly\s|mostly\s|basically\s)?about$",
        r"^what(?:'s|\sis)\s(?:in|inside)\s(?P<a>\S+\.\w{2,5})$",
        r"^(?:explain|describe|tell\sme|say)\s(?:to\sme\s)?what\s(?P<a>.+?)\s(?:says|covers|contains|describes|discusses|deals\swith|is\sabout|is\sall\sabout)"
        r"(?:\sin\sgeneral|\soverall)?$",
        r"^what\s(?:does|do)\s(?P<a>.+?)\s(?:say|cover|contain|describe|discuss|deal\swith|talk\sabout|tell(?:\s(?:me|us))?)"
        r"(?:\sin\sgeneral|\soverall)?$",
        r"^(?:tell\sme\s(?:more\s)?about|describe|explain|introduce)\s(?P<a>\S.*\.(?:pdf|docx?|pptx?|xlsx?|csv|html?|md|txt|rtf|epub|eml|json))$",
        rf"^(?:tell\sme\s(?:more\s)?about|describe|explain|introduce)\s(?P<a>(?:this|that|the)\s(?:\w+\s)?{_DOCUMENTS})$",
    )
]

_LIST_NOUN: Final = (
    r"(?:steps|ingredients|requirements|prerequisites|preconditions|features|benefits|advantages|disadvantages|pros|cons|rules|options|"
    r"types|kinds|sorts|categories|stages|phases|components|items|conditions|exceptions|duties|responsibilities|obligations|"
    r"tools|materials|deadlines|symptoms|side\seffects|criteria|principles|instructions|commands|causes|tasks|"
    r"guidelines|precautions|safety\srules|warnings|documents\s(?:needed|required)|supplies|drawbacks|limitations|"
    r"restrictions|(?:error\s)?codes|goals|objectives|deliverables|action\sitems|attendees|participants|members|products|services)"
)
_LIST: Final = [
    _rule(p)
    for p in (
        r"^(?:list|enumerate|itemi[sz]e|name\s(?:all|every|each|the|some|me)|count\soff|list\sout|write\sdown|note\sdown)\s(?:out\s|up\s|down\s|me\s)?"
        r"(?P<a>.+)$",
        r"^(?:give|show|make|tell|provide|get|create|have|write|compile|see)\s(?:me\s|us\s)?(?:an?\s|the\s)?(?:full\s|complete\s|short\s|bulleted\s|numbered\s|whole\s)*"
        r"list\s(?:of|with|for)\s(?P<a>.+)$",
        rf"^(?:give|show|tell|name)\s(?:me\s|us\s)?(?:all\s|every\s|each\s|the\s|of\s|different\s|single\s|various\s)*(?P<a>(?:\w+\s){{0,2}}?{_LIST_NOUN}\b.*)$",
        rf"^(?:what|which)(?:\sare|'re|\swere|'s|\sis)\s(?:all\s|of\s|the\s|its\s|their\s|different\s|various\s|main\s)*"
        rf"(?P<a>(?:[\w-]+\s){{0,2}}?{_LIST_NOUN}\b.*)$",
        rf"^(?:what|which)\s(?P<a>(?:[\w-]+\s)?{_LIST_NOUN}\s(?:are|do|does|must|should|can|need|needed|required|have|has|exist|apply)\b.*)$",
        r"^what\s(?:(?:do|does|will|would|must|should)\s(?:i|we|you|one)\s(?:need|require|have\sto\s(?:buy|bring|have|prepare))|(?:all\s)?(?:is|are)\s"
        r"(?:needed|required|necessary))\s(?:for|to\s(?:make|bake|cook|build|install|prepare|get|apply|have))\s(?P<a>.+)$",
        r"^(?:walk|guide|take|lead|talk)\s(?:me|us)\s(?:step\sby\sstep\s)?(?:through|over)\s(?P<a>.+?)(?:,?\sstep\sby\sstep)?$",
        r"^(?:how\s(?:do|can|should|does|to)\s(?:i\s|we\s|you\s|one\s)?|explain\s|describe\s|show\s(?:me\s)?(?:how\sto\s)?)(?P<a>.+?),?\sstep\sby\sstep$",
        r"^(?:what|which)\s(?P<a>(?:things|stuff|equipment)\s.+)$",
    )
]

_ADJECTIVE: Final = _rule(
    r"^the\s(?:old|older|new|newer|first|second|third|last|former|current|previous|latest|big|small|large|basic|premium|standard|free|paid|"
    r"red|blue|green|white|black|early|late|short|long|cheap|expensive|upper|lower|left|right)$"
)
_NOT_COMPARED: Final = r"(?:i|you|we|me|him|her)"
_COMPARISON: Final = [
    _rule(p)
    for p in (
        r"^(?:compare|contrast|comparing)\s(?:and\scontrast\s)?(?P<aspect>(?:the\s)?[^,]{3,60}?)\s(?:in|of|from|between|across|for)\s"
        r"(?P<a>.+?)\s(?:and|with|to|against|versus|vs\.?)\s(?P<b>.+)$",
        r"^(?:compare|contrast|comparing)\s(?:and\scontrast\s)?(?P<a>.+?)\s(?:with|to|against|versus|vs\.?)\s(?P<b>.+)$",
        r"^(?:compare|contrast|comparing)\s(?:and\scontrast\s)?(?:between\s)?(?:both\s)?(?P<a>.+?)\sand\s(?P<b>.+)$",
        r"^(?:compare|contrast)\s(?P<both>.+)$",
        r"^(?:(?:what|which)(?:\sis|\sare|'s|\swere|\swas)?\s|(?:give|tell|show|explain|describe|list|make|draw)\s(?:to\s)?(?:me\s|us\s)?|is\sthere\s|are\sthere\s)?"
        r"(?:an?\s|the\s|any\s)?(?:\w+\s)?(?:differences?|similarit(?:y|ies)|distinctions?|contrasts?|comparisons?)"
        r"(?:\s(?:is|are)\sthere)?(?:\sin\s(?P<aspect>.+?))?\s(?:between|of)\s(?:both\s)?(?P<a>.+?)\s(?:and|with|to|versus|vs\.?)\s(?P<b>.+)$",
        r"^(?:(?:what|which)(?:\sis|\sare|'s)?\s|(?:give|tell|show|explain)\s(?:me\s)?)?(?:the\s)?(?:\w+\s)?(?:differences?|similarities)\sbetween\s"
        r"(?P<both>(?:them|these|those|both|the\stwo).*)$",
        r"^(?:in\swhat\sway|how)\s(?:do|does|did|is|are)\s(?P<a>.+?)\s(?:differ|different|compare|compared|distinct|similar)\s"
        r"(?:from|to|with|against)\s(?P<b>.+)$",
        r"^(?:in\swhat\sway|how|where)\s(?:do|does|did|are)\s(?P<a>.+?)\sand\s(?P<b>.+?)\s(?:differ|compare|different|similar|alike)"
        r"(?:\s(?:in|on|regarding|with\srespect\sto)\s(?P<aspect>.+))?$",
        r"^(?:in\swhat\sway|how|where)\s(?:do|are)\s(?P<both>they|these|those|both|the\stwo(?:\s\w+)?)\s(?:differ|compare|different|similar|alike)$",
        r"^what\s(?:do|does)\s(?P<a>.+?)\sand\s(?P<b>.+?)\shave\sin\scommon$",
        r"^what\s(?:sets|distinguishes|separates|tells)\s(?P<a>.+?)\s(?:apart\s)?from\s(?P<b>.+?)(?:\sapart)?$",
        r"^(?P<a>.+?)\sor\s(?P<b>.+?)[:,?;\s-]+(?:what(?:'s|\sis|\sare)?|how\s(?:do|are))\s(?:the\sdifferences?|sets\sthem\sapart|they\s(?:differ|different)|differs)$",
        r"^(?:put|set|place|lay|hold|show)\s(?:me\s)?(?P<a>.+?)\s(?:and|next\sto|beside|against)\s(?P<b>.+?)\s(?:next\sto\seach\sother|side\sby\sside|against\s"
        r"each\sother)(?:\s(?:as\sto|on|in|regarding|for|with\s(?:respect|regard)\sto)\s(?P<aspect>.+))?$",
        r"^(?:(?:what\sare|list|give\sme|tell\sme)\s)?(?:the\s)?(?P<aspect>pros\sand\scons|(?:dis)?advantages|benefits|drawbacks)\sof\s(?P<a>.+?)\s"
        r"(?:compared\s(?:with|to)|versus|vs\.?|over|against|as\sopposed\sto)\s(?P<b>.+)$",
        r"^(?P<a>(?!how|why|who|when|where|what|which|did|does|is|was|has)\S.*?)\s(?:compared|in\scomparison|as\sopposed)\s(?:with|to)\s(?P<b>.+)$",
        r"^what(?:\sdo)?\s(?P<both>they|these|those|both|the\stwo(?:\s\w+)?)\shave\sin\scommon$",
        r"^(?P<a>(?!how|why|who|when|where|what|which|did|does|is|was|has)\S.*?)\s(?:vs\.?|versus)\s(?P<b>.+)$",
    )
]

_LANGUAGE: Final = (
    r"(?:english|german|french|spanish|italian|portuguese|dutch|polish|russian|chinese|japanese|korean|arabic|turkish|greek|"
    r"swedish|danish|norwegian|finnish|czech|hungarian|hindi|hebrew|ukrainian|latin|vietnamese|thai|romanian|deutsch|español|français)"
)
_WORK: Final = (
    r"(?:poems?|story|stories|songs?|e-?mails?|letters?|essays?|articles?|blog|posts?|tweets?|speech|scripts?|code|functions?|programs?|"
    r"jokes?|haikus?|lyrics|slogans?|reports?|plans?|presentations?|limericks?|memos?|press\srelease|cover\sletter|dialogues?|"
    r"itinerary|riddles?|quiz(?:zes)?|flash\s?cards?|exam|tables?|diagrams?|charts?|images?|pictures?|logos?|names?\sfor|titles?\sfor|"
    r"rhymes?|fairy\stales?|novel|scene|recipe\sof\smy|invitation|sonnet|ode|rap|proposal|template|schedule|study\splan|website|app)"
)
_TASK: Final = [
    _rule(p)
    for p in (
        r"^(?:write|compose|draft|author|pen|rhyme|improvise)\b(?!\s(?:down|off|protect)).*$",
        rf"^(?:create|generate|make(?:\sup)?|invent|design|produce|build|prepare|give|tell|draw|paint|sing|develop|come\sup\swith)\s(?:me\s|us\s)?"
        rf"(?:an?\s|some\s|the\s|another\s|a\sfew\s|\d+\s)?(?:[\w'-]+\s){{0,3}}?{_WORK}\b.*$",
        r"^(?:translat(?:e|ing)|rephrase|rewrite|re-write|paraphrase|reword|proofread|spell-?check|simplify|shorten|refactor|debug|implement|"
        r"brainstorm|imagine|pretend|role-?play|critique|sing|draw|paint|roast|calculate|compute|solve|integrate|differentiate)\b.*$",
        r"^(?:correct|improve|polish|fix|edit)\s(?:the\s(?:grammar|spelling|style|wording|tone)|my|this|these|it)\b.*$",
        rf"^(?:(?:can|could)\syou\s)?(?:say|put|answer|repeat|explain|give|reply|respond|tell)\b.*\bin(?:to)?\s{_LANGUAGE}$",
        rf"^(?:in|auf|en)\s{_LANGUAGE}$",
        rf"^how\s(?:would|do|could)\s(?:you|i|one)\s(?:phrase|put|say|word|express|translate|write|formulate)\b.*\b(?:in(?:to)?\s{_LANGUAGE}|more\s\w+|differently)$",
        r"^(?:what(?:'s|\sis)\s)?[\d.,]+\s?(?:%|percent|per\scent)\s(?:of|off)\s.*\d.*$",
        r"^(?:is|are|would|isn't|aren't)\b.*\b(?:a\s(?:good|bad|smart|great)\s(?:idea|choice|thing)|worth\sit|worthwhile)$",
        r"^what\s(?:would|should)\syou\s(?:do|say|recommend|suggest|choose|pick|advise)\b.*$",
        rf"^(?:how\s(?:do|would)\s(?:you|i|one)\ssay|what(?:\sis|'s)\s(?:the\s)?(?:\w+\s)?(?:translation|word)\s(?:of|for))\b.*\b{_LANGUAGE}\b.*$",
        r"^(?:act|behave|talk|speak|answer)\s(?:as|like)\s.+$",
        r"^what(?:'s|\sis)\s(?=[^a-z]*\d)[\d\s.,]+(?:[-+*/x×÷^%]|plus|minus|times|divided\sby)[\d\s.,()+*/x×÷^%-]+$",
        r"^[\d\s.,()]+[-+*/x×÷^][\d\s.,()+*/x×÷^-]+=?$",
        r"^(?:how\smuch|how\smany|what)\b.*\d.*\b(?:times|plus|minus|divided\sby|multiplied\sby)\b.*\d.*$",
        r"^what(?:'s|\sis|\sare)\s(?:the\s)?(?:square\sroot|cube\sroot|derivative|integral|factorial)\sof\s.*$",
        r"^(?:what\sdo\syou\sthink|what(?:'s|\sis)\syour\s(?:opinion|view|take|favou?rite|guess|advice|recommendation)|do\syou\s(?:think|reckon|recommend|suggest|suppose|consider|find|like|believe|love|agree|feel|enjoy)|"
        r"how\sdo\syou\sfeel|which\sdo\syou\sprefer|would\syou\srather)\b.*$",
        r"^(?:suggest|recommend|propose|advise)\b.*$",
        r"^(?:give|share|have|offer)\s(?:me\s)?(?:an?\s|some\s|any\s|a\sfew\s|your\s)?(?:[\w-]+\s)?(?:ideas?|advice|tips|suggestions?|opinions?|feedback|recommendations?|thoughts)\b.*$",
        r"^(?:explain|describe|teach)\b.*\b(?:like\s(?:i'?m|i\sam|to)\b.*|(?:to|for)\s(?:a\s(?:child|kid|five|layman|beginner)|kids|children|dummies).*|eli5)$",
        r"^(?:eli5\b.*|.*\beli5)$",
        r"^(?:plan|organi[sz]e)\s(?:me\s|us\s)?(?:an?|my|our)\s.+$",
        r"^(?:play|let's\splay)\s.*\b(?:game|chess|quiz|with\sme|hangman|tic)\b.*$",
        r"^(?:tell|say)\s(?:me\s|us\s)?(?:something|anything)\s(?:funny|interesting|nice|smart|clever|about\syourself)\b.*$",
        r"^make\s(?:me\s(?:laugh|smile|happy)|it\s(?:shorter|longer|funnier|simpler|more\s\w+|sound\s.+))\b.*$",
        r"^(?:convert|turn|transform|reformat|format|extract|put)\s.+\s(?:to|into|as|in)\s(?:an?\s)?(?:json|csv|xml|yaml|markdown|table|sql|html|poem|tweet|e-?mail|song|story|code|bullet\spoints).*$",
        r"^(?:analy[sz]e|review|evaluate|assess|criticise|criticize|interpret|classify|rate|grade|judge)\s.+$",
        r"^predict\s.+$",
    )
]

_ALL: Final = _rule(
    rf"^(?:\*|everything|all(?:\sof\s(?:it|them|this))?|(?:all|each|every\sone)\s(?:of\s)?(?:the|my|your|our)?\s?{_DOCUMENTS}|"
    rf"(?:all\s)?(?:the|my|your|our|these)\s(?:whole\s|entire\s|complete\s|full\s)?(?:\w+\s)?(?:documents|docs|files|pdfs|uploads|sources|library|collection|knowledge\s?base|corpus|archive|materials?|data|papers)|"
    rf"(?:what|everything)\s(?:is|i|you|that).*|each\s(?:document|file)|you|they|here)$"
)


_HERE: Final = _rule(rf"\s(?:in|inside|among|within)\s(?:here|there|{_MINE}{_DOCUMENTS})$")


def classify(text: str) -> Asked:
    """What a message asks for."""
    if is_small_talk(text):
        return Asked("talk")
    plain = " ".join(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("'ve ", " have ").split())
    if len(plain) > 300:
        # What is pasted with a message is not asked by it: its first and last sentence are looked at.
        plain = _ends(plain)
    asked = stripped(plain)
    if not asked:
        return Asked()
    short, count = _length(asked)
    for pattern in _CONTENTS:
        if pattern.match(asked):
            return Asked("contents")
    for pattern in _FINDS:
        if match := pattern.match(asked):
            subject = _HERE.sub("", match["a"]).strip()
            return Asked("contents", (subject,) if subject else ())
    if found := _comparison(short):
        return found
    if found := _summary(short, count):
        return found
    for pattern in _TASK:
        if pattern.match(asked):
            return Asked("task")
    for pattern in _LIST:
        if match := pattern.match(short):
            return Asked("list", (match["a"].strip(),), count=count)
    for pattern in _ABOUT_WHAT:
        if match := pattern.match(asked):
            return Asked("summary", (_subject(match["a"]),), is_sure=False)
    return Asked()


def stripped(text: str) -> str:
    """A message without its courtesies: ``Could you please list the steps, thanks?`` is ``list the steps``."""
    text = _TRAILING.sub("", text.strip())
    return _POLITE.sub("", text, count=1).strip(" ,;:-")


def _ends(text: str) -> str:
    """The first or the last sentence of a long message, whichever asks."""
    first = re.split(r"(?<=[.?!:])\s", text, maxsplit=1)[0]
    last = re.split(r"(?<=[.?!:])\s", text)[-1]
    return last if last.endswith("?") and len(last) <= 300 else first[:300]


def pared(text: str) -> tuple[str, int | None]:
    """A message without its courtesies and without ``in three sentences``, and the three."""
    return _length(stripped(text))


def _length(asked: str) -> tuple[str, int | None]:
    """The message without ``in three sentences``, and the three."""
    match = _LENGTH.search(asked)
    if match is None:
        return asked, None
    word = (match["n"] or "").lower()
    number = int(word) if word.isdigit() else _NUMBERS.get(word, 1 if word in ("a", "an") else None)
    if match.group().rstrip(")").endswith(("words", "word")):
        number = None
    elif number is not None and "paragraph" in match.group().lower():
        number *= 4
    return _TRAILING.sub("", asked[: match.start()]).strip(" ,;:-"), number


def _summary(asked: str, count: int | None) -> Asked | None:
    for pattern in _SUMMARY:
        if match := pattern.match(asked):
            return Asked("summary", (_subject(match["a"] or ""),), count=count)
    if match := _rule(
        r"^(?:give|tell|show)\sme\s(?:the\s)?(\w+)\s(?:\w+\s)?(?:points|sentences|facts|things)\s(?:about|on|from|of)\s(?P<a>.+)$"
    ).match(asked):
        return Asked("summary", (_subject(match["a"]),), count=_NUMBERS.get(match[1].lower(), count))
    if match := _TOPICS.match(asked):
        return Asked("summary", (_subject(match["a"] or match["b"] or EVERYTHING),), count=count)
    for pattern in _ABOUT_WHAT:
        if (match := pattern.match(asked)) and _ALL.match(match["a"]):
            return Asked("summary", (EVERYTHING,), count=count)
    return None


def _comparison(asked: str) -> Asked | None:
    for pattern in _COMPARISON:
        match = pattern.match(asked)
        if match is None:
            continue
        parts = match.groupdict()
        if parts.get("both"):
            return Asked("comparison", (parts["both"],))
        a, b = _thing(parts["a"]), _thing(parts["b"])
        if not a or not b or re.fullmatch(_NOT_COMPARED, a, re.IGNORECASE):
            continue
        aspect = (parts.get("aspect") or "").strip()
        if not aspect:
            a, b, aspect = _shared(a, b)
        else:
            a, b, _ = _shared(a, b)
        return Asked("comparison", (a, b), aspect=aspect)
    return None


def _shared(a: str, b: str) -> tuple[str, str, str]:
    """What follows the second thing is said of both: ``A and B in terms of price``; so is ``the old and the new handbook``."""
    match = _rule(
        r"^(?P<b>.+?)(?:,?\s(?:in\sterms\sof|regarding|with\s(?:respect|regard)\sto|concerning|when\sit\scomes\sto|as\sto|on\sthe\ssubject\sof)|:)"
        r"\s(?P<aspect>.+)$"
    ).match(b)
    aspect = match["aspect"] if match else ""
    b = match["b"] if match else b
    if (kind := _rule(r"^the\s(?:[\w-]+)\s(?P<kind>[\w-]+)$").match(b)) and _ADJECTIVE.match(a):
        a = f"{a} {kind['kind']}"
    return a, b, aspect


def _thing(text: str | None) -> str:
    return re.sub(r"^(?:both|between)\s", "", (text or "").strip(" ,;:\"'"), flags=re.IGNORECASE)


def _subject(text: str) -> str:
    """The thing to sum up; :data:`EVERYTHING` for all documents; empty when none is named."""
    text = text.strip(" ,;:\"'\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}")
    text = re.sub(
        r"^(?:(?:what\sis\sin|the\s)?(?:contents?|text)\s(?:of\s)|what\s)", "", text, flags=re.IGNORECASE
    )
    return EVERYTHING if _ALL.match(text) else text
