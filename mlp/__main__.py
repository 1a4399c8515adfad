"""``python -m mlp``: the command line."""

from mlp.cli import main

if __name__ == "__main__":
    main()
