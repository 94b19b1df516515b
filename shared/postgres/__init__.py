"""PostgreSQL: a pool with tenants and bounded waits, queries in files, migrations."""
