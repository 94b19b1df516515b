"""Refuses what callers got wrong, all of it at once."""

from collections.abc import Mapping, Sequence
from itertools import islice

from mainstay.errors import PreconditionError, ValidationError
from services.cache.entry import Kind
from services.cache.limits import batch_fault, key_fault, namespace_fault

# Faulty keys of a batch that an error lists; errors travel in headers, which are short.
MAX_FAULTS = 10


def refuse(faults: Mapping[str, str | None]) -> None:
    """Raise with every field that has a fault, so that a caller corrects all of them at once."""
    fields = {field: fault for field, fault in faults.items() if fault}
    if fields:
        sentence = "; ".join(f"{field} {fault}" for field, fault in fields.items())
        raise ValidationError(sentence, fields=fields)


def check_name(namespace: str, key: str) -> None:
    """Refuse a name that no entry can have."""
    wrong_namespace, wrong_key = namespace_fault(namespace), key_fault(key)
    if wrong_namespace or wrong_key:
        refuse({"namespace": wrong_namespace, "key": wrong_key})


def check_names(
    namespace: str, keys: Sequence[str], field: str = "keys", *, within: str = ""
) -> None:
    """Refuse a batch of which any name is wrong; `within` is where in the request it stands."""
    too_many = batch_fault(len(keys))
    field = within + field
    faults = {f"{within}namespace": namespace_fault(namespace), field: too_many}
    if too_many is None:
        wrong = (
            (f"{field}[{n}]", fault) for n, key in enumerate(keys) if (fault := key_fault(key))
        )
        faults.update(islice(wrong, MAX_FAULTS))
    refuse(faults)


def wrong_kind(found: Kind, *, wanted: str) -> PreconditionError:
    """Return the error of a method that does not fit what stands under the key."""
    return PreconditionError(
        f"a {found.name.lower()} stands under this key, where {wanted} is wanted; use the methods "
        "for it, or delete it first",
        reason="WRONG_KIND",
    )


def batch_too_large(limit: int, field: str = "keys") -> ValidationError:
    """Return the error of an answer that would not fit into a message."""
    what = f"hold more than {limit} bytes together; ask for fewer at once"
    return ValidationError(f"{field} {what}", fields={field: what}, reason="BATCH_TOO_LARGE")
