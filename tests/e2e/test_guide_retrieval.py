"""The guide to retrieval: each request in it is sent as it stands, and what it says of the ways of searching holds."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from chatqna_process import Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "find-the-right-passage.md"
REQUESTS = re.findall(r"^\$ curl http://localhost:8080(\S+) .* -d '(.*)'$", GUIDE.read_text(), re.MULTILINE)


def post(gateway: Gateway, body: str, path: str = "/v1/retrieval") -> tuple[int, Any]:
    request = urllib.request.Request(
        gateway.url + path, body.encode(), {"content-type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_every_request_of_the_guide_finds_the_handbook(gateway: Gateway) -> None:
    """Status 200, and the one document that is in; passages say how they were found."""
    assert len(REQUESTS) == 8
    for path, body in REQUESTS:
        status, reply = post(gateway, body, path)
        assert (status, [d["source"] for d in reply["documents"]]) == (200, ["handbook.txt"]), (body, reply)
        way = json.loads(body).get("search_type", "hybrid")
        metadata = reply["documents"][0]["metadata"]
        assert ("dense_score" in metadata, "text_score" in metadata) == (
            way != "text",
            way in ("hybrid", "text"),
        )


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"filter": {"source": "rules.txt"}}, 0),
        ({"filter": {"file": "handbook.txt", "title": ["handbook.txt", "x"]}}, 1),
        ({"score_threshold": 0.99}, 0),
        ({"distance_threshold": 0.01}, 0),
        ({"distance_threshold": 1.5}, 1),
        ({"collection": "elsewhere"}, 0),
        ({"search_type": "similarity_score_threshold", "score_threshold": 0.99}, 0),
        ({"search_type": "similarity_distance_threshold", "distance_threshold": 1.0}, 1),
    ],
)
def test_what_is_asked_for_reaches_the_search(gateway: Gateway, fields: dict[str, Any], count: int) -> None:
    """Filters, thresholds and collections narrow over HTTP as they do in process."""
    status, reply = post(gateway, json.dumps({"query": "days of leave of new employees"} | fields))
    assert (status, len(reply["documents"])) == (200, count)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"neighbours": 11}, "neighbours"),
        ({"k": 0}, "k"),
        ({"lambda_mult": 2}, "lambda_mult"),
        ({"fusion": "borda"}, "fusion"),
        ({"search_type": "fuzzy"}, "search_type"),
        ({"filter": {"page": {"gt": 3}}}, "filter"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(gateway: Gateway, fields: dict[str, Any], param: str) -> None:
    """400, and the field that is wrong."""
    status, reply = post(gateway, json.dumps({"query": "leave"} | fields))
    assert status == 400
    assert param in json.dumps(reply)
