"""The relay that others are compared with: nginx with buffering off."""

from __future__ import annotations

import tempfile
from pathlib import Path

_TEMPLATE = """\
daemon off;
master_process off;
worker_processes 1;
pid {work}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 10000000;
    proxy_buffering off;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    upstream chat {{ server 127.0.0.1:{backend}; keepalive 512; keepalive_requests 10000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://chat;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


def command(port: int, backend: int) -> list[str]:
    """Starts nginx as one process that relays ``port`` to ``backend`` and keeps its connections to it."""
    work = Path(tempfile.mkdtemp(prefix="weft-bench-nginx-"))
    config = work / "nginx.conf"
    config.write_text(_TEMPLATE.format(work=work, port=port, backend=backend))
    return ["nginx", "-e", "stderr", "-c", str(config)]
