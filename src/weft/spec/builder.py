"""Specs built in Python: the same objects that a file gives, the same checks, the same messages."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from weft.errors import UsageError, did_you_mean
from weft.spec.dump import to_yaml
from weft.spec.inputs import Reference, as_input
from weft.spec.load import loads
from weft.spec.model import (
    Condition,
    DefaultPlace,
    Each,
    Flow,
    FlowStep,
    MegaserviceSpec,
    NodeSpec,
    ParameterSpec,
    Place,
    PlacementSpec,
    Ref,
    Repeat,
    Retry,
    ServiceSpec,
    Spec,
)
from weft.spec.plain import plain_json
from weft.spec.syntax import NotationError, parse_chain, parse_location
from weft.spec.update import update_yaml

Component = str | type[Any]
"""A component's name, ``./file.py:Class``, ``megaservice/NAME``, or the class itself."""


def _component(component: Component | None) -> str | None:
    if not isinstance(component, type):
        return component
    file = inspect.getsourcefile(component)
    if file is None or "<locals>" in component.__qualname__ or "." in component.__qualname__:
        raise UsageError(
            f"the class {component.__qualname__} cannot be found again from a file",
            hint="put it at the top of a module, where the processes that run it can load it from",
        )
    return f"{Path(file).resolve()}:{component.__qualname__}"


class Builder:
    """A megaservice and what goes with it, step by step; every method gives the builder back.

    Nothing is looked up before :meth:`spec`: then all faults are reported at once, by node and field.

    Args:
        name: Its model name, and its route ``/v1/NAME``.
        version: Its version.
        description: One sentence for people who choose it.
        contract: What it fulfils; that of its output node if left out.
        timeout_s: Seconds that a request may take.
        folder: What files of components are relative to; the current folder if left out.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "0.0.0",
        description: str = "",
        contract: str | None = None,
        timeout_s: float | None = None,
        folder: str | Path = "",
    ) -> None:
        self.name = name
        self._folder = Path(folder)
        self._own = MegaserviceSpec(
            name=name,
            version=version,
            description=description,
            contract=contract,
            timeout_s=timeout_s,
            nodes={},
        )
        self._rest = Spec()

    @classmethod
    def of(cls, spec: Spec, name: str | None = None) -> Self:
        """A builder that begins with a spec that there is, to be changed.

        Args:
            spec: From :func:`weft.load`, say.
            name: Which of its megaservices; the last if left out.

        Raises:
            UsageError: There is none of that name.
        """
        names = list(spec.megaservices)
        if name is None and names:
            name = names[-1]
        if name not in spec.megaservices:
            hint = did_you_mean(name or "", names, what="megaservices")
            raise UsageError(
                f"there is no megaservice '{name}'" if name else "this spec has no megaservice", hint=hint
            )
        own = spec.megaservices[name]
        made = cls(name, folder=Path(own.marks.here.file).parent if own.marks.here.line else "")
        made._own, made._rest = own, spec
        return made

    # What is written.

    def node(
        self,
        name: str,
        *,
        service: str | None = None,
        component: Component | None = None,
        config: Mapping[str, Any] | None = None,
        uses: Mapping[str, str] | None = None,
        operation: str | None = None,
        when: str | None = None,
        fill_from: Reference | None = None,
        each: Mapping[str, Any] | None = None,
        at_once: int = 8,
        until: str | None = None,
        at_most: int | None = None,
        on_limit: Literal["error", "last"] = "error",
        observes: str | None = None,
        timeout_s: float | None = None,
        attempts: int | None = None,
        fallback: str | None = None,
        on_error: Literal["fail", "skip"] = "fail",
        effect: bool = False,
        inputs: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Self:
        """Add a step, or replace the one of that name.

        Args:
            name: Its name.
            service: The shared service that it calls; or else
            component: a component of its own, with ``config`` and ``uses``.
            config: Arguments of the component's constructor.
            uses: Services that the constructor is given, by parameter.
            operation: Which operation of the contract; the primary one if left out.
            when: It is skipped when this condition is false.
            fill_from: Fills every input that is left out from the field of the same name and type.
            each: ``{"field": list}``: maps it over the list.
            at_once: How many elements of ``each`` are worked on at a time.
            until: Runs a nested megaservice again until this condition holds,
            at_most: so often at most;
            on_limit: then it fails, or gives the last response.
            observes: A node whose stream it watches.
            timeout_s: Seconds that it may take.
            attempts: How often it is asked, the first time included.
            fallback: The service that is called when this one has failed.
            on_error: Whether its error fails the request or skips it.
            effect: It is meant to run although nothing reads it.
            inputs: Fields of its request whose names are taken above.
            **fields: Fields of its request: references, or values as they are (text is text, not a reference).

        Raises:
            UsageError: A value cannot be written in a spec.
        """
        given = {
            field: as_input(value, f"node '{name}', input '{field}'")
            for field, value in (dict(inputs or {}) | fields).items()
        }
        if each is not None and len(each) != 1:
            raise UsageError(
                f"node '{name}', each: one field takes the elements", hint='each={"texts": ref.a.texts}'
            )
        if (until is None) != (at_most is None):
            raise UsageError(f"node '{name}': 'until' and 'at_most' go together")
        filler = as_input(fill_from, f"node '{name}', fill_from") if fill_from is not None else None
        if filler is not None and not isinstance(filler, Ref):
            raise UsageError(f"node '{name}', fill_from: it takes a reference", hint="fill_from=ref.request")
        made = NodeSpec(
            name,
            service=service,
            component=_component(component),
            config=_checked(config, f"node '{name}', config"),
            uses=dict(uses or {}),
            operation=operation,
            when=Condition(when) if when is not None else None,
            inputs=given,
            fill_from=filler,
            each=_each(name, each, at_once),
            repeat=Repeat(Condition(until), at_most, on_limit)
            if until is not None and at_most is not None
            else None,
            observes=observes,
            timeout_s=timeout_s,
            retry=Retry(attempts) if attempts is not None else None,
            fallback=fallback,
            on_error=on_error,
            effect=effect,
        )
        self._own = replace(self._own, nodes={**self._own.nodes, name: made})
        return self

    def remove(self, name: str) -> Self:
        """Take a step out.

        Raises:
            UsageError: There is none of that name.
        """
        if name not in self._own.nodes:
            hint = did_you_mean(name, list(self._own.nodes), what="nodes")
            raise UsageError(f"there is no node '{name}' to remove", hint=hint)
        self._own = replace(self._own, nodes={k: node for k, node in self._own.nodes.items() if k != name})
        return self

    def flow(self, *chains: str) -> Self:
        """Bind the inputs that are left out along ``a >> b >> c``.

        Raises:
            UsageError: It is no such line.
        """
        try:
            steps = [tuple(FlowStep(name) for name, _ in parse_chain(chain)) for chain in chains]
        except NotationError as error:
            raise UsageError(f"flow: {error.message}", hint=error.help) from error
        self._own = replace(self._own, flow=Flow(tuple(steps)))
        return self

    def output(self, reference: Any) -> Self:
        """Say what is answered: ``ref.reply``."""
        self._own = replace(self._own, output=as_input(reference, "output"))
        return self

    def parameter(
        self,
        name: str,
        type: str,
        *,
        default: Any = None,
        min: float | None = None,
        max: float | None = None,
        choices: tuple[Any, ...] | list[Any] = (),
        description: str = "",
    ) -> Self:
        """Declare what a caller may set beyond the contract: ``ref.request.NAME``."""
        made = ParameterSpec(name, type, default, min, max, tuple(choices), description)
        self._own = replace(self._own, parameters={**self._own.parameters, name: made})
        return self

    def service(
        self,
        name: str,
        component: Component,
        *,
        config: Mapping[str, Any] | None = None,
        uses: Mapping[str, str] | None = None,
        expose: bool = False,
    ) -> Self:
        """Add a shared service, or replace the one of that name.

        Args:
            name: Its name.
            component: What it is made of.
            config: Arguments of the component's constructor.
            uses: Services that the constructor is given, by parameter.
            expose: Whether it answers on its contract's own routes too.
        """
        made = ServiceSpec(
            name,
            _component(component) or "",
            _checked(config, f"service '{name}', config"),
            dict(uses or {}),
        )
        exposed = [shown for shown in self._rest.expose if shown != name] + ([name] if expose else [])
        self._rest = replace(
            self._rest, services={**self._rest.services, name: made}, expose=tuple(exposed), expose_marks=()
        )
        return self

    def place(
        self,
        service: str,
        at: str,
        *,
        component: Component | None = None,
        config: Mapping[str, Any] | None = None,
        uses: Mapping[str, str] | None = None,
        replicas: int | None = None,
        contract: str | None = None,
    ) -> Self:
        """Say where a service runs, and what replaces it there; ``default`` is every service that is not placed.

        Raises:
            UsageError: ``at`` is no place.
        """
        try:
            where = parse_location(at)
        except NotationError as error:
            raise UsageError(f"place of '{service}': {error.message}", hint=error.help) from error
        placement = self._rest.placement
        if service == "default":
            placement = replace(placement, default=DefaultPlace(where))
        else:
            made = Place(
                service,
                where,
                _component(component),
                dict(config) if config is not None else None,
                dict(uses) if uses is not None else None,
                replicas,
                contract=contract,
            )
            placement = PlacementSpec({**placement.services, service: made}, placement.default)
        self._rest = replace(self._rest, placement=placement)
        return self

    def include(self, other: Builder | Spec) -> Self:
        """Add the megaservices and services of another, to be nested as ``component="megaservice/NAME"``."""
        spec = other.spec() if isinstance(other, Builder) else other
        self._rest = replace(
            self._rest,
            services={**self._rest.services, **spec.services},
            megaservices={**self._rest.megaservices, **spec.megaservices},
        )
        return self

    def copy(self) -> Self:
        """Another that can be changed without this one."""
        return copy(self)

    # What comes of it.

    def spec(self) -> Spec:
        """The spec, with the marks of the text that :meth:`to_yaml` gives.

        Raises:
            SpecError: Something is wrong; every problem names its node and field.
        """
        return loads(self.to_yaml(), file=str(self._folder / f"<{self.name}>"))

    def to_yaml(self) -> str:
        """The spec as YAML; :func:`weft.load` gives the same spec back.

        Raises:
            UsageError: It holds something that cannot be written.
        """
        return to_yaml(self._raw())

    def save(self, path: str | Path) -> None:
        """Write it to a file. Into a file that is there only what differs is written: its comments stay.

        Raises:
            SpecError: Something is wrong with it, or with the file that is there.
        """
        save(self.spec(), path)

    def _raw(self) -> Spec:
        return replace(self._rest, megaservices={**self._rest.megaservices, self.name: self._own})

    def __repr__(self) -> str:
        return f"<megaservice '{self.name}' with nodes {', '.join(self._own.nodes) or 'none'}>"


def save(spec: Spec, path: str | Path) -> None:
    """Write a spec to a file. Into a file that is there only what differs is written: its comments stay.

    Raises:
        SpecError: The file that is there does not load.
    """
    path = Path(path)
    text = update_yaml(path.read_text(encoding="utf-8"), spec) if path.exists() else to_yaml(spec)
    path.write_text(text, encoding="utf-8")


def _each(name: str, each: Mapping[str, Any] | None, at_once: int) -> Each | None:
    if each is None:
        return None
    ((field, items),) = each.items()
    return Each(items=as_input(items, f"node '{name}', each"), field=field, at_once=at_once)


def _checked(config: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    found = dict(config or {})
    for key, value in found.items():
        try:
            plain_json(value)
        except UsageError as error:
            raise UsageError(f"{where} '{key}': {error.message}") from error
    return found
