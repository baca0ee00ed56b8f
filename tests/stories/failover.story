# A cluster dies, and the fleet goes to the other one.
at 10m kill blue
at 11m20s expect outcome held:signal_held
at 15m expect holder green
at 15m expect dns green
at 15m expect moves 1
at 15m expect outcome steady
