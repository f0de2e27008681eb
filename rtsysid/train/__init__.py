"""Train models. Only this package of rtsysid needs torch."""
