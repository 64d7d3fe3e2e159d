"""Run the emulator as a process: `python -m bridge.testing.jenkins --port 0`; its first line is the base URL."""

from bridge.testing.emulator import main
from bridge.testing.jenkins.emulator import JenkinsEmulator

if __name__ == "__main__":
    main(JenkinsEmulator)
