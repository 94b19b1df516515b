"""Generated from protos/mainstay/auth/v1; changed by `make gen` alone."""
