"""Public addresses: several at once, with certificates that are renewed and clients that show theirs."""

from __future__ import annotations

import asyncio
import io
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from papers import Papers
from weft.context import Context
from weft.errors import PortTakenError, UnreachableError, UsageError
from weft.http.client import Client
from weft.http.message import Request, Response
from weft.serve import ports
from weft.serve.access import Access
from weft.serve.application import Application
from weft.serve.doors import Certificates, Door, TlsFiles
from weft.serve.log import Log
from weft.serve.serving import Serving, Stop

pytestmark = pytest.mark.system("openssl")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@asynccontextmanager
async def serving(*doors: Door) -> AsyncIterator[list[int]]:
    """An application that says how it was reached, and by whom; gives its ports."""
    app = Application(
        name="house", version="1", access=Access(), log=Log(io.StringIO(), name="t", pretty=False)
    )

    async def who(request: Request, context: Context) -> Response:
        subject = request.certificate["subject"] if request.certificate else None
        return Response(200, (), f"{request.scheme} {subject}".encode(), "text/plain")

    app.route("GET", "/who", who)
    listeners = ports.bind_all(doors)
    server, stop, started = Serving(app), Stop(), asyncio.Event()
    for door, listener in zip(doors, listeners, strict=True):
        await server.listen(listener, door.tls)

    async def on_started() -> None:
        started.set()

    running = asyncio.create_task(server.run(stop, on_started=on_started))
    await started.wait()
    try:
        yield [listener.getsockname()[1] for listener in listeners]
    finally:
        stop.ask()
        await running


async def who(url: str, **options: object) -> str:
    client = Client(**options)
    try:
        return (await client.endpoint(url, timeout_s=10).request("GET", "/who")).body.decode()
    finally:
        await client.aclose()


async def test_several_doors_lead_to_one_application(papers: Papers) -> None:
    """HTTP and HTTPS are served side by side, and a request says by which it came."""
    tls = TlsFiles(*papers.server)
    async with serving(Door("127.0.0.1", 0), Door("127.0.0.1", 0, tls)) as (plain, secure):
        assert await who(f"http://127.0.0.1:{plain}") == "http None"
        assert await who(f"https://localhost:{secure}", ca_file=papers.ca) == "https None"


async def test_a_client_shows_its_certificate(papers: Papers) -> None:
    """With an authority for clients, the request has who its client is, and one without a certificate is turned away."""
    tls = TlsFiles(*papers.server, client_ca=papers.ca)
    async with serving(Door("127.0.0.1", 0, tls)) as (port,):
        said = await who(f"https://localhost:{port}", ca_file=papers.ca, client_cert=papers.client)
        assert "(('commonName', 'client'),)" in said
        with pytest.raises(UnreachableError):
            await who(f"https://localhost:{port}", ca_file=papers.ca)


async def test_a_certificate_may_be_optional(papers: Papers) -> None:
    """A client that is not required to show one is served without."""
    tls = TlsFiles(*papers.server, client_ca=papers.ca, is_client_required=False)
    async with serving(Door("127.0.0.1", 0, tls)) as (port,):
        assert await who(f"https://localhost:{port}", ca_file=papers.ca) == "https None"


def test_files_that_cannot_be_used_are_named(papers: Papers, tmp_path: Path) -> None:
    """A missing file and a key of another certificate are errors that say which file."""
    certificates = Certificates(Log(io.StringIO(), name="t", pretty=False))
    with pytest.raises(UsageError, match=r"there is no file .*nothing\.pem for TLS"):
        certificates.context(TlsFiles(str(tmp_path / "nothing.pem"), papers.server[1]))
    with pytest.raises(UsageError, match="KEY_VALUES_MISMATCH"):
        certificates.context(TlsFiles(papers.server[0], papers.client[1]))


def test_a_renewed_certificate_is_read_again(papers: Papers, tmp_path: Path) -> None:
    """A new pair of files is taken up, a broken one is told and changes nothing."""
    cert, key = tmp_path / "now.pem", tmp_path / "now.key"
    shutil.copy(papers.server[0], cert)
    shutil.copy(papers.server[1], key)
    written = io.StringIO()
    certificates = Certificates(Log(written, name="t", pretty=False))
    context = certificates.context(TlsFiles(str(cert), str(key)))
    assert isinstance(context, ssl.SSLContext)
    certificates.look()
    assert not written.getvalue()
    cert.write_text("no certificate")
    certificates.look()
    assert "the certificate was not renewed" in written.getvalue()
    shutil.copy(papers.client[0], cert)
    shutil.copy(papers.client[1], key)
    certificates.look()
    assert "the certificate was renewed from" in written.getvalue()


def test_where_one_port_is_taken_none_is_held() -> None:
    """Addresses are bound together or not at all."""
    with ports.bind("127.0.0.1", 0) as taken:
        taken.listen()
        free = ports.bind("127.0.0.1", 0)
        number = free.getsockname()[1]
        free.close()
        with pytest.raises(PortTakenError):
            ports.bind_all([Door("127.0.0.1", number), Door("127.0.0.1", taken.getsockname()[1])])
        ports.bind("127.0.0.1", number).close()
