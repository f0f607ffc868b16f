"""What is kept for callers to come back to, where this installation keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weft.gateway.access.desk import DATABASE_FILE
from weft.gateway.protocols.idempotency import BOUNDS, IdempotencyStage
from weft.gateway.protocols.shelf import Shelves
from weft.store.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from weft.gateway.assembly import Assembly
    from weft.spec.gateway import RouteSpec


def shelves_of(assembly: Assembly) -> Shelves:
    """In this process, if it is the only one that answers; else in the database that all of them use."""
    desk = assembly.desk
    if desk is not None and desk.database.is_shared:
        return Shelves(assembly.lasting, desk.database)
    if assembly.processes == 1:
        return Shelves(assembly.lasting)
    if desk is not None:
        return Shelves(assembly.lasting, desk.database)
    database = SqliteDatabase(assembly.folder / DATABASE_FILE)
    assembly.on_stop.append(database.aclose)
    return Shelves(assembly.lasting, database)


def idempotency_of(assembly: Assembly, rule: RouteSpec, shelves: Shelves) -> IdempotencyStage:
    """The stage that answers requests with a key once."""
    stage = IdempotencyStage(rule.target, shelves.shelf("idempotency", BOUNDS), assembly.log)
    assembly.on_stop.append(stage.stop)
    return stage
