"""The ports that a command takes."""

from __future__ import annotations

import click

PORTS = click.IntRange(1, 65535)
"""Checked by us: uvloop takes a larger number modulo 65,536, and the address that is printed would lead nowhere."""
