"""Options as objects: a dataclass among a command's parameters stands for one option for each of its fields.

Typer takes functions with one parameter for each option; a function that takes objects is made into one here.
"""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from typing import Any


def with_objects(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer takes it.

    Args:
        command: a function; parameters whose type is a dataclass are given its objects. Fields are annotated as Typer's
            parameters are; no two of them, and no field and parameter, have one name.
    """
    signature = inspect.signature(command)
    objects: dict[str, Any] = {
        name: item.annotation for name, item in signature.parameters.items() if is_dataclass(item.annotation)
    }
    fields = {name: inspect.signature(kind).parameters for name, kind in objects.items()}
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, item in signature.parameters.items()
        for parameter in (fields[name].values() if name in objects else (item,))
    ]

    @wraps(command)
    def call(**given: Any) -> None:
        made = {name: kind(**{field: given.pop(field) for field in fields[name]}) for name, kind in objects.items()}
        command(**made, **given)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call
