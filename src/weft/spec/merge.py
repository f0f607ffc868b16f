"""The Gateway file and the specs that its routes name by ``from:`` -> one spec.

What is equal in two sources (component, config, what it uses, where it runs) is one service: an embedded store cannot
be opened twice, and a local model need not be loaded twice. What differs and has the same name gets another: a service
``llm`` of version 2.0.0 is ``llm-2-0-0`` beside the ``llm`` of the version listed first, and a megaservice likewise.
Nothing of a source comes along that its route does not need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from weft.errors import did_you_mean
from weft.spec.gateway import GatewaySpec, RouteSpec, VersionSpec
from weft.spec.likeness import NESTED, Likeness, has_default, nested_name
from weft.spec.model import Marks, MegaserviceSpec, NodeSpec, Place, ServiceSpec, Spec
from weft.spec.problems import Mark, Problems

MAX_NAME: Final = 63
"""Of a service: a name is also a host name."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One ``from:`` of a Gateway file.

    Attributes:
        route: Whose it is.
        version: Of the route; None: the route has but one.
        text: As it is written.
    """

    route: RouteSpec
    version: VersionSpec | None
    text: str

    @property
    def marks(self) -> Marks:
        """Of the mapping in which it stands."""
        return self.version.marks if self.version is not None else self.route.marks

    @property
    def mark(self) -> Mark:
        """Where it stands."""
        return self.marks.value("from")


def origins(gateway: GatewaySpec | None) -> Iterator[Origin]:
    """Every ``from:`` of a Gateway file, in order."""
    for route in gateway.routes if gateway is not None else ():
        if route.from_:
            yield Origin(route, None, route.from_)
        for version in route.versions:
            if version.from_:
                yield Origin(route, version, version.from_)


def merge(spec: Spec, sources: Mapping[str, Spec], problems: Problems) -> Spec:
    """One spec with all that the routes lead to.

    Args:
        spec: With the Gateway; what it declares itself keeps its name.
        sources: ``from:`` as it is written to the spec that stands there; what is missing is passed over.
        problems: Takes what does not fit together.
    """
    if spec.gateway is None or not any(True for _ in origins(spec.gateway)):
        return spec
    merger = _Merger(spec, problems)
    for origin in origins(spec.gateway):
        source = sources.get(origin.text)
        if source is not None:
            merger.take(origin, source)
    return merger.finish()


@dataclass(slots=True)
class _Needed:
    """What a megaservice or service of a source needs, itself included, in the order in which it was found."""

    services: dict[str, None] = field(default_factory=dict)
    megaservices: dict[str, None] = field(default_factory=dict)


class _Merger:
    """Takes in one source after the other."""

    def __init__(self, spec: Spec, problems: Problems) -> None:
        self._spec, self._problems = spec, problems
        self._services = dict(spec.services)
        self._megaservices = dict(spec.megaservices)
        self._places: dict[str, Place] = {}
        self._served: dict[str, tuple[str, ...]] = {}
        own = Likeness(spec)
        self._alike = {name: own.of_service(name) for name in spec.services}
        """Merged name of each service to what it is, whatever it is called."""
        self._same = {name: own.of_megaservice(name) for name in spec.megaservices}

    def finish(self) -> Spec:
        placement = self._spec.placement
        return replace(
            self._spec,
            services=self._services,
            megaservices=self._megaservices,
            placement=replace(placement, services=self._places | placement.services),
            served=self._served,
            sources=self._problems.sources,
        )

    def take(self, origin: Origin, source: Spec) -> None:
        """Take in what a route, or one version of it, leads to."""
        route = origin.route
        if source.gateway is not None:
            self._problems.add(
                "conflicting-keys",
                f"'{origin.text}' declares a gateway of its own",
                origin.mark,
                help="a source declares services and megaservices; put the gateway into a file of its own",
                notes=[f"declared at {source.gateway.marks.here}"],
            )
            return
        needed = _Needed()
        if route.megaservice is not None:
            if not self._finds(origin, source, route.megaservice):
                return
            self._reach_megaservice(source, route.megaservice, needed)
        elif route.service is not None:
            if route.service not in source.services:
                self._unknown(origin, "service", route.service, source.services)
                return
            self._reach_service(source, route.service, needed)
        else:
            return  # an upstream needs no spec: said by its check
        renamed = _Taken(self, origin, source, needed)
        if route.megaservice is not None:
            key = renamed.megaservices[route.megaservice]
            self._served[route.target] = (*self._served.get(route.target, ()), key)

    def _finds(self, origin: Origin, source: Spec, name: str) -> bool:
        """Whether the source has the megaservice, in the version that the route says."""
        found = source.megaservices.get(name)
        if found is None:
            self._unknown(origin, "megaservice", name, source.megaservices)
            return False
        version = origin.version
        if (
            version is not None
            and version.version
            and found.version
            and found.version != version.version
            and "version" not in version.marks.faulty
        ):
            self._problems.add(
                "bad-value",
                f"'{name}' in '{origin.text}' is of version {found.version}, not {version.version}",
                version.marks.value("version"),
                help=f'version: "{found.version}", or another file',
                notes=[f"its version: {found.marks.value('version')}"],
            )
        return True

    def _unknown(self, origin: Origin, what: str, name: str, known: Mapping[str, object]) -> None:
        names = [found for found in known if not found.startswith("<")]
        self._problems.add(
            "unknown-service",
            f"there is no {what} '{name}' in '{origin.text}'",
            origin.mark,
            help=did_you_mean(name, names, what=f"{what}s there") if names else None,
        )

    # What comes along.

    def _reach_megaservice(self, source: Spec, name: str, needed: _Needed) -> None:
        if name in needed.megaservices:
            return
        needed.megaservices[name] = None
        for node in source.megaservices[name].nodes.values():
            for called, mark in _called(node):
                self._reach(source, called, mark, needed)
            self._reach_nested(source, node.component, node.marks.value("component"), needed)
            for place in _places_of_node(source, name, node):
                self._reach_placed(source, place, needed)

    def _reach_service(self, source: Spec, name: str, needed: _Needed) -> None:
        if name in needed.services:
            return
        needed.services[name] = None
        service = source.services[name]
        place = source.placement.services.get(name)
        if place is None or (place.component is None and place.uses is None):
            for slot, used in service.uses.items():
                self._reach(source, used, service.marks.value("uses", slot), needed)
        if place is not None:
            self._reach_placed(source, place, needed)
        self._reach_nested(source, service.component, service.marks.value("component"), needed)

    def _reach_placed(self, source: Spec, place: Place, needed: _Needed) -> None:
        for slot, used in (place.uses or {}).items():
            self._reach(source, used, place.marks.value("uses", slot), needed)
        self._reach_nested(source, place.component, place.marks.value("component"), needed)

    def _reach_nested(self, source: Spec, component: str | None, mark: Mark, needed: _Needed) -> None:
        nested = nested_name(component)
        if nested is None:
            return
        if nested in source.megaservices:
            self._reach_megaservice(source, nested, needed)
            return
        # Not left to the compiler, to which another source's would do.
        hint = did_you_mean(nested, list(source.megaservices), what="megaservices")
        self._problems.add("unknown-component", f"there is no megaservice '{nested}'", mark, help=hint)

    def _reach(self, source: Spec, name: str, mark: Mark, needed: _Needed) -> None:
        if name in source.services:
            self._reach_service(source, name, needed)
            return
        hint = did_you_mean(name, list(source.services), what="services")
        self._problems.add("unknown-service", f"there is no service '{name}'", mark, help=hint)

    # Names.

    def has(self, name: str, likeness: str) -> bool:
        """Whether there is such a service under the same name."""
        return self._alike.get(name) == likeness

    def service_name(
        self, name: str, likeness: str, taken: AbstractSet[str], suffix: str
    ) -> tuple[str, bool]:
        """What a service of a source is called here, and whether it is new; two that are alike there stay two."""
        return self._name(name, likeness, self._alike, self._services, taken=taken, suffix=suffix)

    def megaservice_name(self, name: str, likeness: str, suffix: str) -> tuple[str, bool]:
        """What a megaservice of a source is called here, and whether it is new."""
        return self._name(name, likeness, self._same, self._megaservices, taken=set(), suffix=suffix)

    def _name(
        self,
        name: str,
        likeness: str,
        alike: dict[str, str],
        known: Mapping[str, object],
        *,
        taken: AbstractSet[str],
        suffix: str,
    ) -> tuple[str, bool]:
        if alike.get(name) == likeness and name not in taken:
            return name, False
        for other, found in alike.items():
            if found == likeness and other not in taken:
                return other, False
        new, number = name, 1
        while new in known:
            ending = f"-{suffix}" if number == 1 else f"-{suffix}-{number}"
            new, number = name[: MAX_NAME - len(ending)] + ending, number + 1
        alike[new] = likeness
        return new, True

    def add_service(self, service: ServiceSpec) -> None:
        """Take in a service under its new name."""
        self._services[service.name] = service

    def add_megaservice(self, key: str, megaservice: MegaserviceSpec) -> None:
        """Take in a megaservice under its key; its name is what models call it."""
        self._megaservices[key] = megaservice

    def add_place(self, place: Place) -> None:
        """Take in where a service of a source runs; what the Gateway file says goes before it."""
        self._places.setdefault(place.name, place)


class _Taken:
    """One source's things under their new names."""

    def __init__(self, merger: _Merger, origin: Origin, source: Spec, needed: _Needed) -> None:
        self._merger, self._source = merger, source
        likeness = Likeness(source)
        suffix = _suffix(origin)
        self.services: dict[str, str] = {}
        self.megaservices: dict[str, str] = {}
        new: list[str] = []
        # Those that have their name already first, so that none of them is taken for another that is alike.
        alike = {name: likeness.of_service(name) for name in needed.services}
        for name in sorted(alike, key=lambda name: not merger.has(name, alike[name])):
            found, is_new = merger.service_name(name, alike[name], set(self.services.values()), suffix)
            self.services[name] = found
            new += [name] if is_new else []
        fresh: list[str] = []
        for name in needed.megaservices:
            found, is_new = merger.megaservice_name(name, likeness.of_megaservice(name), suffix)
            self.megaservices[name] = found
            fresh += [name] if is_new else []
        for name in new:
            merger.add_service(self._service(source.services[name]))
            if (place := self._place(name)) is not None:
                merger.add_place(place)
        for name in fresh:
            merger.add_megaservice(self.megaservices[name], self._megaservice(source.megaservices[name]))
            for place in self._places_within(name):
                merger.add_place(place)
        self._pass_on_unknown_places()

    def _uses(self, uses: Mapping[str, str]) -> dict[str, str]:
        return {slot: self.services.get(name, name) for slot, name in uses.items()}

    def _component(self, component: str) -> str:
        nested = nested_name(component)
        return component if nested is None else NESTED + self.megaservices.get(nested, nested)

    def _service(self, service: ServiceSpec) -> ServiceSpec:
        return replace(
            service,
            name=self.services[service.name],
            component=self._component(service.component),
            uses=self._uses(service.uses),
        )

    def _megaservice(self, megaservice: MegaserviceSpec) -> MegaserviceSpec:
        nodes = {
            name: replace(
                node,
                service=self.services.get(node.service, node.service) if node.service is not None else None,
                component=self._component(node.component) if node.component is not None else None,
                uses=self._uses(node.uses),
                fallback=self.services.get(node.fallback, node.fallback)
                if node.fallback is not None
                else None,
            )
            for name, node in megaservice.nodes.items()
        }
        return replace(megaservice, nodes=nodes)

    # Where they run.

    def _place(self, name: str) -> Place | None:
        """The place of a shared service; where its source has a default of its own, that is written out."""
        placement = self._source.placement
        place = placement.services.get(name)
        if place is None and not has_default(placement):
            return None
        found = place or Place(name, marks=placement.default.marks)
        if found.at is None and has_default(placement):
            found = replace(found, at=placement.default.at)
        return self._renamed(found, self.services[name])

    def _renamed(self, place: Place, name: str) -> Place:
        return replace(
            place,
            name=name,
            component=self._component(place.component) if place.component is not None else None,
            uses=self._uses(place.uses) if place.uses is not None else None,
        )

    def _places_within(self, megaservice: str) -> Iterator[Place]:
        """The places of the nodes' own services, by the megaservice's key."""
        for node in self._source.megaservices[megaservice].nodes.values():
            if node.component is not None:
                for place in _places_of_node(self._source, megaservice, node):
                    yield self._renamed(place, f"{self.megaservices[megaservice]}/{node.name}")

    def _pass_on_unknown_places(self) -> None:
        """A place of something that the source does not have is the compiler's to report."""
        source = self._source
        inline = {node.name for m in source.megaservices.values() for node in m.nodes.values()}
        for name, place in source.placement.services.items():
            head = name.partition("/")[0]
            if head not in source.services and head not in source.megaservices and head not in inline:
                self._merger.add_place(place)


def _called(node: NodeSpec) -> Iterator[tuple[str, Mark]]:
    """The shared services that a node names, and where."""
    if node.service is not None:
        yield node.service, node.marks.value("service")
    if node.fallback is not None:
        yield node.fallback, node.marks.value("fallback")
    for slot, used in node.uses.items():
        yield used, node.marks.value("uses", slot)


def _places_of_node(source: Spec, megaservice: str, node: NodeSpec) -> list[Place]:
    """The places that a placement has for a node's own service."""
    if node.component is None:
        return []
    places = source.placement.services
    names = [f"{megaservice}/{node.name}"] + ([node.name] if node.name not in source.services else [])
    return [places[name] for name in names if name in places]


def _suffix(origin: Origin) -> str:
    """What tells things of this source from those of another: its version; where there is none, the route's target."""
    text = origin.version.version if origin.version is not None else origin.route.target
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "other"
