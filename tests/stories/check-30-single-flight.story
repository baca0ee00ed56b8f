# 30: what is bypassed is one gate and not another: beside a move under way nobody can break the glass.
at 9m  fault gitlab error
at 10m kill blue
at 12m expect moving
at 12m human switches from green to blue force overriding not_latched by eve because I changed my mind
at 13m expect answer held:single_flight
at 13m expect moves 1
