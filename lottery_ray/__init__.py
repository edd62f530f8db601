"""Lottery-ticket studies of Transformer encoders: fine-tune, search, tickets, retrain, report."""

__version__ = "0.1.0"
