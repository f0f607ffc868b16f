"""Certificates for tests: an authority, a server and a client, made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Papers:
    """An authority, a server's certificate for ``localhost`` and 127.0.0.1, and a client's."""

    folder: Path

    def __post_init__(self) -> None:
        self.ca = str(self.folder / "ca.pem")
        self.server = (str(self.folder / "server.pem"), str(self.folder / "server.key"))
        self.client = (str(self.folder / "client.pem"), str(self.folder / "client.key"))
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        self._openssl(
            "req", "-x509", *new_key, "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"
        )
        for name, alternative in (("server", "DNS:localhost,IP:127.0.0.1"), ("client", "DNS:client")):
            self._openssl(
                "req", *new_key[:-2], "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"
            )
            (self.folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
            self._openssl(
                *(
                    "x509",
                    "-req",
                    "-in",
                    f"{name}.csr",
                    "-CA",
                    "ca.pem",
                    "-CAkey",
                    "ca.key",
                    "-CAcreateserial",
                ),
                *("-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
            )

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def server_context(self, *, asks_client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.server)
        if asks_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context
