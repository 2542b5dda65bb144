"""Reception of commands: collect, check, order and hand over."""
