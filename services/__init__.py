"""The services: one package each, none imports another."""

import os

# How grpcio listens, which it reads when it is imported, so before anything of a service is: in the
# thread that hands calls to Python rather than in one of a pool's, which then wakes that one.
# Measured in docs/adr/0014; somebody who sets the variable themselves is obeyed.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

# At the level of info it writes a line for each handshake that fails, which anybody can cause.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
