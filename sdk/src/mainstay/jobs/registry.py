"""The functions a worker can run."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mainstay.errors import ConfigurationError
from mainstay.jobs.function import Function
from mainstay.jobs.v1 import function_pb2

MAX_FUNCTIONS = 200


class Registry:
    """Functions by name."""

    def __init__(self) -> None:
        self._functions: dict[str, Function] = {}
        self.functions: Mapping[str, Function] = MappingProxyType(self._functions)

    def add(self, function: Function) -> None:
        """Register a function; two of one name are a mistake."""
        if function.name in self._functions:
            raise ConfigurationError(
                f"function {function.name} is registered twice; names are unique within a worker"
            )
        if len(self._functions) >= MAX_FUNCTIONS:
            raise ConfigurationError(
                f"a worker has at most {MAX_FUNCTIONS} functions; start a second worker"
            )
        self._functions[function.name] = function

    def get(self, name: str) -> Function | None:
        """Return the function of that name, if there is one."""
        return self._functions.get(name)

    def definitions(self) -> Sequence[function_pb2.FunctionDefinition]:
        """Return every declaration for the wire; a worker without any is a mistake."""
        if not self._functions:
            raise ConfigurationError(
                "the worker has no function; decorate one with @worker.function(name, on=...)"
            )
        return [function.definition() for function in self._functions.values()]
