"""Read logs of ROS 1 and ROS 2: containers of messages, and the numbers in them."""
