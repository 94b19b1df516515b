"""Generated from protos/mainstay/cache/v1; changed by `make gen` alone."""
