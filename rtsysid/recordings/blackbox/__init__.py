"""Decode Blackbox logs of Betaflight, INAV and Cleanflight: text headers, then frames of numbers.

`header` reads the text, `encodings` the numbers of frames, `frames` finds the frames, `predictors` adds to each number
what the firmware predicted, and `flight` puts these together.

Ref: https://betaflight.com/docs/development/Blackbox-Internals
"""
