"""``weft version``."""

from __future__ import annotations

import click


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the versions of what matters.")
def command(*, as_json: bool) -> None:
    """Print Weft's version."""
    from importlib.metadata import PackageNotFoundError, version

    if not as_json:
        click.echo(version("weft"))
        return
    import json
    import platform

    versions = {"weft": version("weft"), "python": platform.python_version(), "platform": platform.platform()}
    for package in ("msgspec", "httptools", "uvloop", "xllamacpp", "onnxruntime", "qdrant-edge-py"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    click.echo(json.dumps(versions, indent=2))
