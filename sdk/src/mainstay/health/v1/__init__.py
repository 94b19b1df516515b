"""Generated from protos/mainstay/health/v1; changed by `make gen` alone."""
