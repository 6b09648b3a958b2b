"""What the stages do, as plain functions: no Luigi, no global state."""
