"""``weft completion``."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    For bash, add to ~/.bashrc: eval "$(weft completion bash)"
    """
    from click.shell_completion import get_completion_class

    from weft.cli.main import group

    found = get_completion_class(shell)
    if found is None:  # the choices above are the shells that click knows
        raise click.UsageError(f"no completion for '{shell}'")
    click.echo(found(group, {}, "weft", "_WEFT_COMPLETE").source())
