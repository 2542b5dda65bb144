"""Ways to run a program: on the compiled RTL, or on a board behind a serial port."""
