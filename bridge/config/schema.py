"""The config file's JSON Schema: the models as they are written, with `<secret>_env` and `<secret>_file` for secrets."""

from typing import Any

from pydantic import BaseModel

from bridge.config import kinds
from bridge.config.models import ClientSettings, ConfigFile
from bridge.config.values import SecretField, secret_fields

NAME_PATTERN = "^[a-z0-9][a-z0-9-]{0,62}$"
ELSEWHERE = "^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
"""`module:Class`, for an extension kept elsewhere: its fields are its own."""


def config_schema() -> dict[str, Any]:
    """Return the schema of the TOML file, with every built-in source and target."""
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for name, field in ConfigFile.model_fields.items():
        match name:
            case "clients":
                properties[name] = _tables(field.description, section_schema(ClientSettings, definitions))
            case "sources":
                properties[name] = _tables(field.description, _choice("sources", "kind", definitions))
            case "targets":
                properties[name] = _tables(field.description, _choice("consumers", "consumer", definitions))
            case "agents":
                properties[name] = _tables(field.description, _choice("agents", "kind", definitions))
            case "callbacks" | "secrets":
                properties[name] = _named_keys(_model(field.annotation), definitions)
            case "public_url":
                properties[name] = {"type": "string", "format": "uri", "description": field.description}
            case _:
                properties[name] = section_schema(_model(field.annotation), definitions)
    return {
        "title": "bridge.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **({"$defs": definitions} if definitions else {}),
    }


def _model(annotation: Any) -> type[BaseModel]:
    return annotation  # type: ignore[no-any-return] # every other field of ConfigFile is a section


def section_schema(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one section as it is written; what it refers to is put into *definitions*."""
    prefix = f"{model.__module__.rpartition('.')[2]}."
    schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    for name, definition in schema.pop("$defs", {}).items():
        definitions[prefix + name] = definition
    secrets = secret_fields(model)
    properties: dict[str, Any] = {}
    for name, content in schema.get("properties", {}).items():
        if name not in secrets:
            properties[name] = content
            continue
        if secrets[name].may_be_written:
            properties[name] = {"type": "string", "description": content.get("description", "")}
        properties |= _references(secrets[name], content.get("description", ""))
    required = [name for name in schema.get("required", []) if name not in secrets]
    written = {key: untitled(value) for key, value in schema.items() if key not in ("properties", "required", "title")}
    needed = {"required": required} if required else {}
    return {**written, "properties": untitled(properties), **needed, "additionalProperties": False}


def _references(field: SecretField, description: str) -> dict[str, Any]:
    one: dict[str, Any] = {"type": "string", "minLength": 1}
    shape = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]} if field.is_many else one
    described = f": {description}" if description else ""
    return {
        f"{field.name}_env": {**shape, "description": f"names a variable{described}"},
        f"{field.name}_file": {**shape, "description": f"names a file{described}"},
    }


def _tables(description: str | None, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description or "",
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": schema,
    }


def _choice(package: str, chooser: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a section that is shaped by the file it names."""
    shapes = []
    for name in kinds.built_in(package):
        shape = section_schema(extension_model(package, name), definitions)
        shape["properties"][chooser] = {"const": name, "description": shape["description"].partition("\n")[0]}
        shapes.append(shape)
    if package == "agents":
        return {"type": "object", "required": [chooser], "anyOf": shapes}
    elsewhere = {"type": "object", "properties": {chooser: {"type": "string", "pattern": ELSEWHERE}}}
    return {"type": "object", "required": [chooser], "anyOf": [*shapes, elsewhere]}


def extension_model(package: str, name: str) -> type[BaseModel]:
    """Return the settings model of the built-in *name* of `sources`, `consumers` or `agents`."""
    finders = {"sources": kinds.source_settings, "consumers": kinds.target_settings, "agents": kinds.agent_settings}
    return finders[package](name)


def _named_keys(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of `[callbacks]` or `[secrets]`, whose keys say `env` or `file`."""
    schema = section_schema(model, definitions)
    entry: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["id"],
        "properties": {
            "id": {"type": "string", "pattern": NAME_PATTERN},
            "env": {"type": "string", "minLength": 1, "description": "names a variable"},
            "file": {"type": "string", "minLength": 1, "description": "names a file"},
        },
        "oneOf": [{"required": ["env"]}, {"required": ["file"]}],
    }
    description = schema["properties"]["keys"]["description"]
    schema["properties"]["keys"] = {"type": "array", "description": description, "items": entry}
    definitions.pop("models.NamedKey", None)
    return schema


def untitled(schema: Any) -> Any:
    """Return *schema* without the titles that only repeat the names."""
    if isinstance(schema, dict):
        return {key: untitled(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return [untitled(item) for item in schema] if isinstance(schema, list) else schema
