"""What goes wrong, and what must hold then: power cuts at every window, killed processes, lost databases, bells, answers and receipts."""
