"""Provide schedules and configurations of the package as TOML files."""
