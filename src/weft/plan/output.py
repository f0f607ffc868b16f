"""What a megaservice answers, and which contract that fulfils."""

from __future__ import annotations

from weft.contracts import Contract
from weft.errors import did_you_mean
from weft.plan.inputs import check_value
from weft.plan.scope import Scope, Step
from weft.plan.types import UNKNOWN, article, assignable, show
from weft.registry.components import Components
from weft.spec.model import Faulty, Input, Ref, references


def find_output(scope: Scope) -> Input | None:
    """What is written, else the last node of the flow; the loader has seen to it that there is one of them."""
    spec = scope.spec
    if spec.output is not None or spec.flow is None or len(spec.flow.ends) != 1:
        return spec.output
    return Ref(spec.flow.ends[0], (), spec.marks.here)


def contract_of_output(scope: Scope, components: Components) -> Contract | None:
    """The contract that is named, else the one that the output's type tells; None after a fault, which is reported."""
    spec = scope.spec
    if spec.contract is not None:
        found = components.contracts.get(spec.contract)
        if found is None:
            scope.problems.add(
                "unknown-contract",
                f"there is no contract '{spec.contract}'",
                spec.marks.value("contract"),
                help=did_you_mean(spec.contract, list(components.contracts), what="contracts"),
            )
        return found
    if "contract" in spec.marks.faulty:
        return None
    step = _answering(scope)
    if step is None:
        _report_untold(scope)
        return None
    if step.contract is None or step.operation is None:
        return None  # its service has a fault of its own
    if step.contract.name in components.contracts:
        return components.contracts[step.contract.name]
    for contract in components.contracts.values():
        if "invoke" in contract.operations and contract.primary.response is step.value:
            return contract
    return step.contract


def _answering(scope: Scope) -> Step | None:
    """The node whose whole response is the output, if it is one."""
    output = find_output(scope)
    heads = [ref for ref in references(output) if not ref.path] if output is not None else []
    return scope.steps.get(heads[0].head) if heads else None


def _report_untold(scope: Scope) -> None:
    output = find_output(scope)
    if (
        output is None
        or isinstance(output, Faulty)
        or any(r.head not in scope.steps for r in references(output))
    ):
        return  # a missing output and an unknown node are reported as such
    scope.problems.add(
        "unknown-contract",
        f"the contract of megaservice '{scope.spec.name}' cannot be told from its output",
        scope.spec.marks.here,
        help="say it: contract: NAME",
    )


def check_output(scope: Scope, output: Input) -> None:
    """Check that what is answered is the contract's response."""
    contract = scope.contract
    if contract is None:
        return
    response = contract.primary.response
    match output:
        case Ref():
            found = scope.type_of(output)
            if found is not UNKNOWN and not assignable(found, response):
                scope.problems.add(
                    "type-mismatch",
                    f"the output '{output}' is {article(show(found))}, and the contract '{contract.name}' answers "
                    f"with {article(show(response))}",
                    output.mark,
                )
        case _:
            check_value(scope, output, response, "the output")
