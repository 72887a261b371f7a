"""C{python -m mailagent}: the same as C{mailagent}."""

from mailagent.cli.main import main

if __name__ == "__main__":
    main(prog_name="mailagent")
