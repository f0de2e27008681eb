"""Train what a model says of its own uncertainty: the noise of sampled futures, by proper scores and likelihoods.

The mean path (encoder, cell, head, linear maps) is the point model. The stages here leave it as it is.
"""
