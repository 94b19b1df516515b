"""`mainstay.jobs.v1.JobService`: its methods by what they are about."""

from mainstay.jobs.v1 import job_service_pb2_grpc as pb_grpc
from services.jobs import (
    serving_depth,
    serving_events,
    serving_queues,
    serving_reading,
    serving_schedules,
    serving_schemas,
    serving_steering,
)
from services.jobs.gauges import QueueGauges
from services.jobs.intake import EventIntake
from services.jobs.listing_ports import ListingStore
from services.jobs.queues import Queues
from services.jobs.scheduling import Scheduling
from services.jobs.schema_book import SchemaBook
from services.jobs.schema_putting import SchemaPutting
from services.jobs.steering import Steering
from services.jobs.watch import Watches

METHODS = {
    **serving_events.METHODS,
    **serving_reading.METHODS,
    **serving_steering.METHODS,
    **serving_schedules.METHODS,
    **serving_schemas.METHODS,
    **serving_queues.METHODS,
    **serving_depth.METHODS,
}


class JobServicer(
    serving_events.EventMethods,
    serving_reading.ReadingMethods,
    serving_steering.SteeringMethods,
    serving_schedules.ScheduleMethods,
    serving_schemas.SchemaMethods,
    serving_queues.QueueMethods,
    serving_depth.DepthMethods,
    pb_grpc.JobServiceServicer,
):
    def __init__(
        self,
        *,
        intake: EventIntake,
        watches: Watches,
        listing: ListingStore,
        steering: Steering,
        scheduling: Scheduling,
        queues: Queues,
        gauges: QueueGauges,
        schema_book: SchemaBook,
        schema_putting: SchemaPutting,
    ) -> None:
        self.intake = intake
        self.watches = watches
        self.listing = listing
        self.steering = steering
        self.scheduling = scheduling
        self.queues = queues
        self.gauges = gauges
        self.schema_book = schema_book
        self.schema_putting = schema_putting
