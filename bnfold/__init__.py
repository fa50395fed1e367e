"""bnfold folds BatchNormalization and other per-channel affines of trained networks."""

__version__ = "0.1.0"
