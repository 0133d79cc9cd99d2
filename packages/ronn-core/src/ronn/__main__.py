"""``python -m ronn``: the same as the ``ronn`` command."""

from ronn.cli import main

if __name__ == "__main__":
    main()
