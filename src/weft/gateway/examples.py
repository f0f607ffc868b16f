"""Requests that work as they stand against ChatQnA: shown in OpenAPI, on ``/docs`` and in the reference."""

from __future__ import annotations

from typing import Any, Final

QUESTION: Final = "How many days of leave do new employees have?"
_ASKED: Final = [{"role": "user", "content": QUESTION}]
_PASSAGES: Final = ["New employees have 30 days of leave per year.", "The cafeteria opens at noon."]

_BY_ROUTE: Final[dict[str, dict[str, Any]]] = {
    "/v1/chat/completions": {"messages": _ASKED},
    "/v1/embeddings": {"input": QUESTION},
    "/embed": {"inputs": QUESTION},
    "/v1/retrieval": {"query": QUESTION, "k": 2},
    "/v1/reranking": {"query": QUESTION, "documents": [{"text": text} for text in _PASSAGES]},
    "/rerank": {"query": QUESTION, "texts": _PASSAGES},
    "/v1/evidence": {"query": QUESTION, "documents": [{"text": text} for text in _PASSAGES]},
    "/v1/dataprep/files": {},
    "/v1/dataprep/get": {},
    "/v1/dataprep/delete": {"file_path": "handbook.txt"},
    "/v1/dataprep/collections": {},
    "/v1/dataprep/indices": {},
    "/v1/dataprep/document": {"name": "handbook.txt"},
    "/v1/dataprep/job": {"id": "JOB"},
    "/v1/dataprep/cancel": {"id": "JOB"},
    "/v1/dataprep/jobs/{id}": {"id": "JOB"},
}
"""Path to a request; a route that is not here is shown with what its schema requires."""

_WITH_MODEL: Final = frozenset({"/v1/chat/completions", "/v1/embeddings"})
"""OpenAI's clients always name the model."""

_BY_CONTRACT: Final[dict[str, dict[str, Any]]] = {
    "chat": {
        "streamed": {"messages": QUESTION},
        "whole": {"messages": QUESTION, "stream": False},
    }
}
"""For a megaservice's own route, in OPEA's form, by name."""


def of_route(path: str, model: str) -> dict[str, Any]:
    """Examples for a contract's route, by name; none where nothing better than the schema is known."""
    body = _BY_ROUTE.get(path)
    if body is None:
        return {}
    asked = ({"model": model} | body) if path in _WITH_MODEL else body
    if path == "/v1/chat/completions":
        return {
            "whole": asked,
            "streamed": asked | {"stream": True, "stream_options": {"include_usage": True}},
        }
    return {"request": asked}


def of_contract(contract: str) -> dict[str, Any]:
    """Examples for the own route of a megaservice of ``contract``, by name."""
    return _BY_CONTRACT.get(contract, {})
