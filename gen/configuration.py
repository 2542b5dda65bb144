"""Configurations from presets, TOML files and ``key=value`` settings, and back to TOML."""

import dataclasses
import inspect
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..hw.config import ConfigError
from ..hw.engine.config import DatapathConfig
from .registry import DEFAULT_FAMILY, find_family, find_unit, load

__all__ = ["Parameter", "configure", "derived", "dump", "fields_of", "parameters"]

_NAMES = {int: "an integer", bool: "true or false", str: "a string", float: "a number"}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One field of a configuration as shown to people; dotted where it is nested."""

    name: str
    default: Any
    value: Any
    doc: str


def configure(
    unit: str,
    *,
    preset: str | None = None,
    file: Path | None = None,
    settings: Iterable[str] = (),
) -> Any:
    """Return the configuration of ``unit``; preset, file and settings override what came before.

    Parameters
    ----------
    unit : str
        Name in the registry.
    preset : str, optional
        Where to start, ``"default"`` if neither this nor a file is given.
    file : Path, optional
        TOML file with the fields, and optionally ``unit`` to say what it is for.
    settings : iterable of str
        ``key=value``, values as in TOML; quotes around strings may be left out. No key may come
        twice.

    Raises
    ------
    ConfigError
        One sentence that names the field, the value and what is legal.
    """
    row = find_unit(unit)
    kind = load(row.config)
    name = "default" if preset is None else preset
    if name not in row.presets:
        raise ConfigError(f"{unit} has no preset {name!r} (presets: {', '.join(row.presets)})")
    fields = _leaves(kind, row.presets[name])
    if file is not None:
        fields |= _leaves(kind, _read(file, unit))
    chosen: dict[str, Any] = {}
    for setting in settings:
        for key, value in _leaves(kind, _setting(setting)).items():
            if key in chosen:
                raise ConfigError(f"{key} is set twice, to {chosen[key]!r} and to {value!r}")
            chosen[key] = value
    nested: dict[str, Any] = {}
    for key, value in (fields | chosen).items():
        _put(nested, key, value)
    return _build(kind, nested, unit, "")


def _setting(text: str) -> dict[str, Any]:
    """Return what ``key=value`` says, the key with its dots."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"a setting is key=value, not {text!r}")
    return {key.strip(): _value(value.strip())}


def _leaves(kind: type, fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return fields under names with dots; a name in place of a datapath is its family."""
    hints = {} if prefix else typing.get_type_hints(kind)
    found: dict[str, Any] = {}
    for name, value in fields.items():
        is_nested = name in hints and _nested(hints[name])
        if isinstance(value, Mapping) and (value or is_nested):
            found |= _leaves(kind, value, f"{prefix}{name}.")
        elif isinstance(value, str) and is_nested:
            found[f"{name}.family"] = value
        else:
            found[prefix + name] = value
    return found


def _put(into: dict[str, Any], key: str, value: Any) -> None:
    """Set a name with dots in nested dictionaries."""
    *path, last = key.split(".")
    for i, part in enumerate(path, 1):
        into = into.setdefault(part, {})
        if not isinstance(into, dict):
            raise ConfigError(f"{'.'.join(path[:i])} has no fields, so that {key} cannot be set")
    if last in into:
        raise ConfigError(f"{key} must be a table of fields, not {value!r}")
    into[last] = value


def _read(file: Path, unit: str) -> dict[str, Any]:
    try:
        fields = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    written = fields.pop("unit", unit)
    if written != unit:
        raise ConfigError(f"{file} configures unit {written!r}, not {unit!r}")
    return fields


def _value(text: str) -> Any:
    try:  # twice, so that nothing behind the value is read over: no comment, comma or other line
        found = tomllib.loads(f"v = {text}\nagain = [{text}]")
    except tomllib.TOMLDecodeError:
        return text
    return found["v"] if set(found) == {"v", "again"} else text


def _build(kind: type, fields: Mapping[str, Any], owner: str, prefix: str) -> Any:
    known = {field.name: field for field in dataclasses.fields(kind) if field.init}
    hints = typing.get_type_hints(kind)
    arguments = {}
    for name, value in fields.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {prefix + near[0]!r}?" if near else f"it has {', '.join(known)}"
            raise ConfigError(f"{owner} has no field {prefix + name!r}; {hint}")
        arguments[name] = _convert(hints[name], value, owner, prefix + name)
    for name, field in known.items():
        required = field.default is dataclasses.MISSING
        if name not in arguments and required and field.default_factory is dataclasses.MISSING:
            if not _nested(hints[name]):
                raise ConfigError(f"{owner} needs a value for {prefix + name}")
            arguments[name] = _convert(hints[name], {}, owner, prefix + name)
    return kind(**arguments)


def _nested(hint: Any) -> bool:
    """Tell whether a field holds a configuration of its own, fixed or of a family to choose."""
    return dataclasses.is_dataclass(hint) or hint is DatapathConfig


def _convert(hint: Any, value: Any, owner: str, name: str) -> Any:
    if isinstance(hint, type) and _nested(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} must be a table of fields, not {value!r}")
        if dataclasses.is_dataclass(hint):
            return _build(hint, value, owner, f"{name}.")
        family = find_family(value.get("family", DEFAULT_FAMILY))
        inner = {key: item for key, item in value.items() if key != "family"}
        return _build(load(family.config), inner, owner, f"{name}.")
    options = _options(hint)
    for option in options:
        origin = typing.get_origin(option) or option
        if origin is tuple and isinstance(value, list | tuple):
            return tuple(_tuple_items(option, value, owner, name))
        if origin is typing.Literal and value in typing.get_args(option):
            return value
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(origin, type) and type(value) is origin:
            return value
        if option is str and isinstance(value, int | float):
            return str(value)
    raise ConfigError(f"{name} must be {' or '.join(map(_describe, options))}, not {value!r}")


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(a for a in typing.get_args(hint) if a is not type(None))
    return (hint,)


def _tuple_items(hint: Any, values: Iterable[Any], owner: str, name: str) -> Iterable[Any]:
    kinds = typing.get_args(hint)
    for index, item in enumerate(values):
        kind = kinds[0] if len(kinds) == 2 and kinds[1] is Ellipsis else kinds[index % len(kinds)]
        yield _convert(kind, item, owner, f"{name}[{index}]")


def _describe(hint: Any) -> str:
    if hint in _NAMES:
        return _NAMES[hint]
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) is tuple or hint is tuple:
        return "a list"
    return hint.__name__ if isinstance(hint, type) else str(hint)


def fields_of(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dictionaries, families of nested ones included."""
    fields = {}
    for field in dataclasses.fields(config):
        if not field.init:
            continue
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            own = fields_of(value)
            if isinstance(value, DatapathConfig):
                own = {"family": value.family} | own
            value = own
        fields[field.name] = list(value) if isinstance(value, tuple) else value
    return fields


def dump(config: Any, unit: str) -> str:
    """Return the TOML text that `configure` reads back to an equal configuration."""
    return f'unit = "{unit}"\n' + _table(fields_of(config), "")


def _table(fields: Mapping[str, Any], prefix: str) -> str:
    lines = [
        f"{name} = {_toml(value)}\n"
        for name, value in fields.items()
        if not isinstance(value, Mapping) and value is not None
    ]
    for name, value in fields.items():
        if isinstance(value, Mapping):
            lines += [f"\n[{prefix}{name}]\n", _table(value, f"{prefix}{name}.")]
    return "".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def parameters(config: Any) -> list[Parameter]:
    """Return the fields of a configuration with defaults and documentation, nested ones last."""
    kind = type(config)
    docs = _attribute_docs(kind)
    simple, nested = [], []
    for field in dataclasses.fields(kind):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            nested += [
                dataclasses.replace(inner, name=f"{field.name}.{inner.name}")
                for inner in parameters(value)
            ]
            continue
        default = None if field.default is dataclasses.MISSING else field.default
        simple.append(Parameter(field.name, default, value, docs.get(field.name, "")))
    return simple + nested


def _attribute_docs(kind: type) -> dict[str, str]:
    """Read the numpydoc section that describes the fields."""
    text = inspect.getdoc(kind) or ""
    section = re.search(
        r"^(?:Attributes|Parameters)\n-+\n(.*?)(?=^\S[^\n:]*\n-+\n|\Z)", text, re.M | re.S
    )
    docs: dict[str, str] = {}
    if section:
        for head, body in re.findall(r"^(\S[^\n]*)\n((?:[ \t]+[^\n]*\n?|\n)*)", section[1], re.M):
            names = head.split(":")[0]
            for name in names.split(","):
                docs[name.strip()] = " ".join(body.split())
    return docs


def derived(config: Any) -> dict[str, Any]:
    """Return the properties of a configuration whose values are plain, tuples as lists."""
    found = {}
    for name in dir(type(config)):
        if isinstance(getattr(type(config), name), property) and not name.startswith("_"):
            value = getattr(config, name)
            value = list(value) if isinstance(value, tuple) else value
            items = value if isinstance(value, list) else [value]
            if all(item is None or isinstance(item, bool | int | float | str) for item in items):
                found[name] = value
    return found
