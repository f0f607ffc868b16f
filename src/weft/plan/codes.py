"""What each code of a plan's problem means. Codes are part of the interface: they do not change between releases."""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "ambiguous-flow": "two nodes upstream are equally near and both have the field that an input is bound from",
    "bad-example": "an example of a route does not keep to the route's schema",
    "bad-each": "a field is bound by each and in inputs as well",
    "bad-parameter": "a parameter of this type cannot have choices",
    "bad-repeat": "a repetition feeds nothing back, or its end is no condition",
    "bad-schema": "the schema of a route is no JSON Schema, or refers to something that is not in it",
    "broken-component": "a component cannot be loaded, or is no component",
    "config-type": "a config value is of another type than the component's constructor takes",
    "config-value": "a component cannot work with a config value, though its type is right",
    "cycle": "nodes or services need each other in a circle",
    "exclusive": "a component of which only one instance may exist is placed more than once",
    "missing-config": "a component needs a config value that is not there",
    "missing-input": "a required field of a node's request is not bound",
    "missing-slot": "a component needs a service that is not bound",
    "no-bound": "a limit counts tokens, and nobody can say how many a request may use",
    "no-price": "a limit counts cost, and a model has no price",
    "not-idempotent": "an operation is retried of which asking twice is not the same as asking once",
    "null-ref": "a reference goes through a value that may be null",
    "shadowed-parameter": "a parameter has the name of a field of the contract",
    "shared-stream": "a stream has two readers that can run together",
    "skipped-ref": "a required field is read from a node that may be skipped",
    "stream": "a stream goes where no stream can go, or is expected where there is none",
    "type-mismatch": "a value is of another type than the field that it is bound to",
    "unknown-component": "no component, or no megaservice, has this name",
    "unknown-config": "a component has no config value of this name",
    "unknown-contract": "no contract has this name",
    "unknown-field": "a request or response has no field of this name",
    "unknown-operation": "a contract has no operation of this name",
    "unknown-ref": "a reference names no node",
    "unknown-service": "no service has this name",
    "unknown-slot": "a component uses no service of this name",
    "unused-node": "nothing needs a node",
    "wrong-contract": "a service is of another contract than is asked for",
}
