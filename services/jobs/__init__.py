"""Jobs: events start durable functions, whose steps workers run."""
