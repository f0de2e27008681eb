"""The serial link between a microcontroller and the runtime.

Nothing is implemented yet: the package holds its place in the house, so that the import rules are in force from the
first day. It may import `rtsysid.spec` and `rtsysid.errors` alone.
"""
