"""``python -m imbalance_doctor``."""

from imbalance_doctor.cli import entry_point

if __name__ == "__main__":
    entry_point()
