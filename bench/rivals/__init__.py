"""The halves of rivals: how each queues jobs and works on them, as its documentation advises."""
