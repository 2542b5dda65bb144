"""AXI4-Stream, AXI4-Lite and UART edges."""
