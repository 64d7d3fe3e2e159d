"""`python -m bridge.testing.circleci --port 0`: the emulator as a process; the first line printed is its base URL."""

from bridge.testing.circleci import CircleciEmulator
from bridge.testing.emulator import main

if __name__ == "__main__":
    main(CircleciEmulator)
