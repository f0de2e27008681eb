"""The serial link between a microcontroller and the runtime.

It imports the contract only (`rtsysid.spec`, `source`, `statuses`, `device_clock`, `errors`, `ros2msg`, `storage`),
never the runtime.
"""
