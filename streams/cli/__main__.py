"""Makes `python -m streams.cli` run `betrace` where the package is not installed."""

from streams.cli import main

if __name__ == "__main__":
    main(prog_name="betrace")
