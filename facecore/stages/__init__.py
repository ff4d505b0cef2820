"""Pure steps from bytes to vectors and matches: typed in, typed out, no I/O."""
