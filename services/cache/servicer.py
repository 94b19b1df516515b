"""`mainstay.cache.v1.CacheService`, put together from its parts."""

from mainstay.cache.v1 import cache_service_pb2_grpc as pb_grpc
from services.cache import (
    serving_administration,
    serving_collections,
    serving_computing,
    serving_entries,
    serving_invalidation,
)
from services.cache.cache import Cache
from services.cache.computing import Computing
from services.cache.copies import Copies
from services.cache.counters import Counters
from services.cache.filling import Filling
from services.cache.inspection import Administration
from services.cache.invalidation import Invalidation
from services.cache.lists import Lists
from services.cache.sets import Sets
from services.cache.watching import Watching

METHODS = {
    **serving_entries.METHODS,
    **serving_computing.METHODS,
    **serving_collections.METHODS,
    **serving_invalidation.METHODS,
    **serving_administration.METHODS,
}


class CacheServicer(
    serving_entries.EntryMethods,
    serving_computing.ComputingMethods,
    serving_collections.CollectionMethods,
    serving_invalidation.InvalidationMethods,
    serving_administration.AdministrationMethods,
    pb_grpc.CacheServiceServicer,
):
    """Every method of the contract; each part says what it needs."""

    def __init__(
        self,
        *,
        cache: Cache,
        computing: Computing,
        filling: Filling,
        counters: Counters,
        lists: Lists,
        sets: Sets,
        invalidation: Invalidation,
        watching: Watching,
        administration: Administration,
        copies: Copies,
    ) -> None:
        self.cache = cache
        self.computing = computing
        self.filling = filling
        self.counters = counters
        self.lists = lists
        self.sets = sets
        self.invalidation = invalidation
        self.watching = watching
        self.administration = administration
        self.copies = copies
