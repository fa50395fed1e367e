"""``python -m bnfold``."""

from bnfold.cli.main import main

if __name__ == "__main__":
    main()
