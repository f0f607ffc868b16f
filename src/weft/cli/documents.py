"""``weft documents``."""

from __future__ import annotations

import click

from weft.cli.documents_transfer import COMMANDS


@click.group("documents")
def command() -> None:
    """The documents that are in: take them out, put them back."""


for _command in COMMANDS:
    command.add_command(_command)
