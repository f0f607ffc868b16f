"""``python -m weft.gateway.grpc.compile``: the interface as a descriptor set, from which the messages are made at run time.

No code is generated: generated code is bound to a release of protobuf, a descriptor set is not.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
SOURCE, COMPILED = HERE / "weft_v1.proto", HERE / "weft_v1.binpb"


def compiled() -> bytes:
    """The descriptor set, with its comments.

    Raises:
        ValueError: The interface does not compile; what is wrong was printed.
    """
    from grpc_tools import protoc  # noqa: PLC0415 - a tool of developers

    included = files("grpc_tools") / "_proto"
    with TemporaryDirectory() as folder:
        target = Path(folder) / COMPILED.name
        status = protoc.main(
            ["protoc", f"-I{HERE}", f"-I{included}", f"--descriptor_set_out={target}", str(SOURCE)]
        )
        if status:
            raise ValueError(f"{SOURCE.name} does not compile")
        return target.read_bytes()


if __name__ == "__main__":
    COMPILED.write_bytes(compiled())
