"""Paths and templates of the ``http`` component: what they read, and what is wrong with them before anything runs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from weft.components.any.http import Events, Http
from weft.components.any.paths import MISSING, PathError, reader
from weft.components.any.templates import Compiler, ReplyMismatchError
from weft.contracts import chat, embedding, reranker, retriever, store
from weft.contracts.chat import ChatRequest
from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.types import ContentPart, Document, Message

VALUE = {"a": {"b": [{"c": 1}, {"c": 2}, {}]}, "n": None, "0": "zero", "list": [[1, 2], [3]]}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".", VALUE),
        ("a.b.0.c", 1),
        ("a.b[0].c", 1),
        ("a.b.-1", {}),
        ("a.b.*.c", [1, 2, None]),
        ("a.b[*].c", [1, 2, None]),
        ("list.*.0", [1, 3]),
        ("[0]", "zero"),
        ("list.*.*", [[1, 2], [3]]),
        ("0", "zero"),
        ("n", MISSING),
        ("n.b", MISSING),
        ("a.b.3", MISSING),
        ("a.b.-4", MISSING),
        ("a.*", MISSING),
        ("a.b.c", MISSING),
        ("gone.0.x", MISSING),
    ],
)
def test_a_path_reads_json(path: str, found: Any) -> None:
    """Fields, indices from both ends, every element; what is not there, or null, is missing and no error."""
    read, _ = reader(path)
    assert read(VALUE) == found


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a.", "a b", "a[x]", "a['b']", 7, None])
def test_a_path_that_is_none_is_said_to_be(path: Any) -> None:
    """Malformed paths are errors that show a right one."""
    with pytest.raises(PathError, match="is no path"):
        reader(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("documents.*.text", None),
        ("documents.0.metadata.anything.at.all", None),
        ("documents.*.embedding.0", None),
        ("qery", "the request has no field 'qery'"),
        (
            "documents.text",
            "'documents' in the request has no fields, so it has no 'text': write .*. to go through",
        ),
        ("documents.*.txt", "'documents.*' in the request has no field 'txt'"),
        ("query.0", "'query' in the request is no list"),
        ("query.x", "'query' in the request has no fields"),
    ],
)
def test_a_path_into_a_contract_is_checked(path: str, message: str | None) -> None:
    """Against the types of the contract's Structs, without a request; the nearest field is in the hint."""
    if message is None:
        reader(path, RerankRequest, what="the request")
        return
    with pytest.raises(PathError) as caught:
        reader(path, RerankRequest, what="the request")
    assert caught.value.message.startswith(message)
    if "qery" in path:
        assert caught.value.hint == "did you mean 'query'? fields: query, documents, top_n"


def test_a_path_reads_structs() -> None:
    """The contract's request as it is; alternatives of a type are all looked at."""
    request = ChatRequest([Message("user", [ContentPart("text", text="hi")]), Message("user", "last")])
    for path, found in (
        ("messages.-1.content", "last"),
        ("messages.0.content.0.text", "hi"),
        ("stop", MISSING),
    ):
        read, _ = reader(path, ChatRequest)
        assert read(request) == found


def made(template: Any, request: Any) -> Any:
    """What goes out for a request."""
    compiler = Compiler(type(request), reads_request=True)
    make = compiler.template(template, ())
    assert compiler.faults == []
    return make(request, request)


def test_a_request_is_built_from_its_template() -> None:
    """Paths, literals, lists of objects, lists; what is not set is left out."""
    request = ChatRequest([Message("system", "be brief"), Message("user", "hi")], temperature=0)
    template = {
        "prompt": "messages.-1.content",
        "turns": {"$each": "messages", "who": "role", "said": "content", "name": "name"},
        "options": {"heat": "temperature", "seed": "seed", "mode": {"$value": "fast"}},
        "both": ["messages.0.content", {"$value": None}],
        "raw": {"$each": "messages.*.role"},
    }
    assert made(template, request) == {
        "prompt": "hi",
        "turns": [{"who": "system", "said": "be brief"}, {"who": "user", "said": "hi"}],
        "options": {"heat": 0, "mode": "fast"},
        "both": ["be brief", None],
        "raw": ["system", "user"],
    }


DOCUMENTS = [Document("a", id="1", title="A", readers=["x"]), Document("b", id="2")]


def picked(template: dict[str, Any], reply: Any) -> Any:
    """The documents that a reply becomes."""
    compiler = Compiler(RerankRequest, reads_request=False)
    make = compiler.template({"documents": template}, (), target=RerankResponse)
    assert compiler.faults == []
    found = make(reply, RerankRequest("q", DOCUMENTS))
    return msgspec.json.decode(msgspec.json.encode(found), type=RerankResponse).documents


def test_elements_of_the_request_are_picked() -> None:
    """By the index that the reply says, or by place; everything that is not changed stays, readers too."""
    by_index = {"$each": "result", "$pick": "documents", "$at": "i", "score": "s"}
    assert picked(by_index, {"result": [{"i": 1, "s": 0.9}]}) == [Document("b", id="2", score=0.9)]
    by_place = {"$each": "scores", "$pick": "documents", "score": "."}
    assert picked(by_place, {"scores": [0.1, 0.2]}) == [
        Document("a", id="1", title="A", readers=["x"], score=0.1),
        Document("b", id="2", score=0.2),
    ]
    assert [document.score for document in DOCUMENTS] == [None, None]
    of_request = {"$each": "result", "text": "t", "title": {"$request": "query"}}
    assert picked(of_request, {"result": [{"t": "x"}]}) == [Document("x", title="q")]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"result": [{"i": 2}]}, "element 2 of 2"),
        ({"result": [{"i": -1}]}, "element -1 of 2"),
        ({"result": [{"i": "0"}]}, "element '0' of 2"),
        ({"result": [{}]}, "element MISSING of 2"),
        ({"result": [{"i": 0}, {"i": 0}]}, "twice"),
        ({"result": {"i": 0}}, "'result' is no list"),
    ],
)
def test_an_element_that_was_not_sent_is_an_error(reply: Any, message: str) -> None:
    """An index that is none, out of range, or there twice."""
    with pytest.raises(ReplyMismatchError, match=message):
        picked({"$each": "result", "$pick": "documents", "$at": "i"}, reply)


GOOD: dict[str, Any] = {
    "contract": reranker.CONTRACT,
    "request": {"q": "query"},
    "response": {"documents": {"$each": "r", "$pick": "documents"}},
}
CHAT: dict[str, Any] = {
    "contract": chat.CONTRACT,
    "request": {"q": "messages.-1.content"},
    "response": {"text": "t"},
}


@pytest.mark.parametrize(
    ("config", "faults"),
    [
        (GOOD, []),
        (CHAT, []),
        (CHAT | {"stream": Events("t", request={"stream": {"$value": True}})}, []),
        (
            GOOD | {"request": {"q": "qery", "deep": {"k": ["top_m"]}}},
            [
                (
                    "request.q: the request has no field 'qery'",
                    "did you mean 'query'? fields: query, documents, top_n",
                ),
                ("request.deep.k.0: the request has no field 'top_m'", None),
            ],
        ),
        (
            GOOD | {"response": {"documnts": "x"}},
            [
                (
                    "response.documnts: RerankResponse has no field 'documnts'",
                    "did you mean 'documents'? fields: documents",
                )
            ],
        ),
        (
            GOOD | {"response": {}},
            [("response: RerankResponse needs 'documents'", "say where it comes from")],
        ),
        (
            GOOD | {"response": {"documents": {"$each": "r", "id": "i"}}},
            [("response.documents: Document needs 'text'", None)],
        ),
        (
            GOOD | {"response": {"documents": {"$each": "r", "$pick": "document", "scor": "s"}}},
            [
                ("response.documents.scor: Document has no field 'scor'", None),
                ("response.documents.$pick: the request has no field 'document'", None),
            ],
        ),
        (
            GOOD | {"response": {"documents": {"text": "r"}}},
            [("response.documents: this is no object, but list", None)],
        ),
        (
            {
                "contract": retriever.CONTRACT,
                "request": {"q": {"$each": "query", "x": "y"}},
                "response": {"documents": "d"},
            },
            [("request.q.$each: 'query' in the request is no list", None)],
        ),
        (GOOD | {"request": {"q": {"$eech": "x"}}}, [("request.q.$eech: there is no '$eech'", None)]),
        (GOOD | {"request": {"q": 7}}, [("request.q: 7 is no path", "a literal is {$value: 7}")]),
        (
            GOOD | {"request": {"q": {"$value": 1, "x": "query"}}},
            [("request.q.$value: '$value' cannot stand here", None)],
        ),
        (
            GOOD | {"request": {"q": {"$each": "documents", "$pick": "documents"}}},
            [("request.q.$pick: '$pick' is for responses: it takes elements of the request", None)],
        ),
        (
            GOOD | {"method": "GET", "request": {"$each": "documents"}},
            [("request.$each: a query is made of fields", None)],
        ),
        (
            {"contract": store.CONTRACT, "request": {}, "response": {}},
            [("contract: 'store' has several operations", None)],
        ),
        (
            {
                "contract": embedding.CONTRACT,
                "request": {},
                "response": {"embeddings": "v"},
                "stream": Events("t"),
            },
            [("stream: 'stream' maps a chat's stream", None)],
        ),
        (CHAT | {"response": {"txt": "t"}}, [("response.txt: ChatReply has no field 'txt'", None)]),
        (
            CHAT | {"stream": Events("a b", usage={"prompt": "p"}, request={"q": "mesages"})},
            [
                ("stream.request.q: the request has no field 'mesages'", None),
                ("stream.text: 'a b' is no path", None),
                ("stream.usage.prompt: Usage has no field 'prompt'", None),
            ],
        ),
    ],
)
def test_everything_that_is_wrong_with_a_mapping_is_found(
    config: dict[str, Any], faults: list[tuple[str, str | None]]
) -> None:
    """Before anything runs: each fault at its place, with the nearest match; the constructor refuses the same."""
    found = list(Http.faults(url="http://x", **config))
    assert len(found) == len(faults)
    for fault, (message, hint) in zip(found, faults, strict=True):
        assert f"{'.'.join(map(str, fault.place))}: {fault.message}".startswith(message)
        if hint is not None:
            assert fault.hint == hint
    if faults and "contract" not in faults[0][0] and "GET" not in config.values():
        with pytest.raises(ValueError, match="."):
            Http(url="http://x", **config)


def test_what_a_mapping_does_not_read_is_known() -> None:
    """A field that no path reads is ignored, unless the contract's promise honours it; ``.`` reads all of them."""
    assert Http.ignores(**GOOD) == set()
    short = GOOD | {"response": {"documents": {"$each": "r", "text": "t"}}}
    assert Http.ignores(**short) == {"documents"}
    assert "seed" in Http.ignores(**CHAT)
    assert "messages" not in Http.ignores(**CHAT)
    assert "seed" not in Http.ignores(**CHAT | {"stream": Events("t", request={"s": "seed"})})
    assert Http.ignores(**CHAT | {"request": {"all": "."}}) == set()
