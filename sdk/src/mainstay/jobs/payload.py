"""The payload of an event as the second parameter of a function."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from mainstay.errors import ConfigurationError
from mainstay.jobs.errors import PayloadError
from mainstay.jobs.typed_json import MisfitError, reader_of

PayloadReader: TypeAlias = Callable[[Mapping[str, Any]], Any]

_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


def payload_reader(function: str, handler: Callable[..., Any]) -> PayloadReader | None:
    """Return what makes the handler's second argument from the payload; None when it has none.

    Raises ConfigurationError for a parameter of a type that no payload can be, and for parameters
    that would be left without a value.
    """
    arguments = min(len(_parameters(handler, function)), 2)  # the job, and then the payload
    _check_call(handler, function, max(arguments, 1))
    if arguments < 2:  # noqa: PLR2004
        return None
    kind = _parameters(handler, function, evaluate=True)[1].annotation
    try:
        read = reader_of(kind)
    except (TypeError, NameError) as error:
        raise ConfigurationError(
            f"function {function} wants its payload as {kind!r}: {error}; annotate its second "
            "parameter with a pydantic model, a dataclass or dict"
        ) from error

    def read_payload(data: Mapping[str, Any]) -> Any:
        try:
            return read(data, "")
        except MisfitError as misfit:
            name = getattr(kind, "__name__", str(kind))
            raise PayloadError(
                f"the payload does not fit {name} of function {function} at "
                f"{misfit.pointer or 'its root'}: {misfit.expected}",
                pointer=misfit.pointer,
            ) from misfit

    return read_payload


def _check_call(handler: Callable[..., Any], function: str, arguments: int) -> None:
    """Refuse a handler that every call would fail with."""
    try:
        inspect.signature(handler).bind(*range(arguments))
    except ValueError:
        return  # written in C, as below
    except TypeError as error:
        raise ConfigurationError(
            f"function {function} cannot be called with its job and payload: {error}; let it take "
            "the job first, the payload second if it wants it, and give defaults to all others"
        ) from error


def _parameters(
    handler: Callable[..., Any], function: str, *, evaluate: bool = False
) -> list[inspect.Parameter]:
    """Return the positional parameters that a caller has to think of."""
    try:
        signature = inspect.signature(handler, eval_str=evaluate)
    except NameError as error:
        raise ConfigurationError(
            f"the type of function {function}'s payload is not known where it is registered: "
            f"{error}; define it at the top of the module"
        ) from error
    except ValueError:
        return []  # written in C: nothing is known of it, and it gets the job only
    return [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in _POSITIONAL and parameter.default is inspect.Parameter.empty
    ]
