"""The program: everything that runs, built on `dsl` and `topics`."""
