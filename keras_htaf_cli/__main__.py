"""`python -m keras_htaf_cli`: the command where no script is installed."""

from keras_htaf_cli import main

if __name__ == "__main__":
    main()
