"""Draft a configuration from logs: which channels, from which topics, at which rate."""
