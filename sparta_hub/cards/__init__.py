"""Model cards: spec and records in, README.md out."""

from sparta_hub.cards._render import plain_card, render_card, transfer_table

__all__ = ["plain_card", "render_card", "transfer_table"]
