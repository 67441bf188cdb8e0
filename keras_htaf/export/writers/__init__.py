"""One file for each format: `write(program, path)` in a process whose backend can."""
