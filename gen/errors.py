"""The errors that every room above `hw` raises, each message one clear sentence."""

__all__ = ["ToolError"]


class ToolError(RuntimeError):
    """An outside tool is missing or failed; the message names it and says what to do."""
