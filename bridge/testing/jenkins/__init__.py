"""An emulator of Jenkins: input steps, builds, queue, crumbs and its error pages, as its contract page has them.

    jenkins = JenkinsEmulator()
    async with jenkins.serve():
        build = jenkins.start_build("job/app", inputs=[Input(id="deploy", held=True)])
        jenkins.reach(build, "deploy")
        ...                                  # POST {jenkins.url}/job/app/1/input/Deploy/proceedEmpty
        await jenkins.until(lambda: not build.building)
        assert build.result == "SUCCESS"

`python -m bridge.testing.jenkins --port 0` runs it as a process, steered under `/_emulator` (control.py lists the calls).
The user `bridge` has the API token `jenkins-token` and the password `jenkins-password`.

`model/` has what Jenkins knows, without I/O; `web/` has the filters, pages and routes in front of it.
"""

from bridge.testing.jenkins.emulator import JenkinsEmulator
from bridge.testing.jenkins.model.accounts import User
from bridge.testing.jenkins.model.builds import Build
from bridge.testing.jenkins.model.jobs import JobSpec
from bridge.testing.jenkins.model.script import (
    Catch,
    Fail,
    Hold,
    Input,
    Loop,
    Parallel,
    Parameter,
    SetResult,
    Sleep,
    Timeout,
)
from bridge.testing.jenkins.model.switches import Switches

__all__ = [
    "Build",
    "Catch",
    "Fail",
    "Hold",
    "Input",
    "JenkinsEmulator",
    "JobSpec",
    "Loop",
    "Parallel",
    "Parameter",
    "SetResult",
    "Sleep",
    "Switches",
    "Timeout",
    "User",
]
