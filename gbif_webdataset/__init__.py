"""What the stages do, as plain functions: no Luigi, no global state."""

__version__ = "0.5.0"
