"""Generated from protos/mainstay/rpc/v1; changed by `make gen` alone."""
