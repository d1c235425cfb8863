"""Any backend's engine in a process of its own: a crash there does not end the service.

    backend.py      service: a backend whose loads start a child
    engine.py       service: the engines that such a load returns
    client.py       service: pending requests and calls, and the thread that receives
    process.py      service: the child's start and end
    environment.py  service: the environment variables that the child gets
    wire.py         both: the messages, in msgpack
    problem.py      both: errors between the processes
    channel.py      both: frames on a socket
    row.py          both: a row of logits in shared memory, for guides
    child.py        child: the real engine, and the messages that it handles
    sender.py       child: sends messages, and holds the engine back where the service is slow

The child is spawned, not forked: fork would copy a process full of threads. It imports the
contract and its backend's plugin, and neither the service nor the other backends.
"""
