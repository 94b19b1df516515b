"""`mainstay certs`: certificates for development."""
