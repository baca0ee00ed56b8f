# GitHub, October 2018: the network was cut for 43 seconds, and everything was promoted across the continent.
# A cut that is shorter than the rule's `for` moves nothing.
prometheus 2
at 10m partition blue
at 10m43s heal blue
at 30m expect holder blue
at 30m expect dns blue
at 30m expect moves 0
