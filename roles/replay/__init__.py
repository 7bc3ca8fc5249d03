"""`replay`: a task that ran on a cluster is run again here, and what came of both is compared.

What it is given is taken from the cluster byte for byte; it runs in the executor's own jail, judged
by the executor's own code. So what differs follows from the machine, from the time, from chance,
or from a program that is not the same every time, and whoever asks can tell which with their own
tools, on a machine of their own.
"""
