"""Sentry: unexpected errors only, and nothing that came from a caller's payload."""

from importlib.metadata import version

import sentry_sdk

from shared.config import CommonSettings


def configure_sentry(service: str, settings: CommonSettings) -> None:
    """Connect to the DSN of the settings; without one nothing is sent."""
    if settings.sentry_dsn is None:
        return
    sentry_sdk.init(
        dsn=settings.sentry_dsn.get_secret_value(),
        environment=settings.environment,
        release=version("mainstay-suite"),
        server_name=service,
        # The stock gRPC integration breaks streams; the pipeline reports by itself.
        default_integrations=False,
        send_default_pii=False,
        max_request_body_size="never",
        include_local_variables=False,
    )


def report_unexpected(
    error: BaseException, *, method: str, request_id: str, tenant: str, error_id: str
) -> None:
    """Report an error that no one had a name for."""
    if not sentry_sdk.is_initialized():
        return
    with sentry_sdk.new_scope() as scope:
        scope.set_transaction_name(method)
        scope.set_tag("request_id", request_id)
        scope.set_tag("tenant", tenant)
        scope.set_tag("error_id", error_id)
        scope.capture_exception(error)
