# 19: a request that expects another holder does nothing.
at 10m human switches from green to blue
at 11m expect holder blue
at 11m expect moves 0
at 11m expect answer unexpected_holder
