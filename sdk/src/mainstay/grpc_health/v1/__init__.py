"""Generated from protos/mainstay/grpc_health/v1; changed by `make gen` alone."""
