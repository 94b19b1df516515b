"""Generated from protos/mainstay/envoy/ratelimit/v3; changed by `make gen` alone."""
