"""`python -m rtsysid`: the command line where its script is not on the path."""

from rtsysid.cli import main

if __name__ == "__main__":
    main()
