"""Linear models of a robot: fitted by ridge regression, chosen by cross-validation of whole forecasts."""
