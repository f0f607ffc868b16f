"""What a gRPC service says of itself: its methods and their messages, asked by reflection or read from a file.

Imported only where gRPC is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from weft.errors import BackendReplyError, ComponentError, did_you_mean

MAX_FILES = 1_000
"""Of one service: a server that answers with ever new files is not followed without end."""


async def asked(
    channel: Any, service: str, *, timeout_s: float, metadata: Sequence[tuple[str, str]] = ()
) -> descriptor_pool.DescriptorPool:
    """The descriptors of a service and of everything that it speaks of.

    Raises:
        ComponentError: The server has no such service; those that it has are listed.
        BackendReplyError: What it says does not make sense.
        grpc.aio.AioRpcError: It cannot be asked.
    """
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(timeout=timeout_s, metadata=tuple(metadata))

    async def ask(**question: Any) -> Any:
        await call.write(reflection_pb2.ServerReflectionRequest(**question))
        reply = await call.read()
        if reply is grpc.aio.EOF:
            raise BackendReplyError("the service's reflection ended before its answer")
        return reply

    try:
        reply = await ask(file_containing_symbol=service)
        if reply.HasField("error_response"):
            listed = (await ask(list_services="")).list_services_response.service
            names = [one.name for one in listed if not one.name.startswith("grpc.")]
            raise ComponentError(
                f"the server has no service '{service}'", hint=did_you_mean(service, names, what="services")
            )
        files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        waiting = list(reply.file_descriptor_response.file_descriptor_proto)
        while waiting:
            file = descriptor_pb2.FileDescriptorProto.FromString(waiting.pop())
            files[file.name] = file
            if len(files) > MAX_FILES:
                raise BackendReplyError(f"the service speaks of more than {MAX_FILES} files")
            for name in file.dependency:
                if name not in files:
                    found = await ask(file_by_filename=name)
                    waiting += found.file_descriptor_response.file_descriptor_proto
        return _pool(files)
    finally:
        call.cancel()


def from_file(data: bytes) -> descriptor_pool.DescriptorPool:
    """The descriptors of a descriptor set.

    Raises:
        ComponentError: It is none, or has not all that it speaks of.
    """
    try:
        found = descriptor_pb2.FileDescriptorSet.FromString(data)
        return _pool({file.name: file for file in found.file})
    except (ValueError, TypeError, KeyError) as error:
        raise ComponentError(
            f"the file is no whole descriptor set: {error}",
            hint="protoc --include_imports --descriptor_set_out=FILE",
        ) from error


def _pool(files: dict[str, descriptor_pb2.FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    """A pool of its own: two services may have messages of one name."""
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(name: str) -> None:
        if name in added:
            return
        added.add(name)
        for needed in files[name].dependency:
            add(needed)
        pool.Add(files[name])

    for name in list(files):
        add(name)
    return pool


def methods(pool: descriptor_pool.DescriptorPool, service: str) -> list[str]:
    """The names of a service's methods; none where there is no such service."""
    try:
        return [method.name for method in pool.FindServiceByName(service).methods]
    except KeyError:
        return []


def method(pool: descriptor_pool.DescriptorPool, service: str, name: str) -> Any:
    """A method's descriptor; None: there is none."""
    try:
        return pool.FindServiceByName(service).methods_by_name.get(name)
    except KeyError:
        return None


def messages(described: Any) -> tuple[Any, Any]:
    """The classes of what a method takes and gives."""
    return message_factory.GetMessageClass(described.input_type), message_factory.GetMessageClass(
        described.output_type
    )
