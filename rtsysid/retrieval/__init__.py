"""Where did the robot do something like this before? Binary codes find candidates, their windows decide."""
