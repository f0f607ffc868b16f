"""``weft init``."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import click

from weft.errors import UsageError
from weft.spec.keys import NAME

SPEC = """\
# A first megaservice. Start it with:  weft up {name}.yaml
# Every key is explained in docs/spec/megaservice.md; `weft check --explain {name}.yaml` shows what the flow expands to.
apiVersion: weft/v1
kind: Services
services:
  llm:       {{component: llama-cpp,        config: {{model: smollm2-135m-instruct}}}}
  embedder:  {{component: onnx-embedder,    config: {{model: all-minilm-l6-v2}}}}
  store:     {{component: qdrant-edge,      config: {{path: documents}}}}
  retriever: {{component: hybrid-retriever, uses: {{store: store, embedder: embedder}}}}
  reader:    {{component: evidence-reader,  uses: {{embedder: embedder}}}}
  documents: {{component: document-ingest,  uses: {{store: store, embedder: embedder}}}}
expose: [retriever, documents]
---
apiVersion: weft/v1
kind: Megaservice
name: {name}
version: "0.1.0"
contract: chat
nodes:
  question: {{component: condense-question, uses: {{chat: llm}}}}
  retrieve: {{service: retriever}}
  evidence: {{service: reader}}
  prompt:   {{component: rag-prompt,        uses: {{chat: llm}}}}
  answer:   {{service: llm, fill_from: request}}
flow: question >> retrieve >> evidence >> prompt >> answer
output: answer
"""

COMPONENT = '''\
"""A component of your own. Use it in a spec beside this file as:  component: ./{file}.py:{cls}"""

from weft.contracts.reranker import RerankRequest, RerankResponse
from weft.errors import InvalidRequestError


class {cls}:
    """Orders documents by how many of the question's words they contain.

    Args:
        top_n: How many documents are returned where a request does not say.
    """

    def __init__(self, *, top_n: int = 3) -> None:
        self._top_n = top_n

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        top_n = self._top_n if request.top_n is None else request.top_n
        if top_n < 1:
            raise InvalidRequestError("top_n must be at least 1", param="top_n")
        words = set(request.query.lower().split())
        scored = [d.scored(float(len(words & set(d.text.lower().split())))) for d in request.documents]
        best = sorted(scored, key=lambda d: d.score or 0.0, reverse=True)
        return RerankResponse(documents=best[:top_n])
'''

TEST = '''\
"""Every promise of the reranker contract is a test. Run them with:  python -m pytest {test}"""

from {file} import {cls}

from weft.testing import RerankerContract


class Test{cls}(RerankerContract):
    def component(self):
        return {cls}()
'''

COMPONENT_SPEC = """\
# A megaservice of one node, to try the component with. Start it with:  weft up {spec}
apiVersion: weft/v1
kind: Megaservice
name: {name}
version: "0.1.0"
contract: reranker
nodes:
  rank: {{component: "./{file}.py:{cls}", config: {{top_n: 2}}, fill_from: request}}
output: rank
"""


@click.command("init")
@click.argument("what", type=click.Choice(["megaservice", "component"]), default="megaservice")
@click.option("--name", help="Name of the megaservice, or of the component's class.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
def command(what: str, name: str | None, *, force: bool) -> None:
    """Write a first spec (the default), or a first component with its tests and a spec, into this folder."""
    files, then = (
        _megaservice(name or "my-chat") if what == "megaservice" else _component(name or "WordReranker")
    )
    there = [str(path) for path in files if path.exists()]
    if there and not force:
        verb = "is" if len(there) == 1 else "are"
        raise UsageError(
            f"{', '.join(there)} {verb} there already",
            hint="choose another --name, or write over what is there with --force",
        )
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {', '.join(map(str, files))}. Next: {then}")


def _megaservice(name: str) -> tuple[dict[Path, str], str]:
    if re.fullmatch(NAME.pattern, name) is None:
        raise UsageError(f"'{name}' cannot be a megaservice's name: {NAME.form}")
    path = Path(f"{name}.yaml")
    return {path: SPEC.format(name=name)}, f"weft check {path} && weft up {path}"


def _component(cls: str) -> tuple[dict[Path, str], str]:
    if not cls.isidentifier() or keyword.iskeyword(cls):
        raise UsageError(f"'{cls}' cannot be the name of a class", hint="as in: --name WordReranker")
    file = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls).lower()
    spec, test = Path(f"{file.replace('_', '-').strip('-')}.yaml"), Path(f"test_{file}.py")
    files = {
        Path(f"{file}.py"): COMPONENT.format(cls=cls, file=file),
        test: TEST.format(cls=cls, file=file, test=test),
        spec: COMPONENT_SPEC.format(cls=cls, file=file, spec=spec, name=spec.stem),
    }
    return (
        files,
        f"weft check {spec} && python -m pytest {test} && weft up {spec}\n(the tests need pytest: pip install pytest)",
    )
