"""ROS 2: ``ros2:`` by Zenoh, without a ROS installation; or by rclpy, where it can be imported.

================ ========================================================================
`source`         the source, and what it publishes: predictions, forecasts, health
`keys`           the keys, liveliness tokens and attachments of rmw_zenoh
`types`          definitions and type hashes of messages, by rosbags
`decoding`       messages as bytes become numbers by name
`zenoh_session`  the transport by Zenoh
`rclpy_node`     the transport by a node of rclpy
================ ========================================================================
"""
