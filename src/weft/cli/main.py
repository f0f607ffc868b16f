"""``weft``: the group of commands. A command's file is imported when the command is used, not before."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from weft.errors import WeftError

COMMANDS = {
    "up": "Start a megaservice and its gateway.",
    "serve": "Run one component as a microservice.",
    "ask": "Ask a running megaservice.",
    "ingest": "Hand documents to a running megaservice.",
    "documents": "List, show, delete, export and back up what is in; jobs.",
    "reindex": "Make the index of documents anew, with another embedder.",
    "call": "Send JSON to a running megaservice or service.",
    "init": "Write a first spec, or a first component.",
    "check": "Check specs without starting anything.",
    "conform": "Check a live service against the specification.",
    "models": "List, fetch and remove model files; switch a running model.",
    "components": "List the components that are installed.",
    "registry": "List, add and remove live services.",
    "gateway": "See what a gateway serves; promote a version, go back, reload.",
    "keys": "Make, list, rotate and revoke API keys.",
    "accounts": "Invite people, list and remove accounts, reset passwords.",
    "audit": "Show and verify the audit log.",
    "doctor": "Find out what is wrong with this machine.",
    "completion": "Print a shell's completion script.",
    "version": "Print Weft's version.",
}
"""Every command, in the order of the help page, with its one line."""


class _Lazy(click.Group):
    """Knows all commands by name and line; imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"weft.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from weft.errors import did_you_mean

            ctx.fail(
                f"there is no command '{args[0]}'; {did_you_mean(args[0], list(COMMANDS), what='commands')}"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="weft", prog_name="weft")
def group() -> None:
    """Weave GenAI microservices into megaservices and serve them behind one gateway.

    Start here: weft up chatqna
    """


def main() -> None:
    """Run the command line; errors that people can act on end with their own exit code and no traceback."""
    try:
        # Without click's own ending a command's exit status (ctx.exit) is what it returns.
        status = group(prog_name="weft", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except WeftError as error:
        click.echo(_report(error), err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nobody is left to tell


def _report(error: WeftError) -> str:
    from weft.errors import SpecError

    return str(error) if isinstance(error, SpecError) else f"error[{error.code}]: {error}"
