"""The serial link between a microcontroller and the runtime.

It may import the contract alone (`rtsysid.spec`, `errors`, `ros2msg`), and never the runtime.
"""
