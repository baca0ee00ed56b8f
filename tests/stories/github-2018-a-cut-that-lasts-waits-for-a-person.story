# What would have helped in October 2018: longer evidence, and a person who says yes to a move across the continent. The
# cut lasts, looks like a death from everywhere, and is over before anybody agreed.
prometheus 2
set approval = "required"
at 10m partition blue
at 20m expect outcome held:approved
at 20m expect holder blue
at 20m expect dns blue
at 21m human rejects by eve because the network is being mended
at 25m heal blue
at 50m expect holder blue
at 50m expect outcome steady
at 50m expect moves 0
