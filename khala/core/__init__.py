"""The logic of dispatch as pure state machines: events and a time go in, effects come out.

Nothing here blocks, sleeps, logs or knows the time, so the same objects run under the simulator
with lost messages and in-doubt writes, and in the serving processes.
"""
