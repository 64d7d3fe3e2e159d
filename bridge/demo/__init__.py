"""`bridge demo`: a real bridge, three emulated platforms, and a story for each way a remote system calls back.

stage.py     the emulators in this process, the bridge in one of its own, what both may be asked
setting.py   the config and the secrets that the bridge is started with, in a folder to look at
child.py     programs that are started and surely ended: the bridge, curl
timeline.py  what people see
teller.py    from what happened to what is told: effects at the platforms, the timeline of waits
promises.py  how each pipeline must have been resumed, and the one judge of it
stories/     one file a story; each reads as its own documentation
show.py      all of it in order
"""
