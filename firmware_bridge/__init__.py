"""The serial link between a microcontroller and the runtime.

It may import `rtsysid.spec` and `rtsysid.errors` alone, and never the runtime.
"""
