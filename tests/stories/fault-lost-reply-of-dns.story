# The DNS update happens, its answer is lost: the next look proves it.
at 5m fault dns lost-reply
at 10m kill blue
at 15m expect dns green
at 15m expect holder green
