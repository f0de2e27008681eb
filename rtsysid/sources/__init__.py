"""Sources of live samples next to the serial link: sockets, MAVLink, ROS 2, CAN, logs and functions.

=============== ==========================================================================
`url`           what names a source: ``udp://:9000``, ``mavlink:/dev/ttyACM0``, ``ros2:``
`kinds`         the class of each scheme
`stream`        what all of them share: the reading thread, the queue, the counts
`messages`      a message of a topic, and its limits
`channel_map`   which fields of which topics become which channels
`intake`        messages become samples on both clocks
`order`         stamps that are not possible, ticks without a sample, duplicates
`playback`      recorded bytes become the same samples again
=============== ==========================================================================
"""
