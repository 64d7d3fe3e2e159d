"""Jenkins's export of beans as JSON: `tree=` with names, nesting, `*` and ranges, or `depth=`.

Contract: section 2 of the Jenkins page; stapler's TreePruner. A bean shows its properties down to the asked depth; below,
only `_class` and what is marked prominent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_PROMINENT = 2


class BadTreeError(ValueError):
    """A `tree=` that cannot be read."""


@dataclass(frozen=True)
class Bean:
    """One exported object. `properties`: values, or functions for what is dear; `prominent`: shown one level further down.

    `inline`: a property whose bean counts as part of this one.
    """

    class_name: str | None
    properties: Mapping[str, Any]
    prominent: frozenset[str] = frozenset()
    inline: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Depth:
    """Shows by depth. `level`: 1 at the top of depth=0; each bean inside is one more, each step of depth one less."""

    level: int

    def child(self, bean: Bean, name: str) -> "Depth | None":
        visibility = _PROMINENT if name in bean.prominent else 1
        if visibility < self.level:
            return None
        return self if name in bean.inline else Depth(self.level + 1)

    def cut(self, items: list[Any]) -> list[Any]:
        return items


@dataclass
class Tree:
    """Shows what is named."""

    children: dict[str, "Tree"] = field(default_factory=dict)
    first: int | None = None
    last: int | None = None

    def child(self, _bean: Bean, name: str) -> "Tree | None":
        return self.children.get(name) or self.children.get("*")

    def cut(self, items: list[Any]) -> list[Any]:
        return items[self.first : self.last]


def export(bean: Bean, *, tree: str | None, depth: int) -> dict[str, Any]:
    """Return *bean* as JSON. Raises BadTreeError."""
    return _bean(bean, parse_tree(tree) if tree else Depth(1 - depth))


def _bean(bean: Bean, pruner: Depth | Tree) -> dict[str, Any]:
    shown: dict[str, Any] = {} if bean.class_name is None else {"_class": bean.class_name}
    for name, given in bean.properties.items():
        below = pruner.child(bean, name)
        if below is not None:
            value = given() if callable(given) else given
            shown[name] = _value(value, below)
    return shown


def _value(value: Any, pruner: Depth | Tree) -> Any:
    if isinstance(value, Bean):
        return _bean(value, pruner)
    if isinstance(value, list | tuple):
        return [_value(each, pruner) for each in pruner.cut(list(value))]
    return value


def parse_tree(text: str) -> Tree:
    """Return the tree in *text*: `a,b[c,d[e]]{0,2},*`. Raises BadTreeError."""
    reader = _Reader(text)
    root = Tree(reader.nodes())
    if reader.rest():
        raise BadTreeError(f"unexpected {reader.rest()[0]!r} at {reader.at}")
    return root


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def rest(self) -> str:
        return self.text[self.at :]

    def nodes(self) -> dict[str, Tree]:
        found: dict[str, Tree] = {}
        while True:
            name, node = self.node()
            found[name] = node
            if not self.take(","):
                return found

    def node(self) -> tuple[str, Tree]:
        name = self.while_not("[]{},").strip()
        if not name:
            raise BadTreeError(f"a name is missing at {self.at}")
        node = Tree()
        if self.take("["):
            node.children = self.nodes()
            self.expect("]")
        if self.take("{"):
            node.first, node.last = _range(self.while_not("}"))
            self.expect("}")
        return name, node

    def while_not(self, ends: str) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ends:
            self.at += 1
        return self.text[start : self.at]

    def take(self, mark: str) -> bool:
        is_here = self.text.startswith(mark, self.at)
        self.at += is_here
        return is_here

    def expect(self, mark: str) -> None:
        if not self.take(mark):
            raise BadTreeError(f"{mark!r} is missing at {self.at}")


def _range(text: str) -> tuple[int | None, int | None]:
    """Read `M,N` (from M, before N), `M,`, `,N`, or `N` alone: the one at N."""
    first, comma, last = (part.strip() for part in text.partition(","))
    try:
        if not comma:
            return int(first), int(first) + 1
        return (int(first) if first else None), (int(last) if last else None)
    except ValueError as broken:
        raise BadTreeError(f"not a range: {text}") from broken
