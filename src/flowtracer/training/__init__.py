"""Training with credit, on TRL. Nothing else in the package imports this."""

from flowtracer.integrations.trl import FlowCreditMixin, FlowGRPOTrainer

__all__ = ["FlowCreditMixin", "FlowGRPOTrainer"]
