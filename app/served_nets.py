"""The nets that a service serves, by name."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from http import HTTPStatus

from app.problems import Problem, shown
from app.served_net import ServedNet


class ServedNets:
    """Nets with different names; the first one is the default. Immutable: a service changes its nets by another object.

    A request reads this object at its start and uses no other one until its end, see `ServedNet`.
    """

    def __init__(self, nets: Iterable[ServedNet]) -> None:
        """`nets`: at least one."""
        self._by_name = {net.description.name: net for net in nets}

    def __iter__(self) -> Iterator[ServedNet]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def default(self) -> ServedNet:
        return next(iter(self))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def get(self, name: str) -> ServedNet | None:
        """Returns the net of a name, None if there is none."""
        return self._by_name.get(name)

    def find(self, name: str) -> ServedNet:
        """Returns the net of a name, the default for "". Raises Problem: 422, with the names that there are."""
        net = self._by_name.get(name) if name else self.default
        if net is None:
            detail = f"There is no model {shown(name)}; the models are {', '.join(self.names)}."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        return net


def with_former_default(nets: ServedNets, former: ServedNets) -> ServedNets:
    """Returns the nets; a default of another name than before gets the former default as its `former`."""
    first, *others = nets
    if first.description.name == former.default.description.name:
        return nets
    return ServedNets([replace(first, former=former.default.name), *others])
