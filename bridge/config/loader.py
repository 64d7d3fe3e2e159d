"""load_config(): one TOML file, the environment over it, and every problem at once. Called once, in the command that starts."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from bridge.config import kinds
from bridge.config.document import Place, apply_environment, read_document
from bridge.config.models import (
    BrokerSettings,
    CallbacksSettings,
    ClientSettings,
    Config,
    ConfigFile,
    HttpSettings,
    Name,
    NamedKey,
    Role,
    SecretsSettings,
    StoreSettings,
    WaitsSettings,
)
from bridge.config.problems import Problems
from bridge.config.rules import check_whole
from bridge.config.secrets import SecretReader, resolve, without
from bridge.config.values import BaseUrl, is_loopback
from bridge.core.settings import AgentSettings, SourceSettings, TargetSettings

NOT_YET = ("pollers", "routes")
"""Sections of the design that this version does not run."""
KEYS = {"callbacks": "BRIDGE_CALLBACK_KEY", "secrets": "BRIDGE_SECRETS_KEY"}
"""Sections whose secrets stand in a list, and the variable that their examples name."""
READERS = {
    "callbacks": {Role.INGRESS, Role.COORDINATOR, Role.AGENT},
    "sources": {Role.INGRESS},
    "clients": {Role.COORDINATOR},
    "store": {Role.COORDINATOR, Role.AGENT, Role.POLLER},
    "agents": {Role.AGENT},
}
"""The roles that read a section's secrets; a target's are for whoever works for it."""
RESERVED_SOURCES = ("bridge", "callback")
ALL_ROLES = frozenset(Role)

M = TypeVar("M", bound=BaseModel)


def load_config(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    roles: Collection[Role] | None = None,
    targets: Collection[str] | None = None,
    listen: str | None = None,
    secrets_of: Collection[str] | None = None,
) -> Config:
    """Return the checked config of one process.

    Args:
        path: the file; None: defaults and the environment alone (see find_file()).
        environ: where variables are looked up; overrides are taken from it too.
        roles: what the process does; None: all.
        targets: what its worker works for; None: all targets.
        listen: `--listen`, over `[http] listen`.
        secrets_of: sections such as `sources.github-main` whose secrets alone are read, instead of those of *roles*.

    Raises:
        ConfigError: with every problem, each with its key.
    """
    document = read_document(path)
    problems = Problems()
    raw = apply_environment(document, environ, {**ConfigFile.model_fields, **dict.fromkeys(NOT_YET)}, problems)
    if listen is not None:
        _table(document, "http", problems)["listen"] = listen
    reader = SecretReader(environ, path.parent if path else Path())
    chosen = frozenset(ALL_ROLES if roles is None else roles)
    scope = _Scope(chosen, targets, secrets_of, _targets_of_agents(document))
    loader = _Loader(document, reader, raw, scope, problems)
    config = loader.load()
    problems.raise_if_any()
    return config


def _table(document: dict[str, Any], name: str, problems: Problems) -> dict[str, Any]:
    table = document.setdefault(name, {})
    if isinstance(table, dict):
        return table
    problems.add(name, "expected a table")
    document[name] = {}
    return document[name]  # type: ignore[no-any-return] # just made


def _targets_of_agents(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the targets that agents name, as written."""
    agents = document.get("agents")
    named = (
        [agent.get("target") for agent in agents.values() if isinstance(agent, dict)]
        if isinstance(agents, dict)
        else []
    )
    return frozenset(name for name in named if isinstance(name, str))


@dataclass(frozen=True, slots=True)
class _Scope:
    """Whose secrets are read."""

    roles: frozenset[Role]
    targets: Collection[str] | None
    secrets_of: Collection[str] | None
    taken: frozenset[str]
    """Targets that an agent takes jobs of: they are its own."""
    asked: frozenset[str] = frozenset()
    """Targets that sources name to ask what wholes came to."""

    def reads(self, key: str) -> bool:
        """Return True when this process uses the secrets of section *key*; every process uses the broker's."""
        if key == "broker":
            return True
        if self.secrets_of is not None:
            return key in self.secrets_of
        section, _, name = key.partition(".")
        if section in READERS:
            return bool(self.roles & READERS[section])
        return self.works_for(name) or self.asks(name)

    def asks(self, target: str) -> bool:
        """Return True when this process's poller asks *target*."""
        return Role.POLLER in self.roles and target in self.asked and self._is_chosen(target)

    def works_for(self, target: str) -> bool:
        """Return True when this process puts results at *target*: its agent where it has one, else its worker."""
        role = Role.AGENT if target in self.taken else Role.WORKER
        return role in self.roles and self._is_chosen(target)

    def _is_chosen(self, target: str) -> bool:
        return self.targets is None or target in self.targets


@dataclass(slots=True)
class _Loader:
    """One pass over the document, section by section."""

    document: dict[str, Any]
    reader: SecretReader
    raw: Mapping[Place, str]
    scope: _Scope
    problems: Problems
    unread: set[str] = field(default_factory=set)

    def load(self) -> Config:
        """Return the config; what was wrong stands in *problems*, and then the value is not to be used."""
        self._keys()
        http = self._section(HttpSettings, "http") or HttpSettings()
        parts: dict[str, Any] = {
            "public_url": self._public_url(http),
            "http": http,
            "broker": self._section(BrokerSettings, "broker") or BrokerSettings(),
            "store": self._section(StoreSettings, "store") or StoreSettings(),
            "waits": self._section(WaitsSettings, "waits") or WaitsSettings(),
            "callbacks": CallbacksSettings(keys=self._keys_of("callbacks", is_read=self.scope.reads("callbacks"))),
            "clients": self._named("clients", lambda name, data: self._build(ClientSettings, f"clients.{name}", data)),
            "sources": (sources := self._named("sources", self._source)),
        }
        wholes = [kinds.whole_of(settings) for settings in sources.values()]
        self.scope = replace(self.scope, asked=frozenset(target for _, target in filter(None, wholes)))
        parts |= {"targets": self._named("targets", self._target), "agents": self._named("agents", self._agent)}
        is_read = self._takes_secrets(parts["targets"])
        parts["secrets"] = SecretsSettings(keys=self._keys_of("secrets", is_read=is_read))
        own = [name for name in parts["targets"] if self.scope.works_for(name)]
        config = Config.model_construct(
            **parts,
            roles=self.scope.roles,
            worker_targets=tuple(name for name in own if name not in self.scope.taken),
            agent_targets=tuple(name for name in own if name in self.scope.taken),
            poller_targets=tuple(name for name in parts["targets"] if self.scope.asks(name)),
            unread=frozenset(self.unread),
        )
        names = self._written_names()
        for name in self.scope.targets or ():
            if name not in names["targets"]:
                self.problems.add(f"targets.{name}", "is asked for and does not exist")
        check_whole(config, self.problems, is_read=self.scope.reads, names=names)
        return config

    def _keys(self) -> None:
        for key in self.document:
            if key in NOT_YET:
                self.problems.add(key, "is not supported yet")
            elif key not in ConfigFile.model_fields:
                self.problems.add_unknown(key, ConfigFile.model_fields)

    def _written_names(self) -> dict[str, frozenset[str]]:
        tables = {name: self.document.get(name) for name in ("sources", "targets")}
        return {name: frozenset(table) if isinstance(table, dict) else frozenset() for name, table in tables.items()}

    def _public_url(self, http: HttpSettings) -> str:
        if "public_url" not in self.document:
            if not is_loopback(http.host) and self.scope.roles & {Role.INGRESS, Role.COORDINATOR, Role.AGENT}:
                self.problems.add("public_url", "is required: http.listen is not a loopback address")
            return f"http://{http.listen}"
        try:
            return TypeAdapter(BaseUrl).validate_python(self.document["public_url"])
        except ValidationError as exc:
            self.problems.add_invalid("public_url", exc, ConfigFile)
            return f"http://{http.listen}"

    def _section(self, model: type[M], key: str) -> M | None:
        return self._build(model, key, self.document.get(key, {}))

    def _keys_of(self, section: str, *, is_read: bool) -> tuple[NamedKey, ...]:
        """Read a section whose secrets stand in a list: `keys = [{ id, env | file }]`."""
        data = self.document.get(section, {})
        written = data.get("keys", []) if isinstance(data, dict) else None
        if not isinstance(written, list) or not all(isinstance(entry, dict) for entry in written):
            self.problems.add(
                f"{section}.keys", f'expected a list such as [{{ id = "2026a", env = "{KEYS[section]}" }}]'
            )
            return ()
        model: Any = ConfigFile.model_fields[section].annotation
        self._build(model, section, {**data, "keys": []})
        built = [self._key(f"{section}.keys[{index}]", entry, is_read=is_read) for index, entry in enumerate(written)]
        if any(key and not key.key.get_secret_value() for key in built) and not is_read:
            self.unread.add(section)
        return tuple(key for key in built if key)

    def _key(self, key: str, entry: Mapping[str, Any], *, is_read: bool) -> NamedKey | None:
        for name in entry.keys() - {"id", "env", "file"}:
            self.problems.add_unknown(f"{key}.{name}", ("id", "env", "file"))
        if not entry.keys() & {"env", "file"}:
            self.problems.add(key, "expected env (a variable) or file")
        named = {f"key_{kind}": entry[kind] for kind in ("env", "file") if kind in entry}
        aliased = Problems()
        reader = self.reader if is_read else None
        resolved = resolve(NamedKey, named, key, reader=reader, problems=aliased)
        for line in aliased.lines:
            self.problems.add_line(line.replace(".key_", ".", 1))
        data = {**resolved.data, **({"id": entry["id"]} if "id" in entry else {})}
        blank = resolved.blank | ({"key"} if "key" not in resolved.data else set())
        return self._validate(NamedKey, key, data, frozenset(blank))

    def _takes_secrets(self, targets: Mapping[str, TargetSettings]) -> bool:
        """Return True when this process seals, or works for a target whose addresses may hold secrets."""
        if self.scope.secrets_of is not None:
            return "secrets" in self.scope.secrets_of
        mine = [name for name in targets if self.scope.works_for(name)]
        return Role.COORDINATOR in self.scope.roles or any(kinds.takes_secrets(targets[name].consumer) for name in mine)

    def _named(self, section: str, build: Callable[[str, Any], Any]) -> dict[str, Any]:
        table = self.document.get(section, {})
        if not isinstance(table, dict):
            self.problems.add(section, f"expected tables [{section}.<name>]")
            return {}
        built = {}
        for name, data in table.items():
            if not _is_name(name):
                self.problems.add(f"{section}.{name}", "a name is lower-case letters, digits and dashes, at most 63")
            elif not isinstance(data, dict):
                self.problems.add(f"{section}.{name}", "expected a table")
            elif (settings := build(name, data)) is not None:
                built[name] = settings
        return built

    def _source(self, name: str, data: dict[str, Any]) -> SourceSettings | None:
        if name in RESERVED_SOURCES:
            self.problems.add(f"sources.{name}", "is a name of ours; choose another")
            return None
        return self._extension(f"sources.{name}", data, "kind", kinds.source_settings, "sources")

    def _target(self, name: str, data: dict[str, Any]) -> TargetSettings | None:
        return self._extension(f"targets.{name}", data, "consumer", kinds.target_settings, "consumers")

    def _agent(self, name: str, data: dict[str, Any]) -> AgentSettings | None:
        return self._extension(f"agents.{name}", data, "kind", kinds.agent_settings, "agents")

    def _extension(
        self, key: str, data: dict[str, Any], chooser: str, find: Callable[[str], type[M]], package: str
    ) -> M | None:
        """Build a section whose model is its own file's."""
        spec = data.get(chooser)
        if not isinstance(spec, str) or not spec:
            self.problems.add(f"{key}.{chooser}", f"is required: one of {', '.join(kinds.built_in(package))}")
            return None
        try:
            model = find(spec)
        except ValueError:
            built_in = ", ".join(kinds.built_in(package))
            self.problems.add(f"{key}.{chooser}", f"there is none of that name; built in are {built_in}")
            return None
        except ImportError as exc:
            self.problems.add(f"{key}.{chooser}", f"cannot be loaded: the module {exc.name} is missing")
            return None
        return self._build(model, key, data)

    def _build(self, model: type[M], key: str, data: Any) -> M | None:
        if not isinstance(data, dict):
            self.problems.add(key, "expected a table")
            return None
        reader = self.reader if self.scope.reads(key) else None
        resolved = resolve(model, data, key, reader=reader, problems=self.problems)
        if resolved.unread:
            self.unread.add(key)
        return self._validate(model, key, resolved.data, resolved.blank)

    def _validate(self, model: type[M], key: str, data: dict[str, Any], blank: frozenset[str]) -> M | None:
        chosen = without(model, blank)
        try:
            return chosen.model_validate(data)  # type: ignore[return-value] # a subclass of *model*
        except ValidationError as exc:
            if (again := self._as_text(key, data, exc)) is not None:
                return self._validate(model, key, again, blank)
            self.problems.add_invalid(key, exc, model)
            return None

    def _as_text(self, key: str, data: dict[str, Any], exc: ValidationError) -> dict[str, Any] | None:
        """Return *data* with overrides that read as numbers put back as text where text is wanted; None: there are none."""
        place = tuple(key.split("."))
        changed = {
            str(error["loc"][0]): self.raw[*place, str(error["loc"][0])]
            for error in exc.errors(include_url=False, include_input=False, include_context=False)
            if error["type"] == "string_type" and len(error["loc"]) == 1 and (*place, str(error["loc"][0])) in self.raw
        }
        return {**data, **changed} if changed else None


def _is_name(text: str) -> bool:
    try:
        TypeAdapter(Name).validate_python(text)
    except ValidationError:
        return False
    return True
