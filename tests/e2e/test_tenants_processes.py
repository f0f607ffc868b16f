"""Tenants in an installation of several processes: whose a request is goes along, signed, into each of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from frontkit import CHAT
from tenantkit import ACME_TEXT, PARTS, RIVAL_TEXT, SPEC

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.e2e
def test_tenants_are_apart_in_every_process(tmp_path: Path) -> None:
    """With --split and two workers each tenant finds its own documents, and a revoked key is refused by both workers."""
    (tmp_path / "chat.py").write_text(CHAT)
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "front.yaml").write_text(
        SPEC.replace("UPSTREAM", "http://127.0.0.1:9").replace("STORE", "{component: qdrant-edge}")
    )
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WEFT_")}
    environment |= {"WEFT_DATA_DIR": str(tmp_path / "data"), "WEFT_CACHE_DIR": str(tmp_path / "cache")}

    def weft(*line: str) -> str:
        done = subprocess.run(
            [str(BIN / "weft"), *line],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def ask(path: str, key: str, body: object) -> tuple[int, str]:
        headers = {
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "connection": "close",
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    keys = {
        tenant: weft("keys", "create", tenant, "--tenant", tenant, "--spec", "front.yaml")
        for tenant in ("acme", "rival")
    }
    log = (tmp_path / "log").open("w")
    up = subprocess.Popen(
        [str(BIN / "weft"), "up", "front.yaml", "--split", "--workers", "2", "--port", str(port)],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip
    try:
        assert up.stdout is not None
        assert any("is ready" in line for line in up.stdout)
        for tenant, text in (("acme", ACME_TEXT), ("rival", RIVAL_TEXT)):
            weft_env = environment | {"WEFT_ACCESS_TOKEN": keys[tenant]}
            (tmp_path / f"{tenant}.txt").write_text(text)
            done = subprocess.run(
                [str(BIN / "weft"), "ingest", f"{tenant}.txt", "--url", f"http://127.0.0.1:{port}"],
                cwd=tmp_path, env=weft_env, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        asked = {"model": "library", "messages": [{"role": "user", "content": ACME_TEXT}], "stream": False}
        for _ in range(4):  # a connection each, so that both workers are asked
            status, said = ask("/v1/chat/completions", keys["acme"], asked)
            assert (status, "rocket" in said, "recipe" in said) == (200, True, False), said
            status, said = ask("/v1/chat/completions", keys["rival"], asked)
            assert (status, "rocket" in said, "recipe" in said) == (200, False, True), said
        weft("keys", "revoke", "rival", "--spec", "front.yaml")
        refused = 0
        for _ in range(500):
            refused = refused + 1 if ask("/v1/retrieval", keys["rival"], {"query": "x"})[0] == 401 else 0
            if refused == 20:
                break
        assert refused == 20
    finally:
        up.terminate()
        up.communicate(timeout=30)
        log.close()
    said = (tmp_path / "log").read_text()
    assert not any(key[18:] in said for key in keys.values())
