"""Ports: taken, free, held by whom."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from weft.errors import PortTakenError, UsageError
from weft.serve import ports

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a port")


@pytest.fixture
def taken() -> object:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@LINUX
def test_the_holder_of_a_port_is_named(taken: int) -> None:
    """With its process id."""
    found = ports.holder(taken)
    assert found is not None
    assert found.pid == os.getpid()
    assert str(found).endswith(f"(process {os.getpid()})")


def test_nobody_holds_a_free_port(taken: int) -> None:
    """None is also what other systems say."""
    assert ports.holder(1) is None


def test_a_taken_port_is_an_error_of_its_own(taken: int) -> None:
    """Which names the port and, where it can, the process; the exit code is the documented one."""
    with pytest.raises(PortTakenError, match=f"port {taken} on 127.0.0.1 is taken") as caught:
        ports.bind("127.0.0.1", taken)
    assert caught.value.exit_code == 9
    with pytest.raises(PortTakenError):
        ports.bind("127.0.0.1", taken, shared=ports.shares_ports())


def test_the_next_free_port_is_after_the_taken_one(taken: int) -> None:
    """It is not handed out twice by chance: it is only looked for."""
    found = ports.next_free("127.0.0.1", taken)
    assert taken < found < taken + 100
    with pytest.raises(PortTakenError, match="no free port"):
        ports.next_free("127.0.0.1", taken, tries=1)


def test_an_address_that_is_not_ours() -> None:
    """Is a wrong use, not a taken port."""
    with pytest.raises(UsageError, match="cannot listen on"):
        ports.bind("203.0.113.1", 0)
    with pytest.raises(UsageError, match="cannot listen on"):
        ports.bind("no-such-host.invalid", 0)


@pytest.mark.skipif(not ports.shares_ports(), reason="the system does not spread connections over sockets")
def test_a_shared_port_takes_further_sockets_of_ours_only() -> None:
    """A second installation is told that the port is taken, although it shares, too."""
    with ports.bind("127.0.0.1", 0, shared=True) as first:
        port = first.getsockname()[1]
        with ports.bind_shared("127.0.0.1", port) as second:
            second.listen()
            with pytest.raises(PortTakenError):
                ports.bind("127.0.0.1", port, shared=True)
