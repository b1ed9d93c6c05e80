"""The program: everything that runs, standing on `dsl` and `topics`."""
