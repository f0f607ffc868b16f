"""A changed Gateway is written into its text: comments and everything else stay where they are."""

from __future__ import annotations

from dataclasses import replace

from weft.spec.load import loads
from weft.spec.update import update_yaml

FRONT = """\
apiVersion: weft/v1
kind: Gateway
name: front
routes:
- path: /v1/talk   # for everybody
  megaservice: talk
  # the first
  versions:
  - version: "1.0.0"
    from: one.yaml   # since spring
    weight: 95
  - {version: "2.0.0", from: two.yaml, weight: 5}  # being tried out
- {path: /v1/docs, service: docs}  # not for everybody
---
apiVersion: weft/v1
kind: Services
services:
  docs: {component: document-ingest}  # below
"""


def test_items_of_a_list_keep_their_comments() -> None:
    """Only the values that differ are written."""
    spec = loads(FRONT)
    assert spec.gateway is not None
    route, docs = spec.gateway.routes
    first, second = route.versions
    versions = (replace(first, weight=80), replace(second, weight=20, mirror=3))
    changed = replace(spec, gateway=replace(spec.gateway, routes=(replace(route, versions=versions), docs)))
    expected = FRONT.replace("weight: 95", "weight: 80").replace("weight: 5}", "weight: 20, mirror: 3}")
    expected = expected.replace("}  # being", "} # being")  # spacing may be made regular
    assert update_yaml(FRONT, changed) == expected
    assert update_yaml(FRONT, spec) == FRONT


def test_a_list_that_grows_is_written_anew() -> None:
    """What was around it stays."""
    spec = loads(FRONT)
    assert spec.gateway is not None
    route, docs = spec.gateway.routes
    third = replace(route.versions[1], version="3.0.0", weight=1)
    routes = (replace(route, versions=(*route.versions, third)), docs)
    text = update_yaml(FRONT, replace(spec, gateway=replace(spec.gateway, routes=routes)))
    assert "# for everybody" in text
    assert "# not for everybody" in text
    assert loads(text).gateway == replace(spec.gateway, routes=routes)
