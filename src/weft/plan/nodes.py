"""Checks what a node says beside its inputs: service, operation, retries, fallback, each, repeat."""

from __future__ import annotations

from weft.contracts import Contract, Operation
from weft.errors import did_you_mean
from weft.plan.flow import ADDRESSING
from weft.plan.inputs import check_value
from weft.plan.scope import Scope, Step
from weft.plan.services import Services
from weft.plan.types import UNKNOWN, assignable, fields_of, is_struct, list_of


def find_operation(step: Step, contract: Contract) -> Operation | None:
    """The operation that a node asks for; None when the contract has none of that name."""
    if step.spec.operation is None:
        return contract.primary
    return contract.operations.get(step.spec.operation)


def check_modifiers(scope: Scope, step: Step, services: Services) -> None:
    """Report what cannot be, as far as it can be seen without the node's inputs."""
    spec, marks, problems = step.spec, step.spec.marks, scope.problems
    if step.service is None and spec.service is not None and "service" not in marks.faulty:
        problems.add(
            "unknown-service",
            f"there is no service '{spec.service}'",
            marks.value("service"),
            help=did_you_mean(spec.service, services.shared(), what="services"),
        )
    if step.contract is not None and "operation" not in marks.faulty:
        _check_operation(scope, step, step.contract)
    if spec.retry is not None and spec.retry.attempts > 1:
        _check_retry(scope, step)
    if spec.fallback is not None and "fallback" not in marks.faulty:
        _check_fallback(scope, step, spec.fallback, services)


def _check_retry(scope: Scope, step: Step) -> None:
    if step.operation is None or step.contract is None or step.operation.idempotent:
        return
    scope.problems.add(
        "not-idempotent",
        f"'{step.operation.name}' of the contract '{step.contract.name}' cannot be retried: asking twice is not the "
        "same as asking once",
        step.spec.marks.key("retry"),
        help="leave 'retry' out; 'fallback' names another service",
    )


def _check_operation(scope: Scope, step: Step, contract: Contract) -> None:
    service, name = step.service, step.spec.operation or contract.primary.name
    if name not in contract.operations:
        scope.problems.add(
            "unknown-operation",
            f"the contract '{contract.name}' has no operation '{name}'",
            step.spec.marks.value("operation"),
            help=did_you_mean(name, list(contract.operations), what="operations"),
        )
        return
    if service is not None and service.nested is not None and name != contract.primary.name:
        step.operation = None
        scope.problems.add(
            "unknown-operation",
            f"a megaservice has one operation, '{contract.primary.name}'",
            step.spec.marks.value("operation"),
        )
    info = service.info if service is not None else None
    if info is None or info.contract is None or name in info.operations:
        return
    step.operation = None
    scope.problems.add(
        "unknown-operation",
        f"component '{info.name}' has no '{name}'",
        step.spec.marks.value("operation"),
        help=f"operations: {', '.join(sorted(info.operations))}",
    )


def _check_fallback(scope: Scope, step: Step, name: str, services: Services) -> None:
    mark = step.spec.marks.value("fallback")
    fallback = services.by_key.get(name) if name in services.spec.services else None
    if fallback is None:
        hint = did_you_mean(name, services.shared(), what="services")
        scope.problems.add("unknown-service", f"there is no service '{name}'", mark, help=hint)
    elif fallback is step.service:
        message = f"the fallback of node '{step.name}' is the service that has failed, '{name}'"
        scope.problems.add("wrong-contract", message, mark, help="name another service of the same contract")
    elif fallback.contract is None or step.contract is None:
        return
    elif fallback.contract.name != step.contract.name:
        scope.problems.add(
            "wrong-contract",
            f"the fallback '{name}' is of the contract '{fallback.contract.name}', and node '{step.name}' calls "
            f"'{step.contract.name}'",
            mark,
        )


def check_each(scope: Scope, step: Step) -> None:
    """Check that ``each`` maps over a list whose elements fit the field that takes them."""
    each = step.spec.each
    if each is None:
        return
    fields = fields_of(step.operation.request) if step.operation is not None else {}
    known = each.field in fields
    target = list_of(fields[each.field].type) if known else UNKNOWN
    step.items = check_value(scope, each.items, target, f"what node '{step.name}' maps over")
    if step.operation is None or "field" in each.marks.faulty:
        return
    if not known:
        scope.problems.add(
            "unknown-field",
            f"the request of node '{step.name}' ({step.operation.request.__name__}) has no field '{each.field}'",
            each.marks.value("field"),
            help=did_you_mean(each.field, list(fields), what="fields"),
        )
    elif each.field in step.spec.inputs:
        message = f"'{each.field}' of node '{step.name}' is bound twice: by 'each' and in 'inputs'"
        scope.problems.add("bad-each", message, step.spec.marks.key("inputs", each.field))


def carried(step: Step) -> tuple[str, ...]:
    """Fields that a repeated node's response hands to its next request (never what the plan itself sets)."""
    if step.operation is None or not is_struct(step.operation.response):
        return ()
    wanted = fields_of(step.operation.request)
    return tuple(
        name
        for name, field in fields_of(step.operation.response).items()
        if name in wanted and name not in ADDRESSING and assignable(field.type, wanted[name].type)
    )


def check_repeat(scope: Scope, step: Step) -> None:
    """Check that a repetition feeds something back."""
    repeat = step.spec.repeat
    if repeat is None or step.operation is None or carried(step):
        return
    request, response = step.operation.request, step.operation.response
    scope.problems.add(
        "bad-repeat",
        f"node '{step.name}' repeats the same request for ever: {response.__name__} and {request.__name__} have no "
        f"field of the same name and type",
        step.spec.marks.key("repeat"),
    )
