"""The default training: everything that a configuration does not say is chosen from the recordings.

First a linear model is chosen by cross-validation (`rtsysid.evaluation.linear`). Then short runs choose how a network
may correct it, and a full run trains that network twice: the judge without the validation recordings, and the result
with all recordings. Last, what the judge gains on the validation recordings decides how much of the network is used.
"""
