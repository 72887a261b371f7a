"""Print the configuration reference."""

from mailagent.config.reference import reference

if __name__ == "__main__":
    print(reference(), end="")
