"""``weft init``."""

from __future__ import annotations

from pathlib import Path

import click

from weft.errors import UsageError

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
  prompt:   {{component: rag-prompt}}
  answer:   {{service: llm, fill_from: request}}
flow: question >> retrieve >> evidence >> prompt >> answer
output: answer
"""

COMPONENT = '''\
"""A component of your own. Use it in a spec beside this file as:  component: ./{file}:{cls}"""

from weft.contracts.reranker import RerankRequest, RerankResponse


class {cls}:
    """Orders documents by how many of the question's words they contain."""

    def __init__(self, *, top_n: int = 3) -> None:
        self._top_n = top_n

    async def invoke(self, request: RerankRequest) -> RerankResponse:
        words = set(request.query.lower().split())
        scored = [d.scored(float(len(words & set(d.text.lower().split())))) for d in request.documents]
        best = sorted(scored, key=lambda d: d.score or 0.0, reverse=True)
        return RerankResponse(documents=best[: request.top_n or self._top_n])
'''


@click.command("init")
@click.argument("what", type=click.Choice(["megaservice", "component"]), default="megaservice")
@click.option("--name", help="Name of the megaservice or of the component's class.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(what: str, name: str | None, *, force: bool) -> None:
    """Write a first spec (the default), or a first component, into this folder."""
    if what == "megaservice":
        name = name or "my-chat"
        path, text = Path(f"{name}.yaml"), SPEC.format(name=name)
        then = f"weft check {path} && weft up {path}"
    else:
        cls = name or "WordReranker"
        file = "".join(f"_{c.lower()}" if c.isupper() else c for c in cls).lstrip("_") + ".py"
        path, text = Path(file), COMPONENT.format(cls=cls, file=file)
        then = f"use it in a spec: component: ./{file}:{cls}"
    if path.exists() and not force:
        raise UsageError(
            f"{path} is there already", hint="choose another --name, or write over it with --force"
        )
    path.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {path}. Next: {then}")
