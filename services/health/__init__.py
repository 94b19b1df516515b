"""The health service: one aggregate over the suite, answered from memory."""
