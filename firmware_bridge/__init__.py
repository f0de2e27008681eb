"""The serial link between a microcontroller and the runtime.

It imports the contract only (`rtsysid.spec`, `source`, `statuses`, `device_clock`, `errors`, `rosmsg`, `storage`),
never the runtime.
"""
