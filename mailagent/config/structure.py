"""From TOML's tables to the frozen L{Config}, with every mistake found on the way.

cattrs does the structuring. Nothing is coerced: a value is of the type the schema names or it is a problem.
What is sound is structured all the same, so that the checks across settings (L{check}) run in the same pass.
"""

from __future__ import annotations

import collections.abc
import difflib
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from mailagent.config.check import check
from mailagent.config.problems import KeyPath, Problem, shown
from mailagent.config.schema import Config, not_settings, settings
from mailagent.config.values import KINDS, Kind, Target, Targets

Hook = Callable[[Any, Any], Any]

_CONVERTER = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)


def build(raw: dict[str, Any]) -> tuple[Config, list[Problem]]:
    """The configuration that C{raw} makes, and all that is wrong with it (then C{Config} lacks the wrong parts).

    What is wrong is taken out and the rest tried again: cattrs looks at a key only when its value is right.
    """
    problems: list[Problem] = []
    while True:
        try:
            config = _CONVERTER.structure(raw, Config)
        except ClassValidationError as error:
            found = list(_problems(error, ()))
            problems += found
            raw = _without(raw, {problem.path for problem in found}, ())
        else:
            return config, [*problems, *check(config, {problem.path for problem in problems})]


def _problems(error: BaseException, path: KeyPath) -> Iterator[Problem]:
    """The leaves of cattrs' tree of errors."""
    if isinstance(error, ClassValidationError):
        attributes, others = error.group_exceptions()
        for inner, attribute in attributes:
            yield from _problems(inner, (*path, attribute.name))
    elif isinstance(error, IterableValidationError):
        items, others = error.group_exceptions()
        for inner, item in items:
            yield from _problems(inner, (*path, item.index))
    elif isinstance(error, ForbiddenExtraKeysError):
        others = []
        yield from (Problem((*path, key), _unknown(key, error.cl)) for key in sorted(error.extra_fields))
    else:
        others = []
        yield Problem(path, str(error))
    for inner in others:
        yield from _problems(inner, path)


def _unknown(key: str, cls: type[Any]) -> str:
    allowed = [field.name for field in settings(cls)]
    close = difflib.get_close_matches(key.lower(), allowed, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown key; {hint}allowed here: {', '.join(allowed)}"


def _without(value: Any, broken: set[KeyPath], path: KeyPath) -> Any:
    """C{value} less all that is at one of the paths."""
    if isinstance(value, dict):
        return {key: _without(item, broken, (*path, key)) for key, item in value.items() if (*path, key) not in broken}
    if isinstance(value, list):
        items = enumerate(value)
        return [_without(item, broken, (*path, at)) for at, item in items if (*path, at) not in broken]
    return value


def _expect(allowed: str, value: object) -> ValueError:
    return ValueError(f"expected {allowed}, found {shown(value)}")


def _kind_hook(kind: Kind) -> Hook:
    def structure(value: Any, _: Any) -> Any:
        try:
            return kind.read(value)
        except ValueError:
            raise _expect(f"{kind.name} ({kind.rule})", value) from None

    return structure


for _type, _kind in KINDS.items():
    _CONVERTER.register_structure_hook(_type, _kind_hook(_kind))


@_CONVERTER.register_structure_hook_factory(attrs.has)
def _table_hook(cls: Any) -> Hook:
    """For a class of the schema: a table of exactly its settings."""
    omitted: Any = {name: override(omit=True) for name in not_settings(cls)}
    inner = make_dict_structure_fn(cls, _CONVERTER, **omitted)

    def structure(value: Any, target: Any) -> Any:
        if not isinstance(value, dict):
            raise _expect("a table", value)
        return inner(value, target)

    return structure


def _origin(target: Any) -> Any:
    """C{get_origin}, whose own type would not let us compare it."""
    return get_origin(target)


@_CONVERTER.register_structure_hook_factory(lambda target: _origin(target) is collections.abc.Mapping)
def _mapping_hook(target: Any) -> Hook:
    """For C{Mapping[K, V]}: a table of any keys that are C{K}."""
    plain: Any = dict[get_args(target)]  # type: ignore[misc]
    inner = _CONVERTER.get_structure_hook(plain)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise _expect("a table", value)
        return inner(value, plain)

    return structure


@_CONVERTER.register_structure_hook_factory(lambda target: _origin(target) is tuple)
def _list_hook(target: Any) -> Hook:
    """For C{tuple[T, ...]}: a list, never a string taken apart."""
    plain: Any = list[get_args(target)[0]]  # type: ignore[misc]
    inner = _CONVERTER.get_structure_hook(plain)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise _expect("a list", value)
        return tuple(inner(value, plain))

    return structure


@_CONVERTER.register_structure_hook
def _targets_hook(value: Any, _: Any) -> Targets:
    """For an alias: one target, or a list of them."""
    if isinstance(value, str):
        return Targets((_CONVERTER.structure(value, Target),))
    if not isinstance(value, list):
        raise _expect("a user or an address, or a list of them", value)
    return Targets(_CONVERTER.structure(value, tuple[Target, ...]))
