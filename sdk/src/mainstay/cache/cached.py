"""`@cached`: an asynchronous function whose results are kept in the cache."""

import functools
import inspect
import json
import string
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar, cast

from mainstay.cache.computing import LEASE_DURATION, OnUnavailable
from mainstay.cache.leased_work import Compute, Computed
from mainstay.cache.results import NOTHING, Nothing
from mainstay.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")

_KEY = "mainstay_key"


class GetsOrComputes(Protocol):
    """What `cached` needs of a `CacheClient`."""

    async def get_or_compute(
        self,
        namespace: str,
        key: str,
        compute: Compute,
        *,
        ttl_class: str | None = None,
        ttl: timedelta | None = None,
        tags: Iterable[str] = (),
        content_type: str = "",
        on_unavailable: OnUnavailable = "compute",
        fresh_only: bool = False,
        lease_duration: timedelta = LEASE_DURATION,
        timeout: float | None = None,  # noqa: ASYNC109 - one caller's share of a common wait
    ) -> bytes | None:
        """Return the entry's value, or compute and store it."""
        ...


Template: TypeAlias = str | Callable[..., str]


def cached(
    cache: GetsOrComputes | Callable[..., GetsOrComputes],
    *,
    namespace: str,
    key: Template,
    ttl_class: str | None = None,
    ttl: timedelta | None = None,
    tags: Iterable[Template] = (),
    encode: Callable[[Any], bytes] | None = None,
    decode: Callable[[bytes], Any] | None = None,
    content_type: str = "application/json",
    on_unavailable: OnUnavailable = "compute",
    fresh_only: bool = False,
    lease_duration: timedelta = LEASE_DURATION,
    timeout: float | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Keep the results of an asynchronous function in the cache, by `get_or_compute`.

    ::

        @cached(cache, namespace="user", key="{user_id}", ttl_class="user_plan",
                tags=["user:{user_id}"])
        async def load_user(user_id: int) -> dict[str, str]: ...

    `key` is a format string over the function's arguments, defaults included, or a callable that
    takes them and returns the key. Where a format string has more than one field, the characters
    that stand between them are escaped in the arguments, as `%3A` for `:`, so that two calls never
    share a key by accident; `key_of` returns the key of a call. `tags` are format strings or
    callables too, and escape nothing.

    Results are converted by `encode` and `decode`, by default to and from JSON: what is returned
    from the cache is what JSON makes of it, so tuples come back as lists. None is remembered as
    "the source has nothing", for as long as the class's negative TTL says, and is not encoded.

    Works on methods: `self` is an argument like any other (`"{self.region}:{user_id}"`), and
    `cache` may be a callable that takes the function's arguments and returns the client, such as
    `lambda self, *args, **kwargs: self.cache`. On static and class methods, write it below
    `@staticmethod` or `@classmethod`. The function itself stays reachable as `__wrapped__`.

    Raises `ConfigurationError` when it is applied to what is no coroutine function, or when the
    templates name arguments that there are not.
    """
    encoding, decoding = encode or _to_json, decode or json.loads

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        call = _Call(function)
        make_key = call.template(key, escaping=True)
        make_tags = [call.template(tag, escaping=False) for tag in tags]

        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            async def compute() -> Computed | Nothing:
                result = await function(*args, **kwargs)
                return NOTHING if result is None else Computed(encoding(result))

            client = cache(*args, **kwargs) if callable(cache) else cache
            found = await client.get_or_compute(
                namespace,
                make_key(*args, **kwargs),
                compute,
                ttl_class=ttl_class,
                ttl=ttl,
                tags=[make_tag(*args, **kwargs) for make_tag in make_tags],
                content_type=content_type,
                on_unavailable=on_unavailable,
                fresh_only=fresh_only,
                lease_duration=lease_duration,
                timeout=timeout,
            )
            return cast("R", None if found is None else decoding(found))

        vars(wrapper)[_KEY] = make_key
        return wrapper

    return decorate


def key_of(function: Callable[P, Awaitable[Any]], *args: P.args, **kwargs: P.kwargs) -> str:
    """Return the key under which a `cached` function keeps the result of a call, to delete it.

    Raises `ConfigurationError` for a function that is not cached.
    """
    make_key: Callable[..., str] | None = getattr(function, _KEY, None)
    if make_key is None:
        raise ConfigurationError(f"{function!r} is not cached; decorate it with @cached first")
    bound = (function.__self__,) if inspect.ismethod(function) else ()
    return make_key(*bound, *args, **kwargs)


class _Call:
    """The parameters of a function, and what can be made of the arguments of a call."""

    def __init__(self, function: Callable[..., Awaitable[Any]]) -> None:
        self._name = getattr(function, "__qualname__", repr(function))
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{self._name} is no coroutine function; make it async def")
        self._signature = inspect.signature(function)

    def template(self, template: Template, *, escaping: bool) -> Callable[..., str]:
        """Return a function of the arguments that gives the text."""
        if callable(template):
            return template
        parts = list(string.Formatter().parse(template))
        fields = [field for _, field, _, _ in parts if field is not None]
        self._check(template, parts, fields)
        between = "".join(literal for literal, _, _, _ in parts) if len(fields) > 1 else ""
        escapes = {ord(c): f"%{ord(c):02X}" for c in {*between, "%"}} if between else {}
        formatter = _Formatter(escapes if escaping else {})

        def make(*args: Any, **kwargs: Any) -> str:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return formatter.vformat(template, (), bound.arguments)

        return make

    def _check(
        self,
        template: str,
        parts: list[tuple[str, str | None, str | None, str | None]],
        fields: list[str],
    ) -> None:
        for field in fields:
            first = field.replace("[", ".").partition(".")[0]
            if first not in self._signature.parameters:
                known = ", ".join(self._signature.parameters) or "none"
                raise ConfigurationError(
                    f"{template!r} names {first!r}, no argument of {self._name}; it has: {known}"
                )
        if any(not literal and field is not None for literal, field, _, _ in parts[1:]):
            raise ConfigurationError(
                f"{template!r} has fields with nothing between them; separate them, as by ':'"
            )


class _Formatter(string.Formatter):
    """Formats, with some characters of the arguments escaped."""

    def __init__(self, escapes: Mapping[int, str]) -> None:
        self._escapes = escapes

    def format_field(self, value: Any, format_spec: str) -> str:
        formatted: str = super().format_field(value, format_spec)
        return formatted.translate(self._escapes)


def _to_json(result: Any) -> bytes:
    return json.dumps(result, separators=(",", ":"), ensure_ascii=False).encode()
