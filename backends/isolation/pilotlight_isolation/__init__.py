"""An engine in a process of its own: what native code does to it, it does to nobody else.

    backend.py      here: a backend whose loads start a child and speak to it
    engine.py       here: the engines that a load returns
    connection.py   here: requests and calls under way, and the thread that listens to the child
    process.py      here: the child's start and end
    environment.py  here: what the child gets of the service's environment
    wire.py         both: what is said, in msgpack
    problem.py      both: errors on their way
    channel.py      both: frames on a socket
    row.py          both: a row of scores in shared memory, for guides
    child.py        there: the real engine, and what it is told
    telling.py      there: what is said, events put together and not far ahead of who listens

The child is spawned, never forked, and imports the contract and its backend's plugin alone.
"""
