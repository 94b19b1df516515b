"""Generated from protos/mainstay/jobs/v1; changed by `make gen` alone."""
