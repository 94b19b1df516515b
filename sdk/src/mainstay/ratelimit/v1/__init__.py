"""Generated from protos/mainstay/ratelimit/v1; changed by `make gen` alone."""
