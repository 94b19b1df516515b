"""The embedded servers as a suite runs them: durable, with their logs beside the services'."""

from cli.embedded.postgres import PostgresServer
from cli.embedded.redis import RedisServer
from cli.run_directory import RunDirectory


def embedded_redis(directory: RunDirectory, *, port: int = 0) -> RedisServer:
    return RedisServer(
        directory.data("redis"), port=port, log=directory.log("redis"), appendonly=True
    )


def embedded_postgres(directory: RunDirectory, *, port: int = 0) -> PostgresServer:
    return PostgresServer(directory.data("postgres"), port=port, log=directory.log("postgres"))
